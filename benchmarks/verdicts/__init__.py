"""Eight recurrent networks whose truth is known: who sees it?

``python -m benchmarks.verdicts`` prints and writes ``results.md``: throughtime's verdict against
the truth, and beside it the rules that other tools apply to parameter gradients.
"""
