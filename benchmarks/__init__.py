"""What throughtime costs, beside what people do today: ratios in one run, on your machine.

``python -m benchmarks`` measures everything and writes docs/benchmarks.md; ``python -m benchmarks
NAME`` prints one table. ``python -m benchmarks.verdicts`` compares verdicts instead of seconds.
"""
