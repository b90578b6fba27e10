"""What the clippers have in common: called before the optimiser's step, proof against NaN."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from throughtime.errors import InputError
from throughtime.remedies.clipping.nonfinite import Lost, tell
from throughtime.remedies.clipping.parts import Parameters
from throughtime.remedies.clipping.whole import WholeGradient

State = dict[str, Any]


class GradientClipper(ABC):
    """Clips gradients in place, and knows what it has clipped and lost so far.

    Attributes:
        steps: how often it was called.
        clipped_steps: how often it shortened something.
        lost_steps: how often something was not finite.
        lost: what was not finite at the last call, by parameter; that is 0 now.
    """

    def __init__(self) -> None:
        self.steps = self.clipped_steps = self.lost_steps = 0
        self.lost: tuple[Lost, ...] = ()

    def __call__(self, parameters: Parameters) -> Tensor:
        """Clip the gradients of ``parameters``, after ``backward`` and before ``step``.

        Entries that are NaN or infinite are set to 0 first, and told in a ``LostGradientWarning``:
        from then on all is as if they had been 0 from the start.

        Returns:
            The norm of all gradients before clipping, of what was finite: a scalar.
        """
        with torch.no_grad():
            gradient = WholeGradient.finite_(parameters)
            clipped = self._clip_(gradient)
        self.steps += 1
        self.clipped_steps += clipped
        self.lost_steps += bool(gradient.lost)
        self.lost = gradient.lost
        tell(gradient.lost, stacklevel=2)
        return gradient.norm.tensor

    def state_dict(self) -> State:
        """What it remembers, in plain numbers and tensors; its settings are not in it."""
        counters = {name: getattr(self, name) for name in _COUNTERS}
        return {**counters, **self._memory()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what ``state_dict`` gave: all of it, or nothing.

        Raises:
            InputError: this is not the state of such a clipper.
        """
        expected, given = sorted(self.state_dict()), sorted(map(str, state))
        if given != expected:
            raise InputError(
                f"not the state of {self!r}: it holds {', '.join(given) or 'nothing'}, and must "
                f"hold {', '.join(expected)}"
            )
        counters = {name: state[name] for name in _COUNTERS}
        for name, count in counters.items():
            if type(count) is not int or count < 0:
                raise InputError(f"{name} of {self!r} is {count!r}, and must be a count")
        self._recall({name: state[name] for name in state if name not in _COUNTERS})
        for name, count in counters.items():
            setattr(self, name, count)

    @abstractmethod
    def _clip_(self, gradient: WholeGradient) -> bool:
        """Clip a gradient that is finite; whether something was shortened."""

    @abstractmethod
    def _memory(self) -> State:
        """What it remembers beside its counters, in plain numbers and tensors."""

    @abstractmethod
    def _recall(self, memory: State) -> None:
        """Take up what ``_memory`` gave. Raises ``InputError``, before anything is changed."""


_COUNTERS = ("steps", "clipped_steps", "lost_steps")
