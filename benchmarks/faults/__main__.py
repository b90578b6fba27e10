"""``python -m benchmarks.faults``: damage directories, kill processes, and print the table."""

import argparse
from importlib import import_module
from importlib.util import find_spec

import torch

from benchmarks.faults import mutations


def main() -> int:
    """Print the table; returns 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutations", type=int, default=2400)
    parser.add_argument("--kills", type=int, default=120)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sound = True
    if asked.mutations:
        tally = mutations.run(asked.seed, asked.mutations)
        show(tally)
        sound = tally.sound
    if asked.kills and find_spec("benchmarks.faults.kills") is not None:
        killed = import_module("benchmarks.faults.kills").run(asked.seed, asked.kills)
        if hasattr(killed, "counts"):
            show(killed)
        sound = sound and bool(getattr(killed, "sound", killed is None or killed))
    return 0 if sound else 1


def show(tally: mutations.Tally) -> None:
    """One row for each kind of subject, and the faults below."""
    print(f"{'':<12}" + "".join(f"{fate:>9}" for fate in mutations.FATES) + f"{'all':>9}")
    for subject, counts in tally.counts.items():
        row = "".join(f"{counts[fate]:>9,}" for fate in mutations.FATES)
        print(f"{subject:<12}{row}{counts.total():>9,}")
    for fault in tally.faults:
        print(f"  {fault}")


if __name__ == "__main__":
    raise SystemExit(main())
