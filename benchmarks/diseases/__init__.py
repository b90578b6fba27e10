"""Recurrent networks whose diseases are known: who names them?

``python -m benchmarks.diseases`` builds every network of the suite, trains those that are to be
trained, works out what each one suffers from in float64, asks throughtime and the rules of other
tools, and writes ``results.md``.
"""
