"""``python -m benchmarks.models [NAME ...] [--write]``: public models, unchanged, in one table.

With names (or parts of names) of packages or models, only those.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.models.looking import Look, row
from benchmarks.models.packages import all_models
from benchmarks.tables import Table

PAGE = Path(__file__).parent / "results.md"
ABOUT = (
    "Written by `python -m benchmarks.models --write`. Each model comes from its "
    "package, unchanged, with a tiny random configuration. *Seen* counts the recurrent layers that "
    "have a trace; *verified* is the largest relative difference between a gradient rebuilt from "
    "the trace and autograd's (0 where the trace is read off autograd's graph); *together* is what "
    "the verdict on several layers stands on; *horizon* is the largest lag with a median gain of "
    "at least 1 %, layer by layer."
)
COLUMNS = ("package", "model", "seen", "verified", "together", "horizon", "of", "verdict")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a package or a model")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} as well")
    options = parser.parse_args(arguments)
    models = [
        model
        for model in all_models()
        if not options.names or any(n in (model.package, model.name) for n in options.names)
    ]
    if not models:
        parser.error(f"no package or model is called {' or '.join(options.names)}")
    console = Console()
    absent = sorted({model.package for model in models if not model.installed})
    there = [model for model in models if model.installed]
    looks = [Look.at(model) for model in track(there, "models", console=console)]
    table = Table("Public models", ABOUT, COLUMNS, tuple(row(look) for look in looks))
    table.show(console)
    if absent:
        console.print(f"not installed: {', '.join(absent)}")
    if options.write:
        PAGE.write_text(table.markdown(), encoding="utf-8")
        console.print(f"written to {PAGE.name}")


if __name__ == "__main__":
    main()
