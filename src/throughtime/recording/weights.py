"""Weights as they were when a graph was made, for as long as it is read.

An optimizer changes weights in place, and autograd then refuses the graph that holds them. Copies
are put in their place while a Jacobian is read, and what the user has now is put back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Weights:
    """Copies of leaves, by identity."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Tensor, int, Tensor]] = {}

    def keep(self, leaves: Iterable[Tensor]) -> None:
        """Copy those that were not copied yet."""
        for leaf in leaves:
            if id(leaf) not in self._copies:
                self._copies[id(leaf)] = leaf, leaf._version, leaf.detach().clone()

    @contextmanager
    def as_they_were(self) -> Iterator[None]:
        """Inside, every leaf that was changed since holds what it held."""
        changed = [
            (leaf, leaf._version, version, leaf.detach().clone(), copy)
            for leaf, version, copy in self._copies.values()
            if leaf._version != version
        ]
        for leaf, _, version, _, copy in changed:
            _put(leaf, copy, version)
        try:
            yield
        finally:
            for leaf, now, _, value, _ in changed:
                _put(leaf, value, now)


def _put(leaf: Tensor, value: Tensor, version: int) -> None:
    leaf.data.copy_(value)
    torch._C._autograd._unsafe_set_version_counter((leaf,), (version,))
