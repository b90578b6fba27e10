"""Models as people write them around a recurrent layer: what ``replace_`` must leave working.

Each is made with a layer of torch's or of ours, and its code knows one thing about it: whether the
state is a pair, as an LSTM's, or one tensor, as an RNN's.
"""

from __future__ import annotations

from typing import Any

import torch
from cases import normal
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.cells import make_cell
from throughtime.problem import seeded
from throughtime.remedies.replacement.replace import replace_

T, B, I, H, CLASSES, WINDOW = 6, 3, 3, 4, 2, 2
LENGTHS = torch.tensor([4, 6, 2])
TORCHS = ("rnn", "gru", "lstm")
PAIRED = ("lstm", "cornn", "lem", "lru")


class UserModel(nn.Module):
    """What all of them share: how the layer is made, and a loss on data of their own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.pair = kind, kind in PAIRED
        self.build()

    def layer(self, inputs: int = I, **settings: Any) -> nn.Module:
        return make_cell(self.kind, inputs, H, **settings)

    def build(self) -> None:
        self.rnn = self.layer()
        self.head = nn.Linear(H, CLASSES)

    def h(self, state: Any) -> Tensor:
        if not self.pair:
            return state
        h, _ = state
        return h

    def detached(self, state: Any) -> Any:
        return tuple(part.detach() for part in state) if self.pair else state.detach()

    def loss(self) -> Tensor:
        with seeded(0):
            return self(normal(T, B, I)).sub(1).square().mean()


class Classifier(UserModel):
    """The last state of the topmost of two layers, with dropout between them."""

    def build(self) -> None:
        self.rnn = self.layer(num_layers=2, dropout=0.25)
        self.head = nn.Linear(H, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.rnn(x)
        return self.head(self.h(state)[-1])


class Tagger(UserModel):
    """Every step, in both directions, the batch first."""

    def build(self) -> None:
        self.rnn = self.layer(bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * H, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(x.transpose(0, 1))
        return self.head(output)


class LanguageModel(UserModel):
    """Windows of a long text: the state is carried, and detached between them."""

    cut = True

    def build(self) -> None:
        self.embedding = nn.Linear(I, I)
        self.rnn = self.layer(num_layers=2)
        self.head = nn.Linear(H, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        self.rnn.flatten_parameters() if hasattr(self.rnn, "flatten_parameters") else None
        outputs, state = [], None
        for window in x.split(WINDOW):
            read = self.embedding(window)
            output, state = self.rnn(read) if state is None else self.rnn(read, state)
            outputs.append(self.head(output))
            state = self.detached(state) if self.cut else state
        return torch.cat(outputs)


class Whole(LanguageModel):
    """The same without detaching: it must be as one long sequence."""

    cut = False


class StepByStep(LanguageModel):
    """One step a call from a state of zeros that is made here, as a generator of text does it."""

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(self.rnn.num_layers, x.shape[1], self.rnn.hidden_size)
        state = (zeros, zeros.clone()) if self.pair else zeros
        outputs = []
        for step in x:
            output, state = self.rnn(self.embedding(step).unsqueeze(0), state)
            outputs.append(self.head(output.squeeze(0)))
        return torch.stack(outputs)


class Packed(UserModel):
    """Sequences of several lengths in both directions, and the two last states side by side."""

    def build(self) -> None:
        self.rnn = self.layer(num_layers=2, bidirectional=True)
        self.head = nn.Linear(2 * H, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        output, state = self.rnn(pack_padded_sequence(x, LENGTHS, enforce_sorted=False))
        padded, _ = pad_packed_sequence(output)
        h = self.h(state)
        return self.head(torch.cat((h[-2], h[-1]), 1)) + self.head(padded).mean(0)


class Seq2Seq(UserModel):
    """The encoder's state starts the decoder."""

    def build(self) -> None:
        self.encoder = nn.ModuleDict({"rnn": self.layer(batch_first=True)})
        self.decoder = self.layer(batch_first=True)
        self.head = nn.Linear(H, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        _, state = self.encoder["rnn"](x)
        output, _ = self.decoder(x[:, :-1], state)
        return self.head(output)


class OutputOf(nn.Module):
    """What people put behind a recurrent layer in an ``nn.Sequential``."""

    def forward(self, result: tuple[Tensor, Any]) -> Tensor:
        return result[0]


class Containers(UserModel):
    """In an ``nn.Sequential``, in an ``nn.ModuleList``, and without a batch."""

    def build(self) -> None:
        self.first = nn.Sequential(self.layer(), OutputOf(), nn.Linear(H, H))
        self.more = nn.ModuleList([self.layer(H), self.layer(H)])
        self.head = nn.Linear(H, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        read = self.first(x[:, 0])
        for one in self.more:
            read, state = one(read)
        return self.head(self.h(state)[-1])


class Shared(UserModel):
    """One layer at two places, run twice."""

    def build(self) -> None:
        self.rnn = self.layer(H)
        self.again = nn.ModuleDict({"rnn": self.rnn})
        self.embedding = nn.Linear(I, H)
        self.head = nn.Linear(H, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x))
        return self.head(self.again["rnn"](output)[0])


MODELS: dict[str, type[UserModel]] = {
    "classifier": Classifier,
    "tagger": Tagger,
    "language model": LanguageModel,
    "whole": Whole,
    "step by step": StepByStep,
    "packed": Packed,
    "seq2seq": Seq2Seq,
    "containers": Containers,
    "shared": Shared,
}


def made(kind: type[UserModel], layer: str, seed: int = 3) -> UserModel:
    """A model of this kind with layers of that name, in float64."""
    with seeded(seed):
        return kind(layer).double()


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(kind: type[UserModel], before: str, after: str, **settings: Any) -> UserModel:
    return replace_(made(kind, before), after, generator=drawing(), **settings)
