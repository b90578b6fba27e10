"""``LayerTrace``: one recurrent layer, in one direction."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from throughtime.errors import InputError, UnsupportedError, plain, unknown
from throughtime.findings import Finding
from throughtime.recurrences import Linearised
from throughtime.trace.course import Course
from throughtime.trace.turning import relative_difference, steps_alive, turn, underflowed


@dataclass(frozen=True, eq=False)
class Far:
    """One random gradient, sent by autograd from a state to one far before it.

    Attributes:
        anchor, origin: the steps of both states, in the order of computation; −1 is the initial
            state. Of a packed batch every sequence starts at its own last step.
        sent: the gradient at the state ``anchor`` (B S).
        arrived: what autograd made of it at the state ``origin`` (B S), along every route.
    """

    anchor: int
    origin: int
    sent: Float[Tensor, "B S"]
    arrived: Float[Tensor, "B S"]

    @property
    def lag(self) -> int:
        """Steps between the two."""
        return self.anchor - self.origin


@dataclass(frozen=True, eq=False)
class Route:
    """What the loss of one step sends into every state directly, past the recurrence.

    Attributes:
        anchor: the step, in the order of computation.
        direct: its direct gradient at every state (T B S), in the order of computation.
        target: the module at whose output the loss was taken apart by steps.
    """

    anchor: int
    direct: Float[Tensor, "T B S"]
    target: str


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One recurrent layer, in one direction.

    Attributes:
        name: as in ``model.named_modules()``, with ``.l1`` and ``.reverse`` where a stack has them.
        kind: ``"RNN"``, ``"LSTM"``, ``"GRU"``, or ``"marked"`` for the user's own recurrence.
        parts: where in S each named part lies: ``{"h": …}``, for LSTM ``{"h": …, "c": …}``.
        states: s_1 … s_T (T B S), zero where a sequence of the batch has ended.
        direct: the direct gradient e_t (T B S): all that reaches s_t other than through s_{t+1}.
        gradients: the TOTAL gradient δ_t = ∂L/∂s_t = e_t + J_{t+1}ᵀ δ_{t+1} (T B S).
            For LSTM over the joint state (h, c): what c sends into the h of its own step belongs to
            J, so that c's share came through c_{t+1}; ``c.grad`` in a loop counts both.
        linear: the recurrence linearised along the run, in the order in which it was computed.
        reverse: the layer reads its sequence from the end.
        lengths: the length of every sequence of the batch, or None where all are T.
        packed: the layer was given a PackedSequence: it stopped at those lengths.
        walls: steps t at which no gradient passes from s_t to s_{t−1}: the state was detached.
        parameter_gradient: the gradient of the recurrent weight that autograd left, for the check.
        rebuilt_gradient: the same gradient from the trace, where ``linear`` cannot rebuild it.
        unchecked_because: why there is nothing to check against, if so.
        findings: what was noticed while the trace was made (a state carried over, say).
        far: gradients that autograd itself sent far back, for the check of long lags.
        routes: single loss steps that reach earlier states by another way than the recurrence.
        precision: the coarsest number format in which the layer computed; None: that of ``states``.
        course: how its steps lie in the run; None for a trace that was made by hand.
        starts: where a sequence begins anew (T B): its state was reset before step t, and no step
            before t is a part of the same episode. None where none does.
        detached: the parts of the state that were detached between steps while others were not.
        spoilt: why nothing of it is to be used, or an empty string.
        fragments: how many single steps stand for this row, of a layer none of whose steps goes on
            from the one before; the row is the first of them. 1 everywhere else.
        fed: it starts from what another layer left, as a decoder does from its encoder's state.
        within: the loop that it is a part of, whose row speaks for it.
        thrown_away: all of the fragments start from the same state: the new one is not handed on.
    """

    name: str
    kind: str
    parts: dict[str, slice]
    states: Float[Tensor, "T B S"]
    direct: Float[Tensor, "T B S"]
    gradients: Float[Tensor, "T B S"]
    linear: Linearised
    reverse: bool = False
    lengths: tuple[int, ...] | None = None
    packed: bool = False
    walls: tuple[int, ...] = ()
    parameter_gradient: Tensor | None = None
    rebuilt_gradient: Tensor | None = None
    unchecked_because: str = ""
    findings: tuple[Finding, ...] = ()
    far: tuple[Far, ...] = ()
    routes: tuple[Route, ...] = ()
    precision: torch.dtype | None = None
    course: Course | None = None
    starts: Bool[Tensor, "T B"] | None = None
    detached: tuple[str, ...] = ()
    spoilt: str = ""
    fragments: int = 1
    thrown_away: bool = False
    fed: bool = False
    within: str = ""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.states)

    @property
    def batch(self) -> int:
        """B."""
        return self.states.shape[1]

    @property
    def marked(self) -> bool:
        """Whether this is a user's own recurrence, known by its marked states alone."""
        return self.kind in ("marked", "loop")

    def part(self, name: str) -> slice:
        """Where in S a part lies; ``"s"`` is the whole state."""
        if name == "s":
            return slice(None)
        if name not in self.parts:
            raise InputError(f"layer {self.name!r}: {unknown('part', name, ('s', *self.parts))}")
        return self.parts[name]

    @property
    def verified(self) -> float | None:
        """‖rebuilt − autograd's‖ / ‖autograd's‖ of the recurrent weight's gradient, or None.

        ``Σ_t δ_t ∂s_t/∂W_hh`` is rebuilt from the trace; autograd found its own on the way through
        the fused kernel. None where there is nothing to compare (``unverified_because`` says why).
        """
        return self._check[0]

    @property
    def unverified_because(self) -> str:
        """Why ``verified`` is None; empty where it is a number."""
        return self._check[1]

    @cached_property
    def _check(self) -> tuple[float | None, str]:
        if self.parameter_gradient is None:
            return None, self.unchecked_because or "autograd left no gradient to compare with"
        rebuilt = self.rebuilt_gradient
        if rebuilt is None:
            rebuilt = self.linear.recurrent_weight_gradient(self.turned(self.gradients))
        if rebuilt is None:
            return None, "this recurrence has no recurrent weight"
        if underflowed(self.parameter_gradient, self.states.dtype):
            return None, "the gradient underflowed: it is too small for its dtype to be compared"
        difference = relative_difference(rebuilt, self.parameter_gradient)
        if math.isnan(difference):
            return None, "the gradient is not finite"
        return difference, ""

    def turned(self, values: Shaped[Tensor, "T B ..."]) -> Shaped[Tensor, "T B ..."]:
        """Between the time of the sequence and the order of computation: its own inverse."""
        if not self.reverse:
            return values
        return turn(values, self.lengths if self.packed else None)

    def in_sequence_time(self) -> LayerTrace:
        """This trace with its tensors turned from the order of computation to sequence time."""
        return replace(
            self,
            states=self.turned(self.states),
            direct=self.turned(self.direct),
            gradients=self.turned(self.gradients),
            starts=None if self.starts is None else self.turned(self.starts),
        )

    def with_lengths(self, lengths: tuple[int, ...]) -> LayerTrace:
        """This trace, of a padded batch, knowing where its sequences end."""
        return replace(self, lengths=lengths)

    def some(self, most: int) -> LayerTrace:
        """The trace of ``most`` of its sequences, drawn by lot; itself where it has no more.

        By lot and not evenly spread, since batches have patterns that repeat. The same every time.

        Also itself where its recurrence cannot be split (marked states). Nothing is left of the
        check, which is that of the whole batch.
        """
        if self.batch <= most:
            return self
        lot = torch.randperm(self.batch, generator=torch.Generator().manual_seed(0))
        chosen = sorted(lot[:most].tolist())
        linear = self.linear.take(chosen)
        if linear is None:
            return self
        return replace(
            self,
            states=self.states[:, chosen],
            direct=self.direct[:, chosen],
            gradients=self.gradients[:, chosen],
            linear=linear,
            lengths=None if self.lengths is None else tuple(self.lengths[i] for i in chosen),
            starts=None if self.starts is None else self.starts[:, chosen],
            parameter_gradient=None,
            rebuilt_gradient=None,
            unchecked_because="it is a part of its batch",
        )

    def alive(self) -> Tensor:
        """Boolean (T B): which steps belong to a sequence, in the time of the sequence."""
        return steps_alive(self.steps, self.batch, self.lengths, self.states.device)

    def began(self) -> Int[Tensor, "T B"] | None:
        """The step at which the episode of each step began, in the order of computation.

        None where no sequence begins anew on its way.
        """
        if self.starts is None:
            return None
        starts = self.turned(self.starts)
        steps = torch.arange(self.steps, device=starts.device).unsqueeze(1)
        return torch.where(starts, steps, torch.zeros_like(steps)).cummax(0).values

    def longest_lag(self) -> int:
        """Steps from a loss back to the start of its sequence, or of its episode: the most."""
        began = self.began()
        if began is None:
            return max(self.loss_steps(), default=0)
        sends = (self.turned(self.direct) != 0).any(-1) & self.turned(self.alive())
        lags = torch.arange(self.steps, device=began.device).unsqueeze(1) - began
        return int(lags[sends].max()) if sends.any() else 0

    def loss_steps(self, most: int | None = None) -> tuple[int, ...]:
        """Steps, in the order of computation, at which the loss sends a gradient to a live state.

        Where there are more than ``most``, so many of them, evenly spread, and the last one
        always: it is the one that can see furthest back.
        """
        alive = self.turned(self.alive())
        sends = (self.turned(self.direct) != 0).any(-1) & alive
        steps: list[int] = sends.any(1).nonzero().flatten().tolist()
        if most is None or len(steps) <= most:
            return tuple(steps)
        chosen = torch.linspace(len(steps) - 1, 0, most, dtype=torch.float64).round().long()
        return tuple(sorted({steps[i] for i in chosen.tolist()}))

    def __repr__(self) -> str:
        size = self.states.shape[-1]
        check = "not verified" if self.verified is None else f"verified {self.verified:.0e}"
        return plain(
            f"LayerTrace({self.name}: {self.kind}, T={self.steps} B={self.batch} S={size}, {check})"
        )


def with_tangent(layer: LayerTrace) -> LayerTrace:
    """The layer itself; ``UnsupportedError`` for marked states, whose step nobody knows."""
    if layer.marked:
        raise UnsupportedError(
            f"layer {layer.name!r} is known by its marked states alone, which have no tangent: "
            "give its step to throughtime.recurrences.Custom"
        )
    return layer
