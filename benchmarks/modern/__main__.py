"""``python -m benchmarks.modern [--quick] [NAME …]``: run what is missing, print, write the page.

Each finished cell is kept in ``results.jsonl`` or ``forgetting.jsonl``: a cut run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.modern import forgetting, page, records
from benchmarks.modern.mixers import all_mixers
from benchmarks.modern.mixers.mixer import Mixer
from benchmarks.modern.training import QUICK, cell

SEEDS = range(3)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.modern", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="architectures; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="a small size, which is printed and not kept"
    )
    options = parser.parse_args(arguments)
    mixers = all_mixers()
    unknown = sorted(set(options.names) - mixers.keys())
    if unknown:
        parser.error(f"no architecture {unknown[0]!r}; choose from: {', '.join(mixers)}")
    chosen = [mixers[name] for name in options.names or mixers]
    console = Console()
    torch.set_num_threads(1)
    absent = sorted({mixer.package for mixer in chosen if not mixer.installed})
    if absent:
        console.print(f"not installed, and left out: {', '.join(absent)}")
    there = [mixer for mixer in chosen if mixer.installed]
    if options.quick:
        show(console, [cell(mixer, 0, QUICK) for mixer in track(there, "quick", console=console)])
        return
    run(console, there)
    show(console, records.read(records.CELLS), records.read(records.FORGETTING))
    if not options.names:
        for file in page.write(records.read(records.CELLS), records.read(records.FORGETTING)):
            console.print(f"written to {file}")


def run(console: Console, mixers: Sequence[Mixer]) -> None:
    """Whatever is not recorded yet."""
    for mixer, seed in track(list(_missing(mixers)), "trainings", console=console):
        records.append(cell(mixer, seed), records.CELLS)
    if any(mixer.package == "transformers" for mixer in mixers):
        for states, length, seed in track(list(_unforgotten()), "forgetting", console=console):
            records.append(forgetting.trained(states, length, seed), records.FORGETTING)


def _missing(mixers: Sequence[Mixer]) -> Iterator[tuple[Mixer, int]]:
    done = {(one["architecture"], one["seed"]) for one in records.read(records.CELLS)}
    yield from ((mixer, n) for n in SEEDS for mixer in mixers if (mixer.name, n) not in done)


def _unforgotten() -> Iterator[tuple[int, int, int]]:
    names = ("states", "length", "seed")
    done = {tuple(one[name] for name in names) for one in records.read(records.FORGETTING)}
    wanted = ((n, k, s) for s in SEEDS for n in forgetting.STATES for k in forgetting.LENGTHS)
    yield from (one for one in wanted if one not in done)


def show(
    console: Console, cells: Sequence[dict[str, Any]], forgot: Sequence[dict[str, Any]] = ()
) -> None:
    """Every table."""
    for table in page.tables(cells, forgot):
        table.show(console)


if __name__ == "__main__":
    main()
