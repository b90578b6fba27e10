"""``python -m benchmarks.plantings``: plant a hundred numbers, and print what was said of them."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.plantings.planting import run
from benchmarks.plantings.suite import SUITE


def main() -> None:
    """Print the table, and each planting that was not answered rightly."""
    console = Console()
    results = [run(one, seed) for seed, one in enumerate(track(SUITE, "planting", console=console))]
    counted = Counter((one.planting.group, one.grade) for one in results)
    table = Table("planted in", "right", "unknown", "wrong")
    for group in dict.fromkeys(one.group for one in SUITE):
        table.add_row(
            group, *(str(counted[group, grade]) for grade in ("right", "unknown", "wrong"))
        )
    total = Counter(one.grade for one in results)
    table.add_row("all", *(str(total[grade]) for grade in ("right", "unknown", "wrong")))
    console.print(table)
    for one in results:
        if one.grade != "right":
            where = f"{one.planting.group}: {one.planting.name}"
            console.print(f"{one.grade}: {where}: {one.why}\n    {one.sentence}", highlight=False)


if __name__ == "__main__":
    main()
