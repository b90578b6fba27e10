"""A recurrence of one's own, in a Python loop: one line, `tt.mark`, makes it visible.

`tt.mark` does nothing unless a capture is open, so that it can stay in the model for good. The
command line opens one; `python examples/handwritten_cell.py` shows how to do it by hand.

    throughtime diagnose examples/handwritten_cell.py:build
    python examples/handwritten_cell.py
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import throughtime as tt

STEPS, BATCH, HIDDEN = 50, 16, 32


class LeakyCell(nn.Module):
    """``h' = (1 − α) ⊙ h + α ⊙ tanh(W h + U x + b)``, each unit with a leak rate α of its own."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.drive = nn.Linear(features, hidden)
        self.recur = nn.Linear(hidden, hidden, bias=False)
        self.leak = nn.Parameter(torch.full((hidden,), -3.0))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        alpha = torch.sigmoid(self.leak)
        return (1 - alpha) * h + alpha * torch.tanh(self.drive(x) + self.recur(h))


class Adder(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cell = LeakyCell(2, hidden)
        self.decoder = nn.Linear(hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs.new_zeros(inputs.shape[1], self.decoder.in_features)
        for x in inputs:
            h = self.cell(x, h)
            tt.mark(h, "cell")
        return self.decoder(h).squeeze(-1)


def batch() -> tuple[Tensor, Tensor]:
    """The adding problem: numbers (T B), two of them marked in each column, and their sum (B)."""
    numbers, marks = torch.rand(STEPS, BATCH), torch.zeros(STEPS, BATCH)
    columns = torch.arange(BATCH)
    marks[torch.randint(STEPS // 2, (BATCH,)), columns] = 1
    marks[torch.randint(STEPS // 2, STEPS, (BATCH,)), columns] = 1
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(0)


def build() -> tuple[nn.Module, Callable[[], Tensor]]:
    torch.manual_seed(0)
    model = Adder(HIDDEN)

    def closure() -> Tensor:
        inputs, sums = batch()
        return mse_loss(model(inputs), sums)

    return model, closure


def main() -> None:
    model, closure = build()
    with tt.capture(model) as run:
        loss = closure()
        loss.backward()
    print(run.trace)
    print(tt.diagnose(run.trace, span=STEPS - 1))


if __name__ == "__main__":
    main()
