"""Faults: damaged directories and killed processes, and what throughtime makes of them."""
