"""The way of a gradient through the graph of a loss: which functions on it can make a NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

# Their derivative is infinite, or 0/0, at some point of their domain.
_SINGULAR = ("Sqrt", "Rsqrt", "Log", "Pow", "Div", "Reciprocal", "Norm", "Acos", "Asin", "Atan2",
             "Std", "Var", "Cdist", "CosineSimilarity", "Logdet", "Prod", "Acosh", "Atanh", "Exp",
             "Logsumexp", "Linalg", "LinalgVectorNorm", "BinaryCrossEntropy")  # fmt: skip  # a list
# Not singular, although their names begin alike.
_HARMLESS = ("LogSoftmax", "LogSigmoid", "NormalizeBackward")
_MOST = 200_000  # nodes of a graph that are looked at
_FAR = 64  # functions above a parameter
_NAMED = 3


def suspects(roots: Any, parameters: Sequence[Tensor]) -> list[tuple[str, ...]]:
    """For each parameter the nearest singular functions between it and the roots."""
    given = roots if isinstance(roots, (tuple, list)) else (roots,)
    starts = [one.grad_fn for one in given if isinstance(one, Tensor) and one.grad_fn is not None]
    above: dict[Any, list[Any]] = {}
    leaves: dict[int, Any] = {}
    seen, waiting = set(starts), list(starts)
    while waiting and len(seen) < _MOST:
        node = waiting.pop()
        if (variable := getattr(node, "variable", None)) is not None:
            leaves[id(variable)] = node
        for below, _ in node.next_functions:
            if below is None:
                continue
            above.setdefault(below, []).append(node)
            if below not in seen:
                seen.add(below)
                waiting.append(below)
    return [_nearest(leaves.get(id(one)), above) for one in parameters]


def _nearest(leaf: Any, above: dict[Any, list[Any]]) -> tuple[str, ...]:
    """The singular functions above a leaf, the nearest first."""
    level, seen, found = [leaf] if leaf is not None else [], set(), []
    for _ in range(_FAR):
        level = [node for one in level for node in above.get(one, []) if node not in seen]
        seen.update(level)
        names = [node.name() for node in level]
        found += [name for name in names if _singular(name) and name not in found]
        if not level or len(found) >= _NAMED:
            break
    return tuple(found[:_NAMED])


def _singular(name: str) -> bool:
    return name.startswith(_SINGULAR) and not name.startswith(_HARMLESS)
