"""The cases of the tests, as data: every recurrence, and every way to call torch's layers."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

B, T, I, H, P = 3, 5, 3, 4, 2
LENGTHS = {"sorted": (5, 3, 2), "unsorted": (2, 5, 3)}
PAIR = 2

Settings = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """One way to call one of torch's stacked recurrent layers."""

    kind: str
    layers: int
    bidirectional: bool
    batch: str
    batch_first: bool
    initial: str
    dropout: float
    bias: bool
    loss: str

    def __str__(self) -> str:
        return "-".join(f"{field.name[:4]}={getattr(self, field.name)}" for field in fields(self))

    @property
    def lengths(self) -> tuple[int, ...]:
        """The length of every sequence."""
        return LENGTHS.get(self.batch, (T,) * (1 if self.batch == "unbatched" else B))

    @property
    def packed(self) -> bool:
        return self.batch in LENGTHS


CROSSED: Settings = {
    "kind": ("tanh", "relu", "LSTM", "LSTM-proj", "GRU"),
    "layers": (1, 2, 3),
    "bidirectional": (False, True),
    "batch": ("batched", "unbatched", "sorted", "unsorted"),
}
COVERED: Settings = {
    "batch_first": (False, True),
    "initial": ("none", "given", "learned"),
    "dropout": (0.0, 0.5),
    "bias": (True, False),
    "loss": ("last", "all", "final", "mixed"),
}


def pairs(case: Sequence[object]) -> set[tuple[int, object, int, object]]:
    """Every two settings of a case, each with the place it stands in."""
    return {(i, a, j, b) for (i, a), (j, b) in itertools.combinations(enumerate(case), PAIR)}


def covering(crossed: Settings, covered: Settings) -> Iterator[tuple[Any, ...]]:
    """Every combination of ``crossed``, with the settings of ``covered`` least seen beside it."""
    seen: Counter[object] = Counter()
    choices = list(itertools.product(*covered.values()))
    for first in itertools.product(*crossed.values()):
        best = min(choices, key=lambda choice: sum(seen[pair] for pair in pairs((*first, *choice))))
        seen.update(pairs((*first, *best)))
        yield (*first, *best)


LAYER_CASES = [Case(*settings) for settings in covering(CROSSED, COVERED)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fill(module: nn.Module, seed: int = 0, scale: float = 1.0) -> nn.Module:
    """Parameters of a private generator: bounded as torch's own, ``scale`` times as large."""
    draw = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            bound = scale / math.sqrt(max(1, parameter.shape[-1]))
            values = torch.rand(parameter.shape, generator=draw, dtype=torch.float64)
            parameter.copy_((2 * values - 1) * bound)
    return module


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def make_layer(kind: str, inputs: int = I, hidden: int = H, **settings: object) -> nn.RNNBase:
    """torch's layer of this kind."""
    if kind in ("tanh", "relu"):
        return nn.RNN(inputs, hidden, nonlinearity=kind, **settings)
    if kind == "LSTM-proj":
        return nn.LSTM(inputs, hidden, proj_size=P, **settings)
    return {"LSTM": nn.LSTM, "GRU": nn.GRU}[kind](inputs, hidden, **settings)


class Net(nn.Module):
    """One recurrent layer, with an initial state that may be learned, called as ``case`` says."""

    def __init__(self, case: Case, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.case, self.dtype = case, dtype
        self.layer = make_layer(
            case.kind,
            num_layers=case.layers,
            bidirectional=case.bidirectional,
            batch_first=case.batch_first,
            # torch warns of dropout that has no layer to follow.
            dropout=case.dropout if case.layers > 1 else 0.0,
            bias=case.bias,
        )
        self.learned = nn.ParameterList()
        widths = [P if case.kind == "LSTM-proj" else H] + [H] * case.kind.startswith("LSTM")
        rows = case.layers * (1 + case.bidirectional)
        shapes = [(rows, len(case.lengths), width) for width in widths]
        self.given = [normal(*shape, seed=7 + n).to(dtype) for n, shape in enumerate(shapes)]
        if case.initial == "learned":
            self.learned.extend(nn.Parameter(part) for part in self.given)
        self.to(dtype)
        fill(self.layer, scale=1.5)

    @property
    def initial(self) -> Tensor | tuple[Tensor, ...] | None:
        """The initial state, as torch's layer takes it."""
        if self.case.initial == "none":
            return None
        parts = tuple(self.learned) if self.case.initial == "learned" else tuple(self.given)
        if self.case.batch == "unbatched":
            parts = tuple(part.squeeze(1) for part in parts)
        return parts if len(parts) > 1 else parts[0]

    def forward(self, x: Tensor | PackedSequence) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs (T B ·), zero past the end of a sequence, and the final state by part."""
        out, final = self.layer(x, self.initial)
        final = (final,) if isinstance(final, Tensor) else final
        if isinstance(out, PackedSequence):
            out = pad_packed_sequence(out)[0]
        elif out.dim() == 2:
            out, final = out.unsqueeze(1), tuple(part.unsqueeze(1) for part in final)
        elif self.case.batch_first:
            out = out.transpose(0, 1)
        return out, final


def inputs_of(case: Case, dtype: torch.dtype = torch.float64) -> Tensor | PackedSequence:
    """The input of a case, in the form that it asks for."""
    x = normal(T, len(case.lengths), I, dtype=dtype)
    if case.batch == "unbatched":
        return x[:, 0]
    if case.packed:
        ordered = case.batch == "sorted"
        return pack_padded_sequence(x, torch.tensor(case.lengths), enforce_sorted=ordered)
    return x.transpose(0, 1).contiguous() if case.batch_first else x


def loss_of(case: Case, outputs: Tensor, final: tuple[Tensor, ...]) -> Tensor:
    """A loss that reads the outputs, or the final state, or both, where ``case`` says."""
    loss = outputs.new_zeros(())
    if case.loss in ("last", "mixed"):
        ends = torch.tensor(case.lengths) - 1
        loss = loss + weighed(outputs[ends, torch.arange(len(ends))], 11)
    if case.loss in ("all", "mixed"):
        loss = loss + weighed(outputs, 12)
    if case.loss in ("final", "mixed"):
        loss = loss + sum(weighed(part, 13 + n) for n, part in enumerate(final))
    return loss


def weighed(values: Tensor, seed: int) -> Tensor:
    """A sum with random weights, through a curve, so that the gradient depends on the values."""
    return (values.sin() * normal(*values.shape, seed=seed).to(values)).sum()
