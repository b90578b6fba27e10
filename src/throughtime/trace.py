"""``Trace``: one run through time, with the total gradient of every state. Tensors, no model.

Axes, always in this order: T time, B batch, S state (H units, or h and c side by side: P + H).
Time is the time of the sequence: row t of a layer that reads backwards belongs to input t.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from throughtime.errors import InputError, UnsupportedError, plain, unknown
from throughtime.findings import Diagnosis, Finding
from throughtime.recurrences import Linearised


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
        precision: the coarsest number format in which the layer computed; None: that of ``states``.
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
    precision: torch.dtype | None = None

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
        return self.kind == "marked"

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
            parameter_gradient=None,
            rebuilt_gradient=None,
            unchecked_because="it is a part of its batch",
        )

    def alive(self) -> Tensor:
        """Boolean (T B): which steps belong to a sequence, in the time of the sequence."""
        return steps_alive(self.steps, self.batch, self.lengths, self.states.device)

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
        return (
            f"LayerTrace({self.name}: {self.kind}, T={self.steps} B={self.batch} S={size}, {check})"
        )


@dataclass(frozen=True, eq=False)
class Link:
    """Layer ``above`` reads what the layers ``below`` wrote at the same step.

    ``scale`` is the dropout mask of the run (T B I, zero or 1/(1−p)), or None.
    """

    below: tuple[str, ...]
    above: str
    scale: Float[Tensor, "T B I"] | None = None

    def __repr__(self) -> str:
        dropout = "" if self.scale is None else ", through dropout"
        return f"Link({' + '.join(self.below)} -> {self.above}{dropout})"


@dataclass(frozen=True, eq=False)
class Trace:
    """Everything one captured run left behind."""

    layers: tuple[LayerTrace, ...]
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    run: dict[str, object] = field(default_factory=dict)
    feeds: tuple[tuple[str, str], ...] = ()
    """Pairs of layers: the second reads, through whatever lies between, what the first wrote."""

    def __getitem__(self, key: str | int) -> LayerTrace:
        if isinstance(key, int):
            if not -len(self) <= key < len(self):
                raise InputError(f"no layer {key} in this trace: it has {len(self)}, from 0")
            return self.layers[key]
        for layer in self.layers:
            if layer.name == key:
                return layer
        raise InputError(unknown("layer", key, self.names))

    def __iter__(self) -> Iterator[LayerTrace]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names, inputs first."""
        return tuple(layer.name for layer in self.layers)

    def __repr__(self) -> str:
        return "Trace(\n" + "".join(f"  {layer!r},\n" for layer in self.layers) + ")"


def one_layer(given: object, layer: str | int | None, what: str) -> LayerTrace:
    """The layer that is meant, None for the only one; ``what`` is measured, for the error."""
    trace = checked_trace(given)
    if isinstance(trace, LayerTrace):
        return trace
    if layer is None and len(trace) > 1:
        names = ", ".join(map(repr, trace.names))
        raise InputError(f"{what} of one layer, choose one with layer=: {names}")
    return trace[layer or 0]


def checked_trace(given: object) -> Trace | LayerTrace:
    """A ``Trace`` or one of its layers, if that is what this is; else ``InputError``."""
    if isinstance(given, (Trace, LayerTrace)):
        return given
    hint = "tt.observe(model, closure) makes one"
    if hasattr(given, "trace"):
        hint = "take its .trace"
    elif isinstance(given, Diagnosis):
        hint = "its layers hold what was measured; a Trace is made by tt.observe(model, closure)"
    kind = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise InputError(f"a measure takes a Trace, or one of its layers, not {plain(kind)}: {hint}")


def with_tangent(layer: LayerTrace) -> LayerTrace:
    """The layer itself; ``UnsupportedError`` for marked states, whose step nobody knows."""
    if layer.marked:
        raise UnsupportedError(
            f"layer {layer.name!r} is known by its marked states alone, which have no tangent: "
            "give its step to throughtime.recurrences.Custom"
        )
    return layer


def turn(values: Shaped[Tensor, "T B ..."], lengths: tuple[int, ...] | None) -> Tensor:
    """Reverse time within each sequence of the batch; what lies past its end stays where it is."""
    if lengths is None:
        return values.flip(0)
    steps = torch.arange(len(values), device=values.device).unsqueeze(1)
    ends = torch.tensor(lengths, device=values.device).unsqueeze(0)
    index = torch.where(steps < ends, ends - 1 - steps, steps)
    return values[index, torch.arange(values.shape[1], device=values.device)]


def steps_alive(
    steps: int, batch: int, lengths: tuple[int, ...] | None, device: torch.device
) -> Tensor:
    """Boolean (T B): which steps belong to a sequence of these lengths."""
    if lengths is None:
        return torch.ones(steps, batch, dtype=torch.bool, device=device)
    ends = torch.tensor(lengths, device=device)
    return torch.arange(steps, device=device).unsqueeze(1) < ends


def relative_difference(value: Tensor, reference: Tensor) -> float:
    """‖value − reference‖ / ‖reference‖ in float64; 0 where both are zero."""
    value, reference = value.detach().double(), reference.detach().double()
    scale = float(reference.abs().amax()) if reference.numel() else 0.0
    if scale == 0.0:
        return 0.0 if not value.any() else float("inf")
    difference = torch.linalg.vector_norm((value - reference) / scale)
    return float(difference / torch.linalg.vector_norm(reference / scale))
