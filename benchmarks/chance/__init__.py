"""How often ``treat`` says "helped" where nothing helps, and where something does."""
