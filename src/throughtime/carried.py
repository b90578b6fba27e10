"""The state that a model carries from one piece of a sequence to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

State = Any  # tensors, in whatever tuples, lists and dictionaries a model keeps them in


def detached(state: State) -> State:
    """Without its graph: no gradient flows over the cut."""
    return _mapped(state, Tensor.detach)


def moved(state: State, device: torch.device) -> State:
    """On another device."""
    return _mapped(state, lambda tensor: tensor.to(device))


def tensors(state: State) -> list[Tensor]:
    """All that it holds, in order; of containers of any kind, which need not be made anew."""
    if isinstance(state, Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state
    if not isinstance(state, (dict, tuple, list)):
        return []
    return [tensor for value in inner for tensor in tensors(value)]


def _mapped(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """Every tensor in tuples, lists and dictionaries changed, all else as it is."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, dict):
        return {key: _mapped(value, change) for key, value in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):  # a named tuple
        return type(state)(*(_mapped(value, change) for value in state))
    if isinstance(state, (tuple, list)):
        return type(state)(_mapped(value, change) for value in state)
    return state
