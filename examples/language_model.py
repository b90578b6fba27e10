"""A word-level language model: an embedding, two layers of LSTM, a loss at every step.

Nothing in this file knows throughtime; `build` is all that the command line asks for.

    throughtime diagnose examples/language_model.py:build
    python examples/language_model.py        trains it for a few steps
"""

import re
from collections import Counter
from collections.abc import Callable
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WINDOW, BATCH, HIDDEN, VOCABULARY = 64, 16, 128, 2000


class LanguageModel(nn.Module):
    def __init__(self, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.lstm = nn.LSTM(hidden, hidden, num_layers=2, dropout=0.2, batch_first=True)
        self.decoder = nn.Linear(hidden, vocabulary)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(words))
        return self.decoder(states)


def corpus() -> Tensor:
    """The manual of Python as word numbers; 0 stands for every rare word."""
    words = re.findall(r"\w+|[^\w\s]", " ".join(topics[name] for name in sorted(topics)))
    common = [word for word, _ in Counter(words).most_common(VOCABULARY - 1)]
    number = {word: n for n, word in enumerate(common, start=1)}
    return torch.tensor([number.get(word, 0) for word in words])


def batch(words: Tensor) -> tuple[Tensor, Tensor]:
    """Windows from random places (B T), and the word that follows each word of them (B T)."""
    starts = torch.randint(len(words) - WINDOW, (BATCH, 1))
    pieces = words[starts + torch.arange(WINDOW + 1)]
    return pieces[:, :-1], pieces[:, 1:]


def build() -> tuple[nn.Module, Callable[[], Tensor]]:
    torch.manual_seed(0)
    words = corpus()
    model = LanguageModel(VOCABULARY, HIDDEN)

    def closure() -> Tensor:
        inputs, targets = batch(words)
        return cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    return model, closure


def train(steps: int = 20) -> None:
    model, closure = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = closure()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 5 == 0:
            print(f"step {step}: {loss.item():.3f} nats per word")


if __name__ == "__main__":
    train()
