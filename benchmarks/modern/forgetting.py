"""When does a Mamba-2 learn to forget? Trained on short sequences, run on long ones.

Chen et al. 2025 (Stuffed Mamba) find that after training on too short sequences the state overflows
beyond them, and call the shortest length at which it does not T_forget. Here each sequence marks
values now and then, and asks for the latest: a network that keeps the earlier ones confuses them.
"""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

import throughtime as tt
from benchmarks.modern.measuring import horizon
from benchmarks.modern.network import Network

VALUES, QUESTION = 8, 16
TOKENS = 2 * VALUES + 1
STATES, LENGTHS = (4, 16, 64), (8, 16, 32, 64, 128)
UPDATES, WORDS, LONG, OFTEN = 300, 1024, 1024, 0.1
TOLERATED = 0.1  # nats that the loss may rise beyond the trained length
_RATE, _CLIP, _HELD_OUT = 3e-3, 1.0, 1_000_000
_LOOKED_AT = 256  # steps, of the horizon


class Stream(NamedTuple):
    """Words (B T), where something is asked for (B T), and the latest marked value (B T)."""

    words: Tensor
    asked: Tensor
    latest: Tensor


def stream(sequences: int, steps: int, seed: int) -> Stream:
    """Random values; the first and one in ten is marked, and one in ten steps asks."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(VALUES, (sequences, steps), generator=draw)
    chance = torch.rand(sequences, steps, generator=draw)
    marked, asked = chance < OFTEN, chance > 1 - OFTEN
    marked[:, 0], asked[:, 0] = True, False
    last = torch.where(marked, torch.arange(steps), 0).cummax(1).values
    words = torch.where(marked, values + VALUES, torch.where(asked, QUESTION, values))
    return Stream(words, asked, values.gather(1, last))


def trained(states: int, length: int, seed: int, updates: int = UPDATES) -> dict[str, Any]:
    """One training: the loss within the trained length, and far beyond."""
    from benchmarks.modern.mixers.of_transformers import mamba2

    begun = time.process_time()
    torch.manual_seed(seed)
    network = Network(mamba2(states)[:1], TOKENS)
    optimizer = AdamW(network.parameters(), _RATE)
    for update in range(updates):
        loss = _loss(network, stream(max(4, WORDS // length), length, update + 7919 * seed))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimizer.step()
    long = stream(32, LONG, _HELD_OUT)
    with torch.no_grad():
        within = _loss(network, long, length // 2, length)
        beyond = _loss(network, long, LONG // 2, LONG)
    return {
        "states": states,
        "length": length,
        "seed": seed,
        "within": round(float(within), 4),
        "beyond": round(float(beyond), 4),
        "horizon": _horizon(network),
        "seconds": round(time.process_time() - begun, 1),
    }


def _loss(network: Network, one: Stream, first: int = 0, end: int | None = None) -> Tensor:
    asked = one.asked[:, first:end]
    return cross_entropy(network(one.words)[:, first:end][asked], one.latest[:, first:end][asked])


def _horizon(network: Network) -> int:
    """Of the state, on sequences of 256 steps."""
    long = stream(4, _LOOKED_AT, _HELD_OUT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = tt.observe(network, lambda: _loss(network, long))
    return horizon(np.asarray(tt.measures.gains(trace[0], quantiles=(0.5,)).values)[0, 0].tolist())


def t_forget(cells: list[dict[str, Any]]) -> int | None:
    """The shortest trained length from which on the loss does not rise; None if it always does.

    ``cells``: of one state size and seed.
    """
    found = None
    for one in sorted(cells, key=lambda cell: -int(cell["length"])):
        if one["beyond"] - one["within"] > TOLERATED:
            break
        found = int(one["length"])
    return found
