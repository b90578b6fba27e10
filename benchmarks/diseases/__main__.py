"""``python -m benchmarks.diseases [--seeds dev]``: print the tables; for test write results.md too.

Thresholds may be looked at under the dev seeds only; the page is of the test seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.diseases import page, truth
from benchmarks.diseases.networks import BATCH
from benchmarks.diseases.suite import SUITE, cases

PAGE = Path(__file__).parent / "results.md"
SEEDS = {"test": 1000, "dev": 5000}
"""The seed of the first network of the suite; the next ones follow."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diseases", description=__doc__)
    parser.add_argument("--seeds", choices=SEEDS, default="test", help="dev: print, write nothing")
    which = parser.parse_args(arguments).seeds
    console = Console()
    running = cases(SEEDS[which])
    found = list(track(running, "networks", len(SUITE), console=console))
    tables = page.tables(found)
    for table in tables:
        table.show(console)
    console.print(page.errors(found), highlight=False, soft_wrap=True)
    if which == "test":
        text = [_opening(), *(table.markdown() for table in tables), page.errors(found)]
        PAGE.write_text("\n".join(text), encoding="utf-8")
        console.print(f"written to {PAGE.name}")


def _opening() -> str:
    assert truth.__doc__ is not None
    return (
        "# Diseases against the truth\n\nWritten by `python -m benchmarks.diseases`. Every network "
        "is drawn and trained from a seed of its own; these are seeds that were used to set no "
        f"threshold and to choose no network (`--seeds dev` runs the others). B = {BATCH}, "
        "float32; the trained ones see fresh data at every step of Adam.\n\n"
        "The truth shares its definitions with the rules, and nothing else: this page says whether "
        "throughtime measures on the untouched model what it says it does, not whether the "
        "thresholds are the right ones.\n\n"
        f"The truth: {truth.__doc__[0].lower()}{truth.__doc__[1:].strip()}\n"
    )


if __name__ == "__main__":
    main()
