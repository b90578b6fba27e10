"""``Trace``: one run through time, with the total gradient of every state. Tensors, no model.

Axes, always in this order: T time, B batch, S state (H units, or h and c side by side: P + H).
Time is the time of the sequence: row t of a layer that reads backwards belongs to input t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from throughtime.errors import InputError, UnsupportedError, plain
from throughtime.findings import Finding
from throughtime.recurrences import Linearised

# Times the smallest normal number of a dtype: a gradient below has lost digits that a check needs.
_UNDERFLOWED = 1e3


@dataclass(eq=False)
class Source:
    """Where numbers that are not finite came from, as far as the model's modules show it.

    Attributes:
        kind: given to the model as ``data``; a ``parameter`` of a module; made by a ``module`` or a
            recurrent ``layer`` of finite inputs; by an ``operation`` in the forward of a module,
            or by one ``outside`` of all modules.
        module: the module, as in ``model.named_modules()``; the model itself is ``""``.
        type: its class.
        parameter: the parameter or buffer, as the model names it.
        after, before: the modules between which the operation runs, where there are any.
    """

    kind: Literal["data", "parameter", "module", "layer", "operation", "outside"]
    module: str = ""
    type: str = ""
    parameter: str = ""
    after: str = ""
    before: str = ""

    def become(self, other: Source) -> None:
        """Say what another one says: its cause was seen later."""
        vars(self).update(vars(other))


@dataclass(frozen=True)
class Gap:
    """A state that was finite when one call ended and is not when the next one starts.

    ``layer``: whose calls they are. ``after``: the step at which the state was still finite.
    ``sequences``: of the batch, in which it is not. ``source``: what made it, if that was seen.
    """

    layer: str
    after: int
    sequences: tuple[int, ...]
    source: Source | None = None


@dataclass(frozen=True, eq=False)
class Course:
    """How the steps of a layer lie in the run, one entry for each, in the order of computation.

    Attributes:
        order: the place of every step in the whole run; all layers and marks count together.
        loop: the step of the user's loop; 0 … T − 1 for a layer that is called once.
        loop_steps: how many steps that loop has.
        looped: each step is a call of its own, in a loop of the user's.
        dtype: in which the states were computed.
        sources: by step, of what it read (``"input"`` ``"state"``) and of the state that it made
            (``"made"``): where what is not finite came from.
        gaps: by step, a state that was made not finite between two calls.
        weights: the weights of a step, by torch's name, and as ``model.named_parameters()`` has it.
    """

    order: tuple[int, ...]
    loop: tuple[int, ...]
    loop_steps: int
    dtype: torch.dtype
    sources: Mapping[int, Mapping[str, Source]] = field(default_factory=dict)
    gaps: Mapping[int, Gap] = field(default_factory=dict)
    weights: Callable[[int], list[tuple[str, str, Tensor]]] = field(
        default_factory=lambda: lambda _: []
    )
    looped: bool = False


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
        course: how its steps lie in the run; None for a trace that was made by hand.
        starts: where a sequence begins anew (T B): its state was reset before step t, and no step
            before t is a part of the same episode. None where none does.
        detached: the parts of the state that were detached between steps while others were not.
        spoilt: why nothing of it is to be used, or an empty string.
        fragments: how many single steps stand for this row, of a layer none of whose steps goes on
            from the one before; the row is the first of them. 1 everywhere else.
        fed: it starts from what another layer left, as a decoder does from its encoder's state.
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
    precision: torch.dtype | None = None
    course: Course | None = None
    starts: Bool[Tensor, "T B"] | None = None
    detached: tuple[str, ...] = ()
    spoilt: str = ""
    fragments: int = 1
    thrown_away: bool = False
    fed: bool = False

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
            has = ", ".join(map(repr, ("s", *self.parts)))
            raise InputError(f"no part {name!r} in layer {self.name!r}: it has {has}")
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
        return plain(f"Link({' + '.join(self.below)} -> {self.above}{dropout})")


@dataclass(frozen=True)
class ParameterFact:
    """One parameter after the run.

    Attributes:
        name: as in ``model.named_parameters()``; for one that the model does not list, the name of
            its layer in the trace before its own.
        module: the name of the module that owns it, empty for the model itself.
        shape: its size along each axis.
        requires_grad: False for a frozen one.
        registered: whether ``model.parameters()`` lists it.
        gradient: what the backward passes left in ``.grad``: ``none``, ``zero``, ``finite``,
            ``non-finite``; ``unknown`` where it held one before, or nothing can be claimed.
        largest: the largest entry of that gradient by magnitude; None where there is none.
        value: the largest entry of the parameter by magnitude, NaN or inf where one is.
        scale: the root mean square of its entries.
        changed: what the forward pass did to it: ``written``, ``replaced`` by another parameter,
            ``by design`` (an embedding with ``max_norm``), or nothing.
        way: functions of the graph right above it that can make a NaN, where its gradient is not
            finite: ``("SqrtBackward0",)``.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    requires_grad: bool
    registered: bool
    gradient: str
    largest: float | None
    value: float
    scale: float
    changed: str = ""
    way: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many entries it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ModuleFact:
    """One module that owns parameters, or is recurrent.

    Attributes:
        name: as in ``model.named_modules()``; of one that is not registered that in the trace.
        kind: the name of its class.
        recurrent: whether it is a recurrent layer or cell.
        registered: whether ``model.modules()`` lists it.
        ran: whether it was called in the run.
        held_in: for one that is not registered the attribute that holds it, if one does.
        batch_first: whether its batch axis comes first.
        hidden: its number of hidden units, 0 where it has none.
    """

    name: str
    kind: str
    recurrent: bool
    registered: bool
    ran: bool
    held_in: str = ""
    batch_first: bool = False
    hidden: int = 0


@dataclass(frozen=True)
class Facts:
    """What surrounds the recurrence: the loss, the parameters and the modules of one run.

    Attributes:
        losses: what each backward pass started from.
        parameters: all of the model, and those of unregistered layers that ran inside.
        modules: those that own them.
        swept: whether a backward pass filled ``.grad``; else nothing is known of gradients.
        put_back: whether parameters that the forward pass changed hold their old values again.
        ends: for each sequence of the batch where its input begins to stand still, as padding
            does; empty where that is not so.
    """

    losses: tuple[float, ...] = ()
    parameters: tuple[ParameterFact, ...] = ()
    modules: tuple[ModuleFact, ...] = ()
    swept: bool = False
    put_back: bool = False
    ends: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Trace:
    """Everything one captured run left behind.

    ``sources``: where numbers that are not finite came from, in the order of the run.
    ``loss_finite``: whether what the backward passes started from was finite.
    """

    layers: tuple[LayerTrace, ...]
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    run: dict[str, object] = field(default_factory=dict)
    feeds: tuple[tuple[str, str], ...] = ()
    """Pairs of layers: the second reads, through whatever lies between, what the first wrote."""
    sources: tuple[Source, ...] = ()
    loss_finite: bool = True
    facts: Facts = field(default_factory=Facts)

    def __getitem__(self, key: str | int) -> LayerTrace:
        if isinstance(key, int):
            return self.layers[key]
        for layer in self.layers:
            if layer.name == key:
                return layer
        raise InputError(
            f"no layer {key!r} in this trace: it has {', '.join(map(repr, self.names))}"
        )

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


def one_layer(trace: Trace | LayerTrace, layer: str | int | None, what: str) -> LayerTrace:
    """The layer that is meant, None for the only one; ``what`` is measured, for the error."""
    if isinstance(trace, LayerTrace):
        return trace
    if layer is None and len(trace) > 1:
        names = ", ".join(map(repr, trace.names))
        raise InputError(f"{what} of one layer, choose one with layer=: {names}")
    return trace[layer or 0]


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


def underflowed(gradient: Tensor, dtype: torch.dtype) -> bool:
    """Not zero, and so near the smallest normal number of the dtype that few digits are left.

    A sum whose terms lie a thousandfold below its largest entry loses them in what is denormal, and
    with them the digits that a check compares.
    """
    if not gradient.numel() or not dtype.is_floating_point:
        return False
    largest = float(gradient.detach().abs().amax())
    return 0.0 < largest < _UNDERFLOWED * torch.finfo(dtype).smallest_normal


def relative_difference(value: Tensor, reference: Tensor) -> float:
    """‖value − reference‖ / ‖reference‖ in float64; 0 where both are zero."""
    value, reference = value.detach().double(), reference.detach().double()
    scale = float(reference.abs().amax()) if reference.numel() else 0.0
    if scale == 0.0:
        return 0.0 if not value.any() else float("inf")
    difference = torch.linalg.vector_norm((value - reference) / scale)
    return float(difference / torch.linalg.vector_norm(reference / scale))
