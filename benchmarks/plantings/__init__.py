"""NaNs and infinities planted in small models, and whether the diagnosis finds where they began."""
