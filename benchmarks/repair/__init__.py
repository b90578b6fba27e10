"""How many sick trainings become successes by the remedy that throughtime ranks first, and by the
first three? And is any healthy one made worse?

``python -m benchmarks.repair`` trains what is missing and writes docs/repair.md and
docs/choosing.md.
"""
