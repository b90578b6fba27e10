"""``python -m benchmarks [NAME]``: measure, print, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import (
    capture,
    cells,
    dataflow,
    deep,
    lag_rate,
    lags,
    lengths,
    long,
    lyapunov,
    machine,
    outside,
    scans,
)
from benchmarks.tables import Table

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BENCHMARKS: dict[str, Callable[[], Table]] = {
    "capture": capture.measure,
    "outside": outside.measure,
    "lags": lags.measure,
    "fading": lags.measure_fading,
    "rate": lag_rate.measure,
    "lyapunov": lyapunov.measure,
    "deep": deep.measure,
    "long": long.measure,
    "lengths": lengths.measure,
    "cells": cells.measure,
    "scans": scans.measure,
    "long scans": scans.measure_long,
    "dataflow": dataflow.measure,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "name", nargs="?", choices=BENCHMARKS, help="print this one alone, and write nothing"
    )
    name = parser.parse_args(arguments).name
    console = Console()
    before = machine.load()
    console.print(machine.description())
    tables = []
    for one, measure in BENCHMARKS.items():
        if name in (None, one):
            with console.status(f"measuring: {one}"):
                tables.append(measure())
            tables[-1].show(console)
    if name is None:
        PAGE.write_text(page(tables, before), encoding="utf-8")
        console.print(f"written to {PAGE.relative_to(PAGE.parent.parent)}")


def page(tables: Sequence[Table], load: float | None) -> str:
    """The whole of docs/benchmarks.md; ``load``: that of the machine before it began."""
    busy = "" if load is None else f" Load average before it began: {load:.1f}."
    opening = (
        "# Benchmarks\n\n"
        "Written by `make bench` (`python -m benchmarks`); run it to see your own machine. All "
        "ratios are between neighbours of one run, never between machines or days.\n\n"
        f"Machine: {machine.description()}.{busy}\n"
    )
    return "\n".join([opening, *(table.markdown() for table in tables)])


if __name__ == "__main__":
    main()
