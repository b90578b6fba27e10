"""Public models, unchanged, with tiny random configurations: are their recurrences seen?"""
