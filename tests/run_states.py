"""States as trainings have them, and what "the same" means: type by type, bit by bit."""

import json
import math
import struct
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from throughtime.runs import RunDirectory
from throughtime.runs.sealed import seal

OWN_FILES = {"manifest.json", "journal.jsonl"}


def assert_same(one: Any, other: Any, where: str = "state") -> None:
    """Equal, of the same types, to the last bit: −0.0 is not 0.0, and one NaN is not another."""
    assert type(one) is type(other), where
    if isinstance(one, Tensor):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert bits(one) == bits(other), where
    elif isinstance(one, float):
        assert struct.pack(">d", one) == struct.pack(">d", other), where
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for n, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{n}]")
    elif isinstance(one, dict):
        assert_same(list(one), list(other), f"{where}.keys()")
        for key in one:
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    else:
        assert one == other, where


def bits(tensor: Tensor) -> list[int]:
    dense = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return dense.view(torch.uint8).tolist()


def numbered(step: int) -> dict[str, Any]:
    """A state whose every part says of which step it is."""
    weight = torch.full((64, 33), float(step))
    return {
        "model": OrderedDict(weight=weight, bias=torch.arange(step, step + 9)),
        "optimizer": {"state": {0: {"step": torch.tensor(float(step)), "m": weight.T[1:]}}},
        "random": torch.full((5056,), step % 256, dtype=torch.uint8),
        "seen": [step, (step, None, 2**64 + step), str(step), step / 7, math.inf],
        "milestones": Counter({step: 2}),
    }


def assert_whole(run: RunDirectory, steps: set[int]) -> int:
    """The last checkpoint of ``run`` is one of ``steps``, every part of it; which one."""
    found = run.load()
    assert found is not None
    step, state = found
    assert step in steps
    assert_same(state, numbered(step))
    return step


def names(folder: Path) -> set[str]:
    """What lies in a run directory, the checkpoints by their step alone."""
    return {name_of(path.name) for path in folder.iterdir()}


def name_of(file: str) -> str:
    return f"step {int(file[11:23])}" if file.startswith("checkpoint-") else file


def resealed(folder: Path, **changes: Any) -> None:
    """Change entries of a manifest as somebody would who writes the right seal as well."""
    found = json.loads((folder / "manifest.json").read_text())
    del found["sha256"]
    (folder / "manifest.json").write_text(seal({**found, **changes}, "the manifest"))
