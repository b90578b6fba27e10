"""``python -m benchmarks.reports [NAME ...] [--seed N]``: print the tables and write results.md.

With names (or parts of names) or another seed, the command only prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.reports import judge, page
from benchmarks.reports.suite import SUITE

PAGE = Path(__file__).parent / "results.md"
SEED = 7000
OPENING = (
    "# Public reports\n\nWritten by `python -m benchmarks.reports`. Each report is a public thread "
    "about a recurrent network that did not train, or seemed not to. We rebuilt it as a small "
    "model in float32 from its description.\n"
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reports", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="the name of a report, or a part of it"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"default: {SEED}")
    options = parser.parse_args(arguments)
    names = options.names
    reports = [report for report in SUITE if not names or any(n in report.name for n in names)]
    if not reports:
        parser.error(f"no report has {' or '.join(names)} in its name")
    console = Console()
    running = judge.answers(reports, options.seed)
    answers = list(track(running, "reports", len(reports), console=console))
    tables = page.tables(answers)
    for table in tables:
        table.show(console)
    console.print(page.errors(answers), highlight=False, markup=False, soft_wrap=True)
    if not names and options.seed == SEED:
        text = [OPENING, *(table.markdown() for table in tables), page.errors(answers)]
        PAGE.write_text("\n".join(text), encoding="utf-8")
        console.print(f"written to {PAGE.name}")


if __name__ == "__main__":
    main()
