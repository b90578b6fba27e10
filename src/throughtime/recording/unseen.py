"""Recurrences that nobody records: a weight that is used again and again on what it made before.

A loop written out by hand has no kernel and no module to know it by. But its weights meet the
outcome of their own last use, and the way there passes no state that is recorded or marked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_T = torch.Tensor
# Operations that may apply a weight.
USES: frozenset[Callable[..., Any]] = frozenset(
    {
        torch.nn.functional.linear, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.mul,
        torch.einsum, torch.conv1d, torch.conv2d, torch.conv3d,
        _T.matmul, _T.__matmul__, _T.__rmatmul__, _T.mm, _T.mul, _T.__mul__, _T.__rmul__,
    }
)  # fmt: skip  # a list, not a column
# Looked at when a weight is used for the third and the fifth time; so many nodes of the graph.
_LOOKS, _MOST_NODES = (3, 5), 4096


class Unseen:
    """The uses of every weight of a model, and which of them hang on an earlier one."""

    def __init__(self, model: nn.Module) -> None:
        self._names = {id(weight): name for name, weight in model.named_parameters()}
        self._uses: dict[int, int] = {}
        self._made: dict[int, list[Any]] = {}
        self._again: set[int] = set()

    def note(self, args: Sequence[Any], result: Any, seen: Callable[[Any], bool]) -> None:
        """An operation of ``USES``; ``seen``: whether a recorded state stands at a node."""
        if not isinstance(result, Tensor) or result.grad_fn is None:
            return
        tensors = [one for one in args if isinstance(one, Tensor)]
        for weight in map(_weight, tensors):
            if id(weight) not in self._names:
                continue
            key = id(weight)
            self._uses[key] = self._uses.get(key, 0) + 1
            made = self._made.setdefault(key, [])
            if self._uses[key] in _LOOKS and _leads(tensors, made, seen):
                self._again.add(key)
            made.append(result.grad_fn)
            del made[:-2]

    def clear(self) -> None:
        """Let go of all graphs."""
        self._made.clear()

    def found(self, known: Collection[int] = ()) -> list[tuple[str, int]]:
        """The weights of unseen recurrences by name, one a module, and how often each was used.

        ``known``: weights of loops that were found, by identity.
        """
        by_module: dict[str, tuple[str, int]] = {}
        for key, uses in self._uses.items():
            if key in self._again and key not in known:
                name = self._names[key]
                by_module.setdefault(name.rpartition(".")[0], (name, uses))
        return list(by_module.values())


def _weight(tensor: Tensor) -> Tensor:
    """The weight that a tensor is a view of, or itself."""
    return tensor if tensor._base is None else tensor._base


def _leads(tensors: Sequence[Tensor], made: Collection[Any], seen: Callable[[Any], bool]) -> bool:
    waiting: list[Any] = [tensor.grad_fn for tensor in tensors]
    known: set[Any] = {None}
    while waiting and len(known) < _MOST_NODES:
        node = waiting.pop(0)
        if node in made:
            return True
        if node in known or seen(node):
            continue
        known.add(node)
        waiting += [following for following, _ in node.next_functions]
    return False
