"""``Mixer``: what mixes time in a block of the common network, by architecture."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

WIDTH, DEPTH, STEPS = 32, 2, 96
DISTANCES = (4, 16, 40, 80)
"""Between what is asked for and the question, in steps."""


@dataclass(frozen=True)
class Mixer:
    """One architecture.

    Attributes:
        name: as the tables have it.
        package: where its layer comes from; ``"torch"`` for what this repository writes itself.
        make: the mixers of all blocks, each from (B T D) to (B T D), D = ``WIDTH``.
        note: what a reader must know of it.
        recurrent: whether it has a state.
    """

    name: str
    package: str
    make: Callable[[], list[nn.Module]]
    note: str
    recurrent: bool = True

    @property
    def installed(self) -> bool:
        """Whether its package can be imported."""
        return importlib.util.find_spec(self.package) is not None


class Called(nn.Module):
    """A layer that is called in another way, or gives more than its output."""

    def __init__(self, layer: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self._call = layer, call

    def forward(self, x: Tensor) -> Tensor:
        return self._call(self.layer, x)
