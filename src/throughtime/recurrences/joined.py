"""Linearised recurrences put together: one after another in time, or one on top of another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from throughtime.recurrences.base import Linearised, Recurrence, Squashing
from throughtime.recurrences.carrying import Gate, back, forward

_PIECE = 512  # steps


@dataclass
class Segment:
    """Consecutive steps with the same weights; ``linear`` is None where it is made on demand.

    ``rows``: the sequences whose first step goes on from the segment before; None for all.
    ``variant``: which counterfactual it is linearised as; empty for what was run.
    ``given``: the state that every step starts from, where that is not always the one before.
    ``gates``: by step, what is done to the gradient on its way to the step before, a factor or a
    map; ``tangents``: the same for the state itself, where that differs.
    """

    cell: Recurrence
    initial: Float[Tensor, "B S"]
    states: Float[Tensor, "T B S"]
    inputs: Float[Tensor, "T B I"]
    linear: Linearised | None = None
    rows: Bool[Tensor, " B"] | None = None
    variant: str = ""
    given: Float[Tensor, "T B S"] | None = None
    gates: dict[int, Gate] = field(default_factory=dict)
    tangents: dict[int, Gate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rows is not None:
            self.gates = {0: self.rows.to(self.states.dtype).unsqueeze(-1), **self.gates}

    def before(self, step: int) -> Float[Tensor, "B S"]:
        """The state that a step starts from."""
        if self.given is not None:
            return self.given[step]
        return self.states[step - 1] if step else self.initial

    def linearise(self) -> Linearised:
        """All steps of the segment, linearised anew."""
        if self.variant:
            return self.cell.variant(self.variant, self.befores(), self.inputs)
        return self.cell.linearise(self.befores(), self.inputs)

    def befores(self) -> Float[Tensor, "T B S"]:
        """The state that every step starts from."""
        if self.given is not None:
            return self.given
        return torch.cat([self.initial.unsqueeze(0), self.states[:-1]])

    def pieces(self) -> Iterator[Segment]:
        """The segment in pieces, none of them linearised: a look at a few steps makes a few."""
        for start in range(0, len(self.states), _PIECE):
            steps = range(start, min(start + _PIECE, len(self.states)))
            here = slice(steps.start, steps.stop)
            yield replace(
                self,
                initial=self.before(start),
                states=self.states[here],
                inputs=self.inputs[here],
                linear=None,
                rows=None if start else self.rows,
                given=None if self.given is None else self.given[here],
                gates={t - start: gate for t, gate in self.gates.items() if t in steps},
                tangents={t - start: gate for t, gate in self.tangents.items() if t in steps},
            )

    @property
    def mixes(self) -> bool:
        """Whether a sequence of the batch goes on from another."""
        gates = [*self.gates.values(), *self.tangents.values()]
        return any(not isinstance(gate, Tensor) and gate.mixes for gate in gates)

    def take(self, sequences: Sequence[int]) -> Segment:
        """These sequences of the batch alone, of which none goes on from another."""
        chosen = list(sequences)
        return replace(
            self,
            initial=self.initial[chosen],
            states=self.states[:, chosen],
            inputs=self.inputs[:, chosen],
            linear=None,
            rows=None if self.rows is None else self.rows[chosen],
            given=None if self.given is None else self.given[:, chosen],
            gates={t: gate for t in self.gates if (gate := _of(chosen, self.gates[t])) is not None},
            tangents={
                t: gate
                for t in self.tangents
                if (gate := _of(chosen, self.tangents[t])) is not None
            },
        )

    def to(self, dtype: torch.dtype) -> Segment:
        """The segment in another precision, if its cell has it."""
        cell = self.cell.to(dtype)
        if cell is self.cell:
            return self
        initial, states, inputs = (
            part.to(dtype) for part in (self.initial, self.states, self.inputs)
        )
        return replace(
            self,
            cell=cell,
            initial=initial,
            states=states,
            inputs=inputs,
            linear=None,
            given=None if self.given is None else self.given.to(dtype),
            gates={t: gate.to(dtype) for t, gate in self.gates.items()},
            tangents={t: gate.to(dtype) for t, gate in self.tangents.items()},
        )


def _of(sequences: list[int], gate: Gate) -> Gate | None:
    if not isinstance(gate, Tensor):
        return gate.take(sequences)
    return gate if len(gate) == 1 else gate[sequences]


class Segments(Linearised):
    """Segments of time, one after another: other weights in each, or too long to hold at once.

    What is made on demand is kept until another segment is asked for: a sweep makes each once.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = list(segments)
        self._starts = [0]
        for segment in self._segments:
            self._starts.append(self._starts[-1] + len(segment.states))
        self.steps = self._starts.pop()
        self.dtype = self._segments[0].states.dtype
        self.variants = self._segments[0].cell.variants
        self._held: tuple[int, Linearised] | None = None
        self._gates: dict[int, Gate] = {}
        self._tangents: dict[int, Gate] = {}
        for start, segment in zip(self._starts, self._segments, strict=True):
            self._gates |= {start + t: gate for t, gate in segment.gates.items()}
            self._tangents |= {start + t: gate for t, gate in segment.tangents.items()}

    def _linear(self, index: int) -> Linearised:
        segment = self._segments[index]
        if segment.linear is not None:
            return segment.linear
        if self._held is None or self._held[0] != index:
            self._held = None
            self._held = index, segment.linearise()
        return self._held[1]

    def _at(self, t: int) -> tuple[Linearised, int]:
        index = bisect_right(self._starts, t) - 1
        return self._linear(index), t - self._starts[index]

    def _gated(self, t: int, sent: Tensor) -> Tensor:
        """What goes back to the state before step t: zero of a sequence that starts anew there."""
        gate = self._gates.get(t)
        return sent if gate is None else back(gate, sent)

    def adjoint(
        self, direct: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> Float[Tensor, "T B S"]:
        if any(t not in self._starts for t in self._gates):
            return super().adjoint(direct, blocked)
        # Each by its own sweep, which need not be that of its vjp: a remedy may clip on the way.
        totals: list[Tensor] = []
        later: Tensor | None = None  # what the segment behind sends back
        for index in range(len(self._segments) - 1, -1, -1):
            start = self._starts[index]
            own = direct[start : start + len(self._segments[index].states)]
            if later is not None:
                own = own.clone()
                own[-1] += later
            inside = frozenset(t - start for t in blocked if t > start)
            total = self._linear(index).adjoint(own, inside)
            totals.append(total)
            later = None if start in blocked or not index else self.vjp(start, total[0])
        return torch.cat(totals[::-1])

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        linear, step = self._at(t)
        if t not in self._gates:
            return linear.vjp(step, rows, plus, out)
        sent = self._gated(t, linear.vjp(step, rows))
        sent = sent if plus is None else sent + plus
        return sent if out is None else out.copy_(sent)

    def vjp_every(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B S"]:
        parts = []
        for index, segment in enumerate(self._segments):
            start = self._starts[index]
            these = rows[start : start + len(segment.states)]
            sent = self._linear(index).vjp_every(these)
            for t, gate in segment.gates.items():
                sent[t] = back(gate, sent[t])
            parts.append(sent)
        return torch.cat(parts)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        linear, step = self._at(t)
        stages = linear.stages(step, rows)
        gate = self._gates.get(t)
        if gate is None:
            return stages
        if isinstance(gate, Tensor) and gate.shape[-1] == 1:  # of whole sequences: all or nothing
            return {name: vector * gate for name, vector in stages.items()}
        return {**stages, "between the steps": self.vjp(t, rows)}

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        linear, step = self._at(t)
        if t not in self._gates:
            return linear.paths(step, rows, back)
        parts = linear.paths(step, rows, linear.vjp(step, rows))
        return {name: self._gated(t, part) for name, part in parts.items()}

    def variant(self, name: str) -> Linearised:
        if name not in self.variants:
            return super().variant(name)
        pieces = [piece for one in self._segments for piece in one.pieces()]
        return Segments([replace(one, variant=name) for one in pieces])

    def to(self, dtype: torch.dtype) -> Linearised:
        if dtype == self.dtype:
            return self
        return Segments([one.to(dtype) for one in self._segments])

    @property
    def mixes(self) -> bool:
        """Whether a sequence of the batch goes on from another somewhere."""
        return any(one.mixes for one in self._segments)

    def take(self, sequences: Sequence[int]) -> Linearised | None:
        if self.mixes:
            return None
        return Segments([one.take(sequences) for one in self._segments])

    def activations(self) -> dict[str, Float[Tensor, "T B H"]]:
        found = [one.cell.activations(one.befores(), one.inputs) for one in self._segments]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}

    @property
    def squashing(self) -> dict[str, Squashing]:
        return self._segments[0].cell.squashing

    def recurrent_blocks(self, t: int) -> dict[str, Float[Tensor, "H P"]]:
        return self.cell(t).recurrent_blocks()

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        linear, step = self._at(t)
        gate = self._tangents.get(t, self._gates.get(t))
        return linear.jvp(step, columns if gate is None else forward(gate, columns), x)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        linear, step = self._at(t)
        return linear.input_vjp(step, rows)

    def preactivations(self, t: int) -> dict[str, Tensor]:
        return self.cell(t).preactivations(*self.read(t).values())

    def read(self, t: int) -> dict[str, Tensor]:
        index = bisect_right(self._starts, t) - 1
        segment, step = self._segments[index], t - self._starts[index]
        return {"state": segment.before(step), "input": segment.inputs[step]}

    def inputs(self) -> Sequence[Float[Tensor, "... I"]]:
        return [one.inputs for one in self._segments]

    def cell(self, t: int) -> Recurrence:
        """The recurrence, with its weights, that made step t."""
        return self._segments[bisect_right(self._starts, t) - 1].cell

    def weights(self, t: int) -> dict[str, Tensor]:
        return self.cell(t).weights()

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        total: Tensor | None = None
        for index, start in enumerate(self._starts):
            stop = start + len(self._segments[index].states)
            part = self._linear(index).recurrent_weight_gradient(rows[start:stop])
            if part is None:
                return None
            total = part if total is None else total + part
        return total


class Stacked(Linearised):
    """Layers on top of each other as one recurrence on the joint state (s¹ | s² | …), lowest first.

    Within a step, layer l reads the output of layer l − 1 at the same step, so that the joint
    Jacobian is block triangular. ``scales[l]`` (T B I) is the dropout mask between l − 1 and l.
    """

    def __init__(
        self,
        layers: Sequence[Linearised],
        sizes: Sequence[int],
        outputs: Sequence[int],
        scales: Sequence[Tensor | None],
    ) -> None:
        self.steps, self.dtype = layers[0].steps, layers[0].dtype
        self._layers, self._sizes = list(layers), list(sizes)
        self._outputs, self._scales = list(outputs), list(scales)

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        parts = self._pull_down(t, rows)
        back = torch.cat(
            [linear.vjp(t, part) for linear, part in zip(self._layers, parts, strict=True)], -1
        )
        back = back if plus is None else back + plus
        return back if out is None else out.copy_(back)

    def to(self, dtype: torch.dtype) -> Linearised:
        scales = [scale if scale is None else scale.to(dtype) for scale in self._scales]
        layers = [layer.to(dtype) for layer in self._layers]
        return Stacked(layers, self._sizes, self._outputs, scales)

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        pushed: list[Tensor] = []
        parts = columns.split(self._sizes, -1)
        for layer, (linear, part) in enumerate(zip(self._layers, parts, strict=True)):
            if layer:
                scale = self._scales[layer]
                x = pushed[-1][..., : self._outputs[layer - 1]]
                x = x if scale is None else x * scale[t]
            pushed.append(linear.jvp(t, part, x))
        return torch.cat(pushed, -1)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        return self._layers[0].input_vjp(t, self._pull_down(t, rows)[0])

    def _pull_down(self, t: int, rows: Float[Tensor, "... B S"]) -> list[Tensor]:
        """The rows of each layer, with what the layers above it send down within the step."""
        parts = [part.contiguous() for part in rows.split(self._sizes, -1)]
        for layer in range(len(parts) - 1, 0, -1):
            down, scale = self._layers[layer].input_vjp(t, parts[layer]), self._scales[layer]
            lower = parts[layer - 1] = parts[layer - 1].clone()
            lower[..., : self._outputs[layer - 1]] += down if scale is None else down * scale[t]
        return parts
