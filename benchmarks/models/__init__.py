"""Public models, from their packages, unchanged: what is seen of each."""
