"""Packages whose recurrences are loops in Python: ``ROWS`` by package, a build function for each.

A build function makes a model of a tiny random configuration and a closure that returns its loss.
A package that is not installed is left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Built = tuple[nn.Module, Callable[[], Tensor]]
Build = Callable[[], Built]

B, T, I, H = 2, 12, 3, 6
PACKAGES = (
    "torchrecurrent", "ncps", "snntorch", "spikingjelly", "keras", "opacus", "torchdiffeq",
    "torchao", "xlstm",
)  # fmt: skip  # a list, not a column


def inputs(*shape: int) -> Tensor:
    """Random numbers, the same every time; (B T I) by default."""
    return torch.randn(*(shape or (B, T, I)), generator=torch.Generator().manual_seed(1))


def squares(output: object) -> Tensor:
    """The mean square of the first tensor in what a model returned."""
    while not isinstance(output, Tensor):
        output = output[0]  # type: ignore[index]  # a tuple or a list
    return output.square().mean()


def over(model: nn.Module, x: Tensor | None = None) -> Built:
    """A model that reads a sequence, with its loss."""
    given = inputs() if x is None else x
    return model, lambda: squares(model(given))


def rows() -> Iterator[tuple[str, str, Build]]:
    """The package, the name and the build function of every row."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            continue
        try:
            module = importlib.import_module(f"benchmarks.models.loops.{package}_rows")
        except ImportError:  # one of the packages that it needs
            continue
        for name, build in module.ROWS.items():
            yield package, name, build
