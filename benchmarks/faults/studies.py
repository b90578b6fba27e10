"""The commands that are killed: small trainings, sweeps and treatments, and what came of each."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "throughtime"]
_TIMES = ("seconds", "took")  # what no two runs share

GRID = """
task = "adding"
cells = ["rnn"]
remedies = ["none", "clip"]
lengths = [10]
seeds = [0, 1]
steps = 80
hidden = 4
batch = 4
evaluate_every = 80
measure_every = 0
checkpoint_every = 10
"""
OWN = """
import torch
from torch import nn
import throughtime as tt

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(2, 8)
        self.readout = nn.Linear(8, 1)

    def forward(self, x):
        return self.readout(self.recurrent(x)[0][-1]).squeeze(1)

def batches(seed):
    numbers = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(12, 8, 2, generator=numbers)
        yield x, x[0, :, 0]

def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()

def build(seed=0):
    torch.manual_seed(seed)
    return tt.Problem("mine", Net(), batches, loss, span=11)
"""


@dataclass(frozen=True)
class Study:
    """A command that may be given again until it comes to its end, in a folder of its own."""

    name: str
    arguments: tuple[str, ...]
    result: Callable[[Path, str], Any]

    @property
    def command(self) -> list[str]:
        return [*COMMAND, *self.arguments]


def prepare(folder: Path) -> Path:
    """A folder with the files that the commands read."""
    folder.mkdir(parents=True)
    (folder / "grid.toml").write_text(GRID)
    (folder / "own.py").write_text(OWN)
    return folder


def _of_training(_folder: Path, printed: str) -> Any:
    return _timeless({**json.loads(printed), "run": None})


def _of_sweep(folder: Path, _printed: str) -> Any:
    with (folder / "out" / "results.csv").open(newline="") as file:
        return [_timeless(row) for row in csv.DictReader(file)]


def _of_treatment(folder: Path, _printed: str) -> Any:
    return _timeless(json.loads((folder / "out" / "result.json").read_text()))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if not name.startswith(_TIMES)}
        return {name: _timeless(one) for name, one in kept.items() if name != "folder"}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


_TRAIN = (
    "train adding --length 30 --hidden 16 --steps 200 --schedule cosine --measure-every 100 "
    "--run run --resume --checkpoint-every 20 --json --quiet"
)
_OF_FILE = "train own.py:build --steps 300 --run run --resume --checkpoint-every 20 --json --quiet"
_SWEEP = "sweep grid.toml --out out --jobs 2 --json --quiet"
_TREAT = (
    "treat own.py:build --steps 30 --seeds 2 --remedies chrono --jobs 2 --out out --json --quiet"
)
STUDIES = (
    Study("train (task)", tuple(_TRAIN.split()), _of_training),
    Study("train (file)", tuple(_OF_FILE.split()), _of_training),
    Study("sweep", tuple(_SWEEP.split()), _of_sweep),
    Study("treat", tuple(_TREAT.split()), _of_treatment),
)
