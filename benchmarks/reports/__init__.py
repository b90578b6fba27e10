"""Public reports of recurrent networks that did not train, rebuilt as small models.

``python -m benchmarks.reports`` diagnoses every report and writes ``results.md``: the first cause
according to the thread, the first cause according to throughtime, and every false cause.
"""
