"""Modern recurrences on one axis: how far back their gradients reach, untrained and trained.

To add an architecture, add a file to ``mixers/``, or an entry to one.
``python -m benchmarks.modern`` writes ``docs/modern.md``.
"""
