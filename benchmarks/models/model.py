"""One public model: how it is built, and how many recurrent layers it runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Pair = tuple[nn.Module, Callable[[], Tensor]]


@dataclass(frozen=True)
class PublicModel:
    """A model of a package, built anew with random weights; nothing is downloaded.

    Attributes:
        package: as it is imported.
        name: the class, or the family.
        build: returns the model and a closure that returns its loss.
        layers: how many recurrences one forward pass runs.
        note: what the reader must know; for a model without a recurrence, what it has instead.
    """

    package: str
    name: str
    build: Callable[[], Pair]
    layers: int
    note: str = ""

    @property
    def installed(self) -> bool:
        """Whether the package can be imported."""
        return importlib.util.find_spec(self.package) is not None
