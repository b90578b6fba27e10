"""``python -m benchmarks.chance [STUDIES]``: the shares, as tables in Markdown."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator

import numpy as np

from benchmarks.chance.studies import World, studied
from benchmarks.chance.worlds import NOTHING_HELPS, ONE_HELPS
from throughtime.trials import Treated

STUDIES = 2000
REMEDIES, SEEDS = range(1, 6), range(3, 12)
DEFAULT_REMEDIES, DEFAULT_SEEDS = 3, 7


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES
    print(f"{studies} studies a row; each draws 1 to 5 remedies and 3 to 11 seeds.\n")
    print("| nothing helps | helped | with 3 remedies, 7 seeds | patch | exit code 0 by a claim |")
    print("|---|---|---|---|---|")
    for name, world in NOTHING_HELPS.items():
        mixed = shares(name, world, studies)
        usual = shares(name, world, studies, DEFAULT_REMEDIES, DEFAULT_SEEDS)
        print(f"| {name} | {mixed[0]:.1%} | {usual[0]:.1%} | {mixed[1]:.1%} | {mixed[2]:.1%} |")
    print("\n| the first of 3 remedies helps, 7 seeds | found | another one called best |")
    print("|---|---|---|")
    for name, world in ONE_HELPS.items():
        best = [treated.best for treated in drawn(name, world, studies // 4, 3, 7)]
        right, none = best.count("orthogonal"), best.count(None)
        wrong = len(best) - right - none
        print(f"| {name} | {right / len(best):.0%} | {wrong / len(best):.1%} |")


def shares(
    name: str, world: World, studies: int, remedies: int | None = None, seeds: int | None = None
) -> tuple[float, float, float]:
    """Of how many studies the answer is ``helped``; there is a patch; the exit code says help."""
    found = list(drawn(name, world, studies, remedies, seeds))
    helped = sum(one.answer == "helped" for one in found)
    patched = sum(one.patch is not None for one in found)
    claimed = sum(one.exit_code == 0 and one.answer != "solved already" for one in found)
    return helped / studies, patched / studies, claimed / studies


def drawn(
    name: str, world: World, studies: int, remedies: int | None = None, seeds: int | None = None
) -> Iterator[Treated]:
    """So many studies, the same each time; None draws how many remedies and seeds each has."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    for _ in range(studies):
        arms = int(generator.integers(REMEDIES.start, REMEDIES.stop))
        pairs = int(generator.integers(SEEDS.start, SEEDS.stop))
        yield studied(world, generator, remedies or arms, seeds or pairs)


if __name__ == "__main__":
    main()
