"""A network of the suite: a layer, what is done to it, what it reads, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from benchmarks.diseases.tasks import Task
from throughtime.problem import seeded

BATCH = 8
LAYERS = {"tanh": nn.RNN, "relu": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}

Change = Callable[["Reader", Generator], None]


class Reader(nn.Module):
    """A recurrence and a linear read-out at each step.

    Where ``window`` is a number, the state is carried from window to window but detached, as in
    truncated backpropagation through time.
    """

    def __init__(self, rnn: nn.RNNBase, outputs: int, symbols: int | None, window: int | None):
        super().__init__()
        self.symbols, self.window = symbols, window
        self.rnn = rnn
        self.head = nn.Linear(rnn.hidden_size, outputs)

    def encode(self, inputs: Tensor) -> Tensor:
        """What the recurrence reads (T B I): symbols become unit vectors."""
        if self.symbols is None:
            return inputs
        return one_hot(inputs, self.symbols).to(self.head.weight.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.unroll(self.encode(inputs)))

    def unroll(self, encoded: Tensor) -> Tensor:
        """The output of the recurrence at every step (T B H)."""
        outputs, state = [], None
        for piece in encoded.split(self.window or len(encoded)):
            output, state = self.rnn(piece, state)
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            outputs.append(output)
        return torch.cat(outputs)


@dataclass(frozen=True)
class Training:
    """Steps of Adam, and its learning rate; fresh data at each step."""

    steps: int = 150
    rate: float = 3e-3
    batch: int = 16


@dataclass(frozen=True)
class Network:
    """One row of the suite. Everything that is drawn is drawn from one seed."""

    name: str
    cell: str
    task: Task
    change: Change | None = None
    hidden: int = 32
    layers: int = 1
    window: int | None = None
    training: Training | None = None

    @property
    def built(self) -> str:
        """What it is made of, in words."""
        layers = f", {self.layers} layers" if self.layers > 1 else ""
        window = f", detached every {self.window}" if self.window else ""
        return f"{self.cell} {self.hidden}{layers}{window}"

    def build(self, seed: int) -> tuple[Reader, Tensor, Tensor]:
        """The model, its inputs and its targets, after the training if there is one."""
        generator = Generator().manual_seed(seed)
        more = {"nonlinearity": self.cell} if self.cell in ("tanh", "relu") else {}
        size = self.task.symbols or self.task.inputs
        with seeded(seed):
            rnn = LAYERS[self.cell](size, self.hidden, self.layers, **more)
            model = Reader(rnn, self.task.outputs, self.task.symbols, self.window)
        if self.change is not None:
            with torch.no_grad():
                self.change(model, generator)
        if self.training is not None:
            self._train(model, self.training, generator)
        return model, *self.task.draw(BATCH, generator)

    def _train(self, model: Reader, training: Training, generator: Generator) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=training.rate)
        for _ in range(training.steps):
            inputs, targets = self.task.draw(training.batch, generator)
            optimizer.zero_grad()
            self.task.loss(model(inputs), targets).backward()
            optimizer.step()
