"""The slow, obvious reference: torch's recurrent modules as plain loops, one sequence at a time.

``unrolled(model)`` puts a loop in the place of every recurrent module of a model, with the same
weights and the same way to call it. Every step is written out as torch documents it, so autograd
itself gives the gradient of every state.

A step reads its state through an alias: the gradient of that alias is what goes back through this
step, and the rest of the gradient of a state is its direct one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_sequence, unpack_sequence

from throughtime.recording import capture
from throughtime.trace import Trace, relative_difference

Parts = tuple[Tensor, ...]

EXACT = 1e-10


def rnn(weight: dict[str, Tensor], x: Tensor, h: Tensor, nonlinearity: str) -> Parts:
    """``h' = φ(W_ih x + b_ih + W_hh h + b_hh)``."""
    a = linear(x, weight["ih"], weight.get("b_ih")) + linear(h, weight["hh"], weight.get("b_hh"))
    return (torch.tanh(a) if nonlinearity == "tanh" else torch.relu(a),)


def lstm(weight: dict[str, Tensor], x: Tensor, h: Tensor, c: Tensor) -> Parts:
    """``c' = f c + i g``, ``h' = W_hr (o tanh c')``; gates in the order i f g o."""
    a = linear(x, weight["ih"], weight.get("b_ih")) + linear(h, weight["hh"], weight.get("b_hh"))
    i, f, g, o = a.chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (linear(h, weight["hr"]) if "hr" in weight else h), c


def gru(weight: dict[str, Tensor], x: Tensor, h: Tensor) -> Parts:
    """``h' = (1 − z) n + z h``, reset after the matrix product; gates in the order r z n."""
    driven = linear(x, weight["ih"], weight.get("b_ih")).chunk(3, -1)
    recurrent = linear(h, weight["hh"], weight.get("b_hh")).chunk(3, -1)
    r, z = torch.sigmoid(driven[0] + recurrent[0]), torch.sigmoid(driven[1] + recurrent[1])
    n = torch.tanh(driven[2] + r * recurrent[2])
    return ((1 - z) * n + z * h,)


def step(module: nn.Module, suffix: str, x: Tensor, state: Parts) -> Parts:
    """One step of a layer and direction (suffix ``_l0``, ``_l1_reverse``), or of a cell (none)."""
    names = {"ih": "weight_ih", "hh": "weight_hh", "hr": "weight_hr"}
    names |= {"b_ih": "bias_ih", "b_hh": "bias_hh"}
    found = {key: getattr(module, name + suffix, None) for key, name in names.items()}
    weight = {key: value for key, value in found.items() if value is not None}
    if isinstance(module, (nn.LSTM, nn.LSTMCell)):
        return lstm(weight, x, *state)
    if isinstance(module, (nn.GRU, nn.GRUCell)):
        return gru(weight, x, *state)
    return rnn(weight, x, *state, nonlinearity=module.nonlinearity)


class Watched:
    """A joint state, part by part as aliases, and the sum of the gradients that arrive there.

    Aliases make h and c coordinates of one state: what c sent into the h of its own step happened
    before the state was complete, and is not part of the state's gradient.
    """

    looking = True

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self.parts = tuple(part.view_as(part) for part in parts)
        self.sums = [torch.zeros_like(part) for part in parts]
        for part, total in zip(self.parts, self.sums, strict=True):
            if part.requires_grad:
                part.register_hook(partial(_add, total))

    @property
    def state(self) -> Tensor:
        return torch.cat([part.detach() for part in self.parts], -1)

    @property
    def gradient(self) -> Tensor:
        return torch.cat(self.sums, -1)

    def passes_to(self, parts: Sequence[Tensor]) -> Tensor:
        """∂parts/∂self summed over the parts: 1 where this state is read on, 0 where it is cut."""
        graph = [part for part in (*parts, *self.parts) if part.requires_grad]
        if len(graph) < len(parts) + len(self.parts):
            return torch.zeros_like(self.gradient)
        Watched.looking = False  # what passes now is no gradient of the loss
        found = torch.autograd.grad(
            sum(part.sum() for part in parts),
            self.parts,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        Watched.looking = True
        return torch.cat(found, -1)


def _add(total: Tensor, gradient: Tensor) -> None:
    if Watched.looking:
        total.add_(gradient)


@dataclass
class Step:
    """One step of one sequence: the state that it read, and the one that it wrote.

    ``passing`` says how much of the gradient of what it read goes on to the step before; for the
    first step of a call, to the last step of each earlier one.
    """

    read: Watched
    wrote: Watched
    passing: Tensor | list[Tensor]


@dataclass
class Walk:
    """One layer in one direction over its sequences, step by step in the order of computation."""

    sequences: list[list[Step]]
    number: int
    reverse: bool = False

    def then(self, other: Walk) -> Walk:
        """This walk and the one that carried its states on."""
        both = []
        for mine, (first, *theirs) in zip(self.sequences, other.sequences, strict=True):
            both.append([*mine, replace(first, passing=first.passing[self.number]), *theirs])
        return Walk(both, other.number)

    def states(self) -> Tensor:
        """(T B S), zero past the end of a sequence."""
        return self._padded([[s.wrote.state for s in steps] for steps in self.sequences])

    def total(self) -> Tensor:
        """The total gradient of every state (T B S)."""
        return self._padded([[s.wrote.gradient for s in steps] for steps in self.sequences])

    def direct(self) -> Tensor:
        """The direct gradient of every state: the total less what came back through the next."""
        return self.total() - self._padded([_passed_back(steps) for steps in self.sequences])

    def _padded(self, rows: list[list[Tensor]]) -> Tensor:
        stacked = [torch.stack(row) for row in rows]
        return pad_sequence([row.flip(0) for row in stacked] if self.reverse else stacked)


def _passed_back(steps: list[Step]) -> list[Tensor]:
    """What the step after each state sent back to it."""
    nothing = torch.zeros_like(steps[-1].wrote.gradient)
    return [*(s.read.gradient * s.passing for s in steps[1:]), nothing]


Walks = dict[str, list[Walk]]


def walk(
    walks: Walks, name: str, module: nn.Module, suffix: str, xs: list[Tensor], starts: list[Parts]
) -> Walk:
    """One layer and direction over sequences (T_b I), each from its start; kept in ``walks``."""
    reverse = suffix.endswith("_reverse")
    earlier = walks.setdefault(name, [])
    done = Walk([], len(earlier), reverse)
    for b, (sequence, start) in enumerate(zip(xs, starts, strict=True)):
        passing = [call.sequences[b][-1].wrote.passes_to(start) for call in earlier]
        read = Watched(start)
        steps: list[Step] = []
        for x in sequence.flip(0) if reverse else sequence:
            wrote = Watched(step(module, suffix, x, read.parts))
            steps.append(Step(read, wrote, passing))
            read, passing = Watched(wrote.parts), torch.ones_like(wrote.gradient)
        done.sequences.append(steps)
    earlier.append(done)
    return done


class UnrolledLayer(nn.Module):
    """Stands in for ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``: the same call, as loops."""

    def __init__(self, layer: nn.RNNBase, name: str, walks: Walks) -> None:
        super().__init__()
        self.layer, self.name, self.walks = layer, name, walks

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.layer, name)

    def forward(self, x: Tensor | PackedSequence, hx: Tensor | Parts | None = None) -> Any:
        batched = isinstance(x, PackedSequence) or x.dim() == 3
        if isinstance(x, PackedSequence):
            sequences = unpack_sequence(x)
        else:
            sequences = list(x.unbind(0 if self.batch_first else 1)) if batched else [x]
        initial = self._initial(sequences, hx, batched)
        outputs, ends = self._stack(sequences, initial, isinstance(x, PackedSequence))
        parts = range(len(ends[0][0]))
        final = [torch.stack([torch.stack([s[p] for s in row]) for row in ends]) for p in parts]
        final = final if batched else [part.squeeze(1) for part in final]
        state = tuple(final) if isinstance(self.layer, nn.LSTM) else final[0]
        if isinstance(x, PackedSequence):
            return pack_sequence(outputs, enforce_sorted=False), state
        return torch.stack(outputs, 0 if self.batch_first else 1) if batched else outputs[0], state

    def _initial(self, sequences: list[Tensor], hx: Any, batched: bool) -> Parts:
        """(layers · directions, B, ·) by part of the state; zero where none is given."""
        if hx is None:
            rows = self.num_layers * (1 + self.bidirectional)
            widths = [self.proj_size or self.hidden_size]
            widths += [self.hidden_size] * isinstance(self.layer, nn.LSTM)
            return tuple(sequences[0].new_zeros(rows, len(sequences), w) for w in widths)
        parts = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        return parts if batched else tuple(part.unsqueeze(1) for part in parts)

    def _stack(
        self, sequences: list[Tensor], initial: Parts, packed: bool
    ) -> tuple[list[Tensor], list[list[Parts]]]:
        """Outputs of every sequence (T_b ·), and the final states by layer and direction."""
        ends: list[list[Parts]] = []
        for layer in range(self.num_layers):
            sides = []
            for suffix in ["", "_reverse"][: 1 + self.bidirectional]:
                starts = [tuple(p[len(ends), b] for p in initial) for b in range(len(sequences))]
                name = self.name + (f".l{layer}" if self.num_layers > 1 else "")
                name += suffix.replace("_", ".")
                done = walk(self.walks, name, self.layer, f"_l{layer}{suffix}", sequences, starts)
                ends.append([steps[-1].wrote.parts for steps in done.sequences])
                outputs = [
                    torch.stack([s.wrote.parts[0] for s in steps]) for steps in done.sequences
                ]
                sides.append([out.flip(0) for out in outputs] if suffix else outputs)
            sequences = [torch.cat(side, -1) for side in zip(*sides, strict=True)]
            if self.dropout and self.training and layer < self.num_layers - 1:
                sequences = drop(sequences, self.dropout, packed)
        return sequences, ends


def drop(sequences: list[Tensor], p: float, packed: bool) -> list[Tensor]:
    """torch's dropout between layers, drawn in the layout of the data that torch's kernel has."""
    if not packed:
        return list(dropout(torch.stack(sequences, 1), p).unbind(1))
    pack = pack_sequence(sequences, enforce_sorted=False)
    return unpack_sequence(pack._replace(data=dropout(pack.data, p)))


class UnrolledCell(nn.Module):
    """Stands in for ``nn.RNNCell``, ``nn.LSTMCell`` or ``nn.GRUCell``."""

    def __init__(self, cell: nn.RNNCellBase, name: str, walks: Walks) -> None:
        super().__init__()
        self.cell, self.name, self.walks = cell, name, walks

    def forward(self, x: Tensor, hx: Tensor | Parts | None = None) -> Any:
        batched = x.dim() == 2
        rows = x if batched else x.unsqueeze(0)
        is_lstm = isinstance(self.cell, nn.LSTMCell)
        if hx is None:
            zero = x.new_zeros(len(rows), self.cell.hidden_size)
            parts: Parts = (zero, zero) if is_lstm else (zero,)
        else:
            parts = (hx,) if isinstance(hx, Tensor) else tuple(hx)
            parts = parts if batched else tuple(part.unsqueeze(0) for part in parts)
        starts = [tuple(part[b] for part in parts) for b in range(len(rows))]
        xs = [row.unsqueeze(0) for row in rows]
        done = walk(self.walks, self.name, self.cell, "", xs, starts)
        wrote = [steps[-1].wrote.parts for steps in done.sequences]
        state = [torch.stack([s[p] for s in wrote]) for p in range(len(parts))]
        state = state if batched else [part.squeeze(0) for part in state]
        return tuple(state) if is_lstm else state[0]


def unrolled(model: nn.Module) -> tuple[nn.Module, Walks]:
    """``model`` with loops in place of its recurrent modules, and the walks that will fill up."""
    walks: Walks = {}
    loops: dict[int, nn.Module] = {}
    for name, module in model.named_modules():
        where = name or type(module).__name__.lower()
        if isinstance(module, nn.RNNBase):
            loops[id(module)] = UnrolledLayer(module, where, walks)
        elif isinstance(module, nn.RNNCellBase):
            loops[id(module)] = UnrolledCell(module, where, walks)
    for parent in list(model.modules()):
        for key, child in parent._modules.items():  # named_children skips a second name
            parent._modules[key] = loops.get(id(child), child)
    return loops.get(id(model), model), walks


Chains = dict[str, list[list[int]]]


def assert_same(trace: Trace, walks: Walks, tolerance: float, chains: Chains | None = None) -> None:
    """Every layer of ``trace`` has the states and gradients of its loop, and says that it does.

    ``chains``: by name, the calls that carry one state on, for each layer of that name; by default
    all calls of a name are one sequence.
    """
    chains = {name: [list(range(len(calls)))] for name, calls in walks.items()} | (chains or {})
    expected = {
        name if n == 0 else f"{name} ({n + 1})": reduce(Walk.then, [walks[name][i] for i in calls])
        for name, found in chains.items()
        for n, calls in enumerate(found)
    }
    recorded = [layer for layer in trace if layer.kind != "loop"]
    assert {layer.name for layer in recorded} == set(expected)
    for layer in recorded:
        loop = expected[layer.name]
        assert relative_difference(layer.states, loop.states()) < tolerance, layer
        assert relative_difference(layer.gradients, loop.total()) < tolerance, layer
        assert relative_difference(layer.direct, loop.direct()) < tolerance, layer
        assert layer.verified is not None, layer.unverified_because
        assert layer.verified < tolerance, layer


def assert_captured(
    make: Callable[[], nn.Module],
    loss: Callable[[nn.Module], object],
    chains: Chains | None = None,
    plain: Callable[[nn.Module], object] | None = None,
) -> Trace:
    """Capture ``loss(model)``, which runs its own backward pass, against the loops in float64.

    The parameters' gradients must be the same too; unless the loops take another way to the same
    loss, ``plain``, which may leave others. Returns the trace.
    """
    model, (loops, walks) = make(), unrolled(make())
    with capture(model) as run:
        loss(model)
    (plain or loss)(loops)
    assert_same(run.trace, walks, EXACT, chains)
    pairs = () if plain else zip(model.parameters(), loops.parameters(), strict=True)
    for seen, wanted in pairs:
        assert (seen.grad is None) is (wanted.grad is None)
        if seen.grad is not None:  # some are nothing but the rounding of an exact zero
            torch.testing.assert_close(seen.grad, wanted.grad, rtol=EXACT, atol=1e-12)
    return run.trace
