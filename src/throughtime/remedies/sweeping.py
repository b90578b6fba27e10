"""A recurrence whose adjoint sweep is another one: what ``unroll`` then does on the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from throughtime.capture.unrolled import Unrolled
from throughtime.recurrences import Driven, Linearised, unroll
from throughtime.remedies.fused import Held

Blocked = frozenset[int]
Adjoint = Callable[[Tensor, Blocked], Tensor]


class Sweep(Protocol):
    """What runs in the place of ``Linearised.adjoint``."""

    def __call__(
        self,
        linear: Linearised,
        adjoint: Adjoint,
        direct: Float[Tensor, "T B S"],
        blocked: Blocked,
        *,
        training: bool,
    ) -> Float[Tensor, "T B S"]:
        """The gradient of every state, of which those of the weights are made.

        ``adjoint`` is the sweep that it replaces; ``training`` is false where it is not run for a
        step of training, but for a look, as ``throughtime.capture`` takes one.
        """


def unroll_with(sweep: Sweep, run: Unrolled) -> Tensor:
    """The states of a run, the same ones; on the way back ``sweep`` is swept."""
    kind, settings = _sweeping(run.kind), {**run.settings, "sweep": Held.of(sweep)}
    return unroll(kind, settings, run.inputs, run.initial, run.weights, run.place)


@cache
def _sweeping(kind: type[Driven]) -> type[Driven]:
    """The recurrence ``kind``, with ``sweep`` among its settings."""

    class Sweeping(kind):  # type: ignore[misc, valid-type]
        def __init__(self, *weights: Tensor | None, sweep: Held, **settings: Any) -> None:
            super().__init__(*weights, **settings)
            self.settings, self.sweep = {**settings, "sweep": sweep}, sweep.what

        def recall(self, *args: Any) -> Linearised:
            return self._swept(super().recall(*args), training=True)

        def linearise(self, *args: Any) -> Linearised:
            return self._swept(super().linearise(*args), training=False)

        def replay(self, *args: Any) -> tuple[Tensor, Linearised]:
            states, linear = super().replay(*args)
            return states, self._swept(linear, training=False)

        def _swept(self, linear: Linearised, *, training: bool) -> Linearised:
            if not hasattr(linear, "swept_by"):
                linear.__class__ = _swept(type(linear))
            vars(linear).update(swept_by=self.sweep, training=training)
            return linear

    return Sweeping


@cache
def _swept(kind: type[Linearised]) -> type[Linearised]:
    """The same linearisation, with a sweep of its own."""

    class Swept(kind):  # type: ignore[misc, valid-type]
        swept_by: Sweep
        training: bool

        def adjoint(self, direct: Tensor, blocked: Blocked = frozenset()) -> Tensor:
            return self.swept_by(self, super().adjoint, direct, blocked, training=self.training)

        def backpropagate(
            self, total: Tensor, inputs: Tensor, names: Sequence[str]
        ) -> dict[str, Tensor]:
            total.copy_(self.adjoint(total))
            found: dict[str, Tensor] = self.gradients(total, inputs)
            return found

    return Swept
