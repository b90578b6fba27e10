"""Which calls a call reads through its input, by autograd's graph: what lies in series with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from throughtime.recording.calls import Call
from throughtime.recording.origins import ROUTING, operation


class Feeds:
    """The nodes at which the recorded calls end, and walks from an input back to them."""

    def __init__(self) -> None:
        # Nodes, not their ids: Python's handle of a node lives only while somebody holds it.
        self._ends: dict[Any, Call] = {}
        self._empty: set[Any] = set()

    def read(self, tensor: Tensor) -> tuple[Call, ...]:
        """The calls that ``tensor`` depends on, without looking through any of them."""
        return self.walk(tensor)[0]

    def walk(self, tensor: Tensor) -> tuple[tuple[Call, ...], bool]:
        """The same, and whether what they wrote was only moved on its way, not changed."""
        if tensor.grad_fn is None:
            return (), False
        found: dict[int, Call] = {}
        moved = True
        seen: set[Any] = set()
        waiting: list[Any] = [tensor.grad_fn]
        while waiting:
            node = waiting.pop()
            if node in seen or node in self._empty:
                continue
            seen.add(node)
            if (call := self._ends.get(node)) is not None:
                found[id(call)] = call
                continue
            following = [after for after, _ in node.next_functions]
            moved &= None not in following and operation(node) in ROUTING
            waiting += [after for after in following if after is not None]
        if not found:
            self._empty |= seen
        return tuple(found.values()), moved

    def add(self, call: Call, ends: Sequence[Tensor]) -> None:
        """The call ends in these tensors."""
        self._ends |= {end.grad_fn: call for end in ends if end.grad_fn is not None}

    def forget(self) -> None:
        """Let go of the graph."""
        self._ends.clear()
        self._empty.clear()
