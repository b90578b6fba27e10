"""torchrecurrent: all of its layers."""

from __future__ import annotations

import inspect
from functools import partial

import torchrecurrent
from torch import nn

from benchmarks.models.loops import B, Build, Built, H, I, T, inputs, over

_SQUARE = ("IntersectionRNN",)  # its cell adds the input to its output


def _build(cls: type[nn.Module]) -> Built:
    size = H if cls.__name__ in _SQUARE else I
    return over(cls(size, H), inputs(T, B, size))


ROWS: dict[str, Build] = {
    name: partial(_build, cls)
    for name, cls in inspect.getmembers(torchrecurrent, inspect.isclass)
    if issubclass(cls, nn.Module) and not name.endswith("Cell")
}
