"""``Call``: one run of one layer in one direction, and what the hooks saw of its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle, unserializable_hook

from throughtime.recording.kernels import Packed
from throughtime.recording.layout import Part
from throughtime.recording.origins import Origin
from throughtime.recurrences import GRU, LSTM, Elman, Recurrence
from throughtime.trace import Source

Make = Callable[[tuple[Tensor, ...]], Recurrence]


@dataclass
class Passes:
    """The backward passes of a block so far: their number, and which of them built a graph."""

    count: int = 0
    with_graph: set[int] = field(default_factory=set)
    probing: bool = False
    """A backward pass of ours is under way, of which no hook takes notice."""
    scanning: bool = False
    """A known scan runs, which is recorded as a whole: what it does inside is not looked at."""
    cut: bool | str = False
    """That pass stops where recorded calls begin, or those of this layer: what lies between."""

    retained: list[Tensor] = field(default_factory=list)
    """Tensors whose ``.grad`` the user asked for, which no pass of ours may fill."""
    hooked: bool = False
    """The user hangs hooks on tensors, which no walk on the graph can see."""

    def asked(self, name: str, args: Sequence[Any]) -> None:
        """The user asks for the gradient of a tensor, or hangs a hook of their own on it."""
        if name == "retain_grad":
            self.retained.append(args[0])
        else:
            self.hooked |= not getattr(args[1], "__torch_unserializable__", False)

    def at_entry(self, name: str, gradient: Tensor | None) -> Tensor | None:
        """What goes on from the entry of a call: nothing, in a pass that stops there."""
        if gradient is None or self.cut not in (True, name):
            return None
        return torch.zeros_like(gradient)


@dataclass(eq=False)
class Weight:
    """A recurrent weight as it was used, through an alias that shows the gradient of that use.

    Calls of one layer with the same weight share the alias, so that autograd itself adds up what
    each of them sends, and one gradient is held, not one a step.
    """

    alias: Tensor
    original: Tensor
    passes: Passes
    gradient: Tensor | None = None
    seen_in: set[int] = field(default_factory=set)

    def receive(self, gradient: Tensor | None) -> None:
        """Add up what a backward pass brings; a copy, since ``.grad`` may be the same memory."""
        if gradient is None or self.passes.probing:
            return
        held, gradient = self.gradient, gradient.detach()
        self.gradient = gradient.clone() if held is None else held.add_(gradient)
        self.seen_in.add(self.passes.count)


@dataclass(eq=False)
class Call:
    """One run of a recurrent layer over T steps (a cell: T = 1), in the order of computation.

    Attributes:
        name, kind: of the layer; kind is ``RNN_TANH``, ``RNN_RELU``, ``LSTM``, ``GRU``, or that of
            a recurrence that ``unroll`` ran.
        make: the recurrence with these weights, given their snapshots.
        weights: snapshots, in torch's order: W_ih, W_hh, then biases and projection if there are.
        recurrent: W_hh and its gradient; None where autograd did not record the run.
        inputs, outputs: (T B I) and (T B P), detached; of ``unroll`` the outputs are the states.
        read: how much of the outputs, from their start, a layer above reads; None for all.
        initial, final: the parts of the state before and after, each (B, ·), copies.
        connected: by part, gradient can pass from ``initial`` to the computation that made it.
        older: it starts from a state whose graph was made before the capture began.
        origin: what the graph says of ``initial``; None where it says nothing.
        inside: the numbers of the module calls that it is a part of, the outermost first.
        differentiable: the run was recorded by autograd. ``why_not`` says why, where it was not.
        lengths, order: of a packed batch: lengths as packed, and the indices that unsort it.
        scale: dropout mask through which the inputs came from the layer below (T B I), or None.
        again: it ran during a backward pass, as a checkpoint does.
        ends, whole, begins: in autograd's graph, until the trace is made: the final state and all
            outputs as the user has them, and the state before.
        out, raw: all outputs, packed as they were (``packed``), if they are no final state, and the
            parts of the final state: as they left the kernel, before the copy that the user has and
            may change. read_from: the input and the parts of the state that it was given.
        run: the number of the stacked kernel's run that it is a part of, and its layer there.
        memory, left: where in memory the state lies that it was given, and that it left.
        reads: the calls that its input depends on; follows: those that its state depends on.
            plain: its input is their output as it is, moved at most.
        at: the place of its first step in the run. frame: which call of the outermost module.
        loop: the step of the user's loop at which it begins, and how many steps that loop has.
        named: what the model calls its weights; empty for one that was computed.
        sources: of what it read that is not finite (``input`` ``state0`` …): where that came from.
        received: gradients by slot: ``output`` ``h`` ``c`` and, of what it read, ``h0`` ``c0``;
            of ``h`` and ``c`` also what arrived before any hook of the user's: ``h?`` and ``c?``.
    """

    name: str
    kind: str
    make: Make
    weights: tuple[Tensor, ...]
    inputs: Tensor
    outputs: Tensor
    initial: tuple[Tensor, ...]
    final: tuple[Tensor, ...]
    connected: tuple[bool, ...]
    differentiable: bool
    passes: Passes
    recurrent: Weight | None = None
    why_not: str = ""
    fused: bool = True
    reverse: bool = False
    lengths: tuple[int, ...] | None = None
    order: Tensor | None = None
    scale: Tensor | None = None
    again: bool = False
    after: int = 0
    received: dict[str, Tensor] = field(default_factory=dict)
    seen_in: set[int] = field(default_factory=set)
    versions: tuple[tuple[Tensor, int], ...] = ()
    read: int | None = None
    origin: Origin | None = None
    inside: tuple[int, ...] = ()
    older: bool = False
    ends: tuple[Tensor, ...] = ()
    whole: Tensor | None = None
    begins: tuple[Tensor, ...] = ()
    out: Tensor | None = None
    raw: tuple[Tensor, ...] = ()
    packed: Packed | None = None
    read_from: tuple[Tensor, ...] = ()
    reads: tuple[Call, ...] = ()
    follows: tuple[Call, ...] = ()
    run: tuple[int, int] = (0, 0)
    memory: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    plain: bool = False
    at: int = 0
    frame: int = 0
    loop: tuple[int, int] = (0, 0)
    named: tuple[str, ...] = ()
    sources: dict[str, Source] = field(default_factory=dict)

    def watch(
        self, tensor: Tensor, slot: str, shape: Callable[[Tensor], Tensor] | None = None
    ) -> list[RemovableHandle]:
        """Add up in ``received[slot]`` the gradients that arrive at ``tensor``, each ``shape``d."""
        if not tensor.requires_grad:
            return []

        def receive(gradient: Tensor | None) -> Tensor | None:
            if gradient is None or self.passes.probing:  # None: some kernels' word for a zero
                return self.passes.at_entry(self.name, gradient) if slot in ("h0", "c0") else None
            gradient = gradient.detach() if shape is None else shape(gradient.detach())
            gradient = gradient[0] if slot[0] in "hc" and gradient.dim() == 3 else gradient
            held = self.received.get(slot)
            self.received[slot] = gradient if held is None else held + gradient
            if slot in ("output", "h", "c"):
                self.seen_in.add(self.passes.count)
            return None

        return [listen(tensor, receive)]

    def watch_states(
        self, initial: tuple[Tensor, ...], final: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], list[RemovableHandle]]:
        """Copies of the final state, which the user is given, and the hooks on all of them.

        So no change in place spoils the record, and what arrives is known behind users' hooks too.
        """
        self.raw, given = final, tuple(part.clone() for part in final)
        watched = {"h": final[:1], "c": final[1:], "h?": given[:1], "c?": given[1:]}
        watched |= {"h0": initial[:1], "c0": initial[1:]}
        handles = [self.watch(part, slot) for slot, parts in watched.items() for part in parts]
        return given, [one for some in handles for one in some]

    def was_given(self, given: tuple[Tensor, ...], final: Sequence[Tensor]) -> None:
        """Remember the input and the state as given, and where they and the final state lie."""
        self.read_from = given
        self.memory, self.left = addresses(given[1:]), addresses(final)

    def stand_in_for(self, first: Call) -> None:
        """Take the place in the run of the call that this one repeats."""
        self.at, self.frame, self.loop = first.at, first.frame, first.loop
        self.named, self.sources = first.named, first.sources

    def add(self, other: Call) -> None:
        """Add up what arrived at another run of the same call."""
        for slot, gradient in other.received.items():
            held = self.received.get(slot)
            self.received[slot] = gradient if held is None else held + gradient
        self.seen_in |= other.seen_in

    @property
    def steps(self) -> int:
        """T."""
        return len(self.inputs)

    @property
    def final_state(self) -> Tensor:
        """The state after, all its parts side by side (B S)."""
        return torch.cat(self.final, -1)

    @property
    def reached(self) -> bool:
        """Whether a gradient came back to any of its states."""
        return any(slot in self.received for slot in ("output", "h", "c"))

    @property
    def changed_in_place(self) -> bool:
        """Whether what it read is no longer what the record holds."""
        return any(version(tensor) != before for tensor, before in self.versions)

    @property
    def hooked(self) -> bool:
        """Whether a hook of the user's changed the gradient of its final state."""
        pairs = [(self.received.get(slot + "?"), self.received.get(slot)) for slot in "hc"]
        return any(
            before is not None and after is not None and not same(before, after)
            for before, after in pairs
        )

    def unchecked_because(self) -> str:
        """Why the gradient of its recurrent weight cannot be rebuilt, or an empty string."""
        if self.changed_in_place:
            return "its input was changed in place after the forward pass"
        if any(one in self.passes.with_graph for one in self.seen_in - {max(self.seen_in)}):
            return "a backward pass went through the graph of another: it has second-order terms"
        if self.recurrent is None or self.seen_in - self.recurrent.seen_in:
            return "autograd was asked for no gradient of its recurrent weight"
        return ""

    def direct(self, outputs: bool = True) -> Tensor:
        """What arrived at each state (T B S) from outside this call, in order of computation.

        ``outputs``: also through the outputs, not only at the final state.
        """
        like = self.weights[0]
        widths = [part.shape[-1] for part in self.initial]
        batch = self.initial[0].shape[0]
        total = torch.zeros(self.steps, batch, sum(widths), dtype=like.dtype, device=like.device)
        if outputs and "output" in self.received:
            total[..., : widths[0]] = self.received["output"]
        ends = self.lengths or (self.steps,) * batch
        last = torch.tensor(ends, dtype=torch.long, device=like.device) - 1
        samples = torch.arange(batch, device=like.device)
        for slot, part in zip("hc", torch.split(total, widths, -1), strict=False):
            if slot in self.received:
                part[last, samples] += self.received[slot].to(like.dtype)
        return total


def of_torch(kind: str, has_biases: bool, weights: tuple[Tensor, ...]) -> Recurrence:
    """The recurrence that a torch kernel of this kind computes with these weights."""
    weight_ih, weight_hh, *rest = weights
    bias_ih, bias_hh = (rest[0], rest[1]) if has_biases else (None, None)
    if kind == "GRU":
        return GRU(weight_ih, weight_hh, bias_ih, bias_hh)
    bias = None if bias_ih is None or bias_hh is None else bias_ih + bias_hh
    if kind == "LSTM":
        projection = rest[2 if has_biases else 0 :]
        return LSTM(weight_ih, weight_hh, bias, projection[0] if projection else None)
    return Elman(weight_ih, weight_hh, bias, "relu" if kind == "RNN_RELU" else "tanh")


class Snapshots:
    """Copies of weights as they were when they were used: an optimizer may move them later.

    Weights that were not changed in between share one copy, so that calls with the same weights
    are known by the identity of their snapshots.
    """

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._taken: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._originals: dict[int, Tensor] = {}
        self._watched: dict[tuple[str, int, int], Weight] = {}

    def take(self, weight: Tensor) -> Tensor:
        """A detached copy of ``weight`` as it is now."""
        key = (id(weight), version(weight))
        if key not in self._taken:
            # The original is kept beside its copy, so that its id cannot be used again.
            copy = weight.detach().clone()
            self._taken[key] = (weight, copy)
            self._originals[id(copy)] = weight
        return self._taken[key][1]

    def original(self, taken: Tensor) -> Tensor:
        """The weight of which ``take`` made this copy."""
        return self._originals[id(taken)]

    def watch(self, name: str, weight: Tensor) -> tuple[Weight, list[RemovableHandle]]:
        """``weight`` as the layer ``name`` uses it now, and the hook on it if it is new.

        A frozen weight under a gradient that flows anyway is watched too, for the check alone: the
        alias is one of a detached tensor, and the user's ``.grad`` stays as it is.
        """
        key = (name, id(weight), version(weight))
        if key in self._watched:
            return self._watched[key], []
        source = weight if weight.requires_grad else weight.detach().requires_grad_()
        watched = Weight(source.view_as(source), weight, self._passes)
        self._watched[key] = watched
        return watched, [listen(watched.alias, watched.receive)]


def same(a: Tensor, b: Tensor) -> bool:
    """Equal, where NaN is equal to NaN."""
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def listen(tensor: Part, receive: Callable[[Tensor | None], Tensor | None]) -> RemovableHandle:
    """Hand every gradient of ``tensor`` to ``receive``; a tensor with such a hook can be saved."""
    register: Callable[..., RemovableHandle] = tensor.register_hook
    return register(unserializable_hook(partial(receive)))


def version(tensor: Tensor) -> int:
    """How often ``tensor`` was changed in place; one made in inference mode does not know."""
    return -1 if tensor.is_inference() else tensor._version


def addresses(parts: Sequence[Tensor]) -> tuple[int, ...]:
    """Where tensors lie in memory; nothing inside of torch.func, whose tensors lie nowhere."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return ()
    return tuple(part.data_ptr() for part in parts)
