"""The suite: all networks, and a run through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from benchmarks.diseases.compare import Case, case
from benchmarks.diseases.networks import Network
from benchmarks.diseases.trained import TRAINED
from benchmarks.diseases.untrained import UNTRAINED

SUITE: tuple[Network, ...] = (*TRAINED, *UNTRAINED)
PROCESSES = 2


def cases(first_seed: int) -> Iterator[Case]:
    """Every network, each under a seed of its own, one thread in each process."""
    numbers = range(len(SUITE))
    start = get_context("spawn")  # a fork of a process that has threads of torch may hang
    with ProcessPoolExecutor(PROCESSES, start, torch.set_num_threads, (1,)) as pool:
        yield from pool.map(_case, numbers, [first_seed + number for number in numbers])


def _case(number: int, seed: int) -> Case:
    return case(SUITE[number], seed)
