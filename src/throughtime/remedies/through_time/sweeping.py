"""A recurrence whose adjoint sweep is another one: what ``unroll`` then does on the way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from throughtime.recording.unrolled import Unrolled
from throughtime.recurrences import Driven, Linearised, unroll
from throughtime.remedies.through_time.fused import Held

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
    """The states of a run, the same ones; on the way back ``sweep`` is swept.

    If the run has such a sweep already, that is the one which ``sweep`` replaces.
    """
    held, kind = run.settings.get("sweeps"), run.kind
    if not isinstance(held, Held):
        held, kind = Held.of(()), _sweeping(kind)
    settings = {**run.settings, "sweeps": Held.of((*held.what, sweep))}
    return unroll(kind, settings, run.inputs, run.initial, run.weights, run.place)


@cache
def _sweeping(kind: type[Driven]) -> type[Driven]:
    """The recurrence ``kind``, with ``sweeps`` among its settings."""

    class Sweeping(kind):  # type: ignore[misc, valid-type]  # its base is an argument
        def __init__(self, *weights: Tensor | None, sweeps: Held, **settings: Any) -> None:
            super().__init__(*weights, **settings)
            self.settings, self.sweeps = {**settings, "sweeps": sweeps}, sweeps.what

        def recall(self, *args: Any) -> Linearised:
            return self._swept(super().recall(*args), training=True)

        def linearise(self, *args: Any) -> Linearised:
            return self._swept(super().linearise(*args), training=False)

        def replay(self, *args: Any) -> tuple[Tensor, Linearised]:
            states, linear = super().replay(*args)
            return states, self._swept(linear, training=False)

        def _swept(self, linear: Linearised, *, training: bool) -> Linearised:
            if not hasattr(linear, "sweeps"):
                linear.__class__ = _swept(type(linear))
            vars(linear).update(sweeps=self.sweeps, training=training)
            return linear

    return Sweeping


@cache
def _swept(kind: type[Linearised]) -> type[Linearised]:
    """The same linearisation, with sweeps of its own."""

    class Swept(kind):  # type: ignore[misc, valid-type]  # its base is an argument
        sweeps: tuple[Sweep, ...]
        training: bool

        def adjoint(self, direct: Tensor, blocked: Blocked = frozenset()) -> Tensor:
            adjoint: Adjoint = super().adjoint
            for sweep in self.sweeps:
                adjoint = partial(sweep, self, adjoint, training=self.training)
            return adjoint(direct, blocked)

    return Swept
