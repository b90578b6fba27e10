"""A classifier of sequences of different length: packed, read in both directions by a GRU.

Is a line of Python's manual code or prose? Its characters go in one by one, and the loss sees
nothing but the final state of each direction.

    throughtime diagnose examples/sequence_classifier.py:build
    python examples/sequence_classifier.py        trains it for a few steps
"""

import re
from collections.abc import Callable
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import PackedSequence, pack_sequence

BATCH, HIDDEN, CHARACTERS = 32, 48, 128
CODE, PROSE = 0, 1


class Classifier(nn.Module):
    def __init__(self, characters: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, hidden)
        self.gru = nn.GRU(hidden, hidden, bidirectional=True)
        self.decoder = nn.Linear(2 * hidden, classes)

    def forward(self, lines: PackedSequence) -> Tensor:
        _, final = self.gru(lines._replace(data=self.embedding(lines.data)))
        forward, backward = final
        return self.decoder(torch.cat([forward, backward], -1))


def lines() -> tuple[list[str], list[str]]:
    """Lines of code, and lines of prose without their capital letter, which would tell."""
    manual = "\n".join(topics[name] for name in sorted(topics))
    code = re.findall(r"^ *>>> (.+)$", manual, re.MULTILINE)
    prose = re.findall(r"^[A-Z][a-z]+ .+$", manual, re.MULTILINE)
    return code, [line[0].lower() + line[1:] for line in prose]


def encode(line: str) -> Tensor:
    return torch.tensor([min(ord(character), CHARACTERS - 1) for character in line])


def batch(code: list[str], prose: list[str]) -> tuple[PackedSequence, Tensor]:
    """As many lines of code as of prose, from random places, packed as they come."""
    classes = torch.tensor([CODE, PROSE] * (BATCH // 2))
    sources = [(code, prose)[label] for label in classes]
    chosen = [source[int(torch.randint(len(source), ()))] for source in sources]
    return pack_sequence([encode(line) for line in chosen], enforce_sorted=False), classes


def build() -> tuple[nn.Module, Callable[[], Tensor]]:
    torch.manual_seed(0)
    code, prose = lines()
    model = Classifier(CHARACTERS, HIDDEN, classes=2)

    def closure() -> Tensor:
        inputs, classes = batch(code, prose)
        return cross_entropy(model(inputs), classes)

    return model, closure


def train(steps: int = 30) -> None:
    model, closure = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = closure()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step}: {loss.item():.3f} nats per line")


if __name__ == "__main__":
    train()
