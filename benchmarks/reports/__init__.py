"""Public reports of recurrent networks that did not train, rebuilt small: what is said first?

``python -m benchmarks.reports`` diagnoses every report and writes ``results.md``: the first cause
that the thread concludes, what throughtime says first, and every false cause.
"""
