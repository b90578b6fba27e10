"""The slow, obvious reference: torch's recurrent layers as plain loops, one sequence at a time.

Every step is written out as torch documents it, so that autograd gives the gradient of every
state. A state is handed to the next step through an alias: the gradient of the alias is what came
back through s_{t+1}, and the rest of the total gradient is the direct one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

Parts = tuple[Tensor, ...]
Parameters = dict[str, Tensor]
Dropout = Callable[[list[Tensor]], list[Tensor]]


def rnn(weight: Parameters, x: Tensor, state: Parts, nonlinearity: str) -> Parts:
    """``h' = φ(W_ih x + b_ih + W_hh h + b_hh)``."""
    (h,) = state
    a = linear(x, weight["ih"], weight.get("b_ih")) + linear(h, weight["hh"], weight.get("b_hh"))
    return (torch.tanh(a) if nonlinearity == "tanh" else torch.relu(a),)


def lstm(weight: Parameters, x: Tensor, state: Parts) -> Parts:
    """``c' = f c + i g``, ``h' = W_hr (o tanh c')``; gates in the order i f g o."""
    h, c = state
    a = linear(x, weight["ih"], weight.get("b_ih")) + linear(h, weight["hh"], weight.get("b_hh"))
    i, f, g, o = a.chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (linear(h, weight["hr"]) if "hr" in weight else h), c


def gru(weight: Parameters, x: Tensor, state: Parts) -> Parts:
    """``h' = (1 − z) n + z h``; the reset gate after the matrix product; gates r z n."""
    (h,) = state
    driven = linear(x, weight["ih"], weight.get("b_ih")).chunk(3)
    recurrent = linear(h, weight["hh"], weight.get("b_hh")).chunk(3)
    r, z = torch.sigmoid(driven[0] + recurrent[0]), torch.sigmoid(driven[1] + recurrent[1])
    n = torch.tanh(driven[2] + r * recurrent[2])
    return ((1 - z) * n + z * h,)


def step_of(module: nn.Module, weight: Parameters) -> Callable[[Tensor, Parts], Parts]:
    """One step of a torch layer or cell, with these weights."""
    if isinstance(module, (nn.LSTM, nn.LSTMCell)):
        return lambda x, state: lstm(weight, x, state)
    if isinstance(module, (nn.GRU, nn.GRUCell)):
        return lambda x, state: gru(weight, x, state)
    nonlinearity = str(module.nonlinearity)
    return lambda x, state: rnn(weight, x, state, nonlinearity)


def weights_of(module: nn.Module, suffix: str) -> Parameters:
    """The weights of one layer and direction (``_l0``, ``_l1_reverse``; a cell: no suffix)."""
    names = {"ih": "weight_ih", "hh": "weight_hh", "hr": "weight_hr", "b_ih": "bias_ih"}
    names["b_hh"] = "bias_hh"
    found = {key: getattr(module, name + suffix, None) for key, name in names.items()}
    return {key: weight for key, weight in found.items() if weight is not None}


@dataclass
class Walk:
    """One sequence through one layer and direction: its states, and the aliases handed on."""

    states: list[Parts] = field(default_factory=list)
    handed_on: list[Parts] = field(default_factory=list)

    def run(
        self, step: Callable[[Tensor, Parts], Parts], xs: Sequence[Tensor], start: Parts
    ) -> None:
        state = start
        for x in xs:
            # Aliases make h and c coordinates of one joint state: what c sends into the h of its
            # own step happened before the state was complete, and is no gradient *of* the state.
            self.states.append(tuple(part.view_as(part) for part in step(x, state)))
            state = tuple(part.view_as(part) for part in self.states[-1])
            self.handed_on.append(state)

    def backwards(self) -> None:
        """Into the time of the sequence, after it was read from its end."""
        self.states.reverse()
        self.handed_on.reverse()


@dataclass
class Unrolled:
    """What the loops gave: outputs of every sequence (T_b ·), final states, all states by layer."""

    outputs: list[Tensor]
    final: Parts
    walks: dict[str, list[Walk]]

    def padded(self) -> Tensor:
        """The outputs (T B ·), zero past the end of a sequence."""
        return nn.utils.rnn.pad_sequence(self.outputs)

    def gradients(self, loss: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Total and direct gradient of every state, each (T B S), by layer."""
        return dict(self._gradients(loss))

    def _gradients(self, loss: Tensor) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
        for name, walks in self.walks.items():
            total = padded(loss, [walk.states for walk in walks])
            passed_on = padded(loss, [walk.handed_on for walk in walks])
            yield name, (total, total - passed_on)

    def states(self, name: str) -> Tensor:
        """The states of a layer (T B S), zero past the end of a sequence."""
        rows = [torch.stack([torch.cat(s) for s in walk.states]) for walk in self.walks[name]]
        return nn.utils.rnn.pad_sequence(rows).detach()


def padded(loss: Tensor, sequences: list[list[Parts]]) -> Tensor:
    """∂loss/∂state for every state of every sequence, (T B S), zero where there is none."""
    rows = []
    for states in sequences:
        flat = [part for state in states for part in state]
        found = torch.autograd.grad(
            loss, flat, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        width = len(states[0])
        pairs = [found[n : n + width] for n in range(0, len(found), width)]
        rows.append(torch.stack([torch.cat(pair) for pair in pairs]))
    return nn.utils.rnn.pad_sequence(rows)


def unroll(
    module: nn.RNNBase,
    sequences: list[Tensor],
    initial: Parts,
    name: str = "",
    dropout: Dropout | None = None,
) -> Unrolled:
    """A stacked, bidirectional module as loops over ``sequences``, each (T_b I).

    ``initial``: (layers · directions, B, ·), one for each part of the state. ``dropout`` is applied
    to the outputs of every layer but the last.
    """
    directions = ["", "_reverse"] if module.bidirectional else [""]
    walks: dict[str, list[Walk]] = {}
    final: list[list[Parts]] = []
    for layer in range(module.num_layers):
        sides = []
        for direction in directions:
            where = name + (f".l{layer}" if module.num_layers > 1 else "")
            where += direction.replace("_", ".")
            step = step_of(module, weights_of(module, f"_l{layer}{direction}"))
            start = [tuple(part[len(final), b] for part in initial) for b in range(len(sequences))]
            walks[where] = [Walk() for _ in sequences]
            for walk, x, state in zip(walks[where], sequences, start, strict=True):
                walk.run(step, x.flip(0) if direction else x, state)
            final.append([walk.states[-1] for walk in walks[where]])
            for walk in walks[where] if direction else ():
                walk.backwards()
            sides.append([torch.stack([s[0] for s in walk.states]) for walk in walks[where]])
        sequences = [torch.cat(side, -1) for side in zip(*sides, strict=True)]
        if dropout and layer < module.num_layers - 1:
            sequences = dropout(sequences)
    parts = len(initial)
    ends = (torch.stack([torch.stack([s[p] for s in row]) for row in final]) for p in range(parts))
    return Unrolled(sequences, tuple(ends), walks)


def packed_dropout(p: float, packed: bool) -> Dropout:
    """torch's dropout between layers, drawn over the data in the layout that torch's kernel has."""

    def drop(sequences: list[Tensor]) -> list[Tensor]:
        order = sorted(range(len(sequences)), key=lambda b: -len(sequences[b]))
        if not packed:
            stacked = nn.functional.dropout(torch.stack(sequences, 1), p)
            return list(stacked.unbind(1))
        pack = nn.utils.rnn.pack_sequence([sequences[b] for b in order])
        pack = pack._replace(data=nn.functional.dropout(pack.data, p))
        back: dict[int, Tensor] = dict(zip(order, nn.utils.rnn.unpack_sequence(pack), strict=True))
        return [back[b] for b in range(len(sequences))]

    return drop
