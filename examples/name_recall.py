"""Who was it that sat down, a hundred words ago? A network of Elman's that cannot remember.

Every story begins with a name, goes on about rain and streets, and ends by asking for the name. An
Elman RNN does not learn it over a hundred words. Why not, what may help, and does it?

    throughtime diagnose examples/name_recall.py:build
    throughtime prescribe examples/name_recall.py:build --span 100
    throughtime treat examples/name_recall.py:build --span 100
    python examples/name_recall.py                trains it, untreated
"""

from collections.abc import Iterable, Iterator
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import throughtime as tt

DISTANCE, HIDDEN, BATCH, STEPS = 100, 32, 32, 300
NAMES = ("tom", "ben", "mary", "anna", "paul", "kate", "max", "rose")
SENTENCES = (
    "sat down .",
    "rain fell .",
    "it was late .",
    "a bell rang .",
    "the sky turned grey .",
    "the street was quiet .",
    "a cat was asleep on the sofa .",
    "the bus stopped at the corner .",
    "in the garden the wind moved the leaves .",
)
QUESTION = "who ?"

WORDS = [*NAMES, *dict.fromkeys(" ".join((*SENTENCES, QUESTION)).split())]
NUMBER = {word: number for number, word in enumerate(WORDS)}
Stories = tuple[Tensor, Tensor]  # numbers of words (T B), and the names to recall (B)


class Recaller(nn.Module):
    def __init__(self, words: int, hidden: int, names: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.rnn = nn.RNN(hidden, hidden)
        self.readout = nn.Linear(hidden, names)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.rnn(self.embedding(words))
        return self.readout(states[-1])


def story(draw: Random) -> tuple[list[str], str]:
    """A name, and words without it until the question, ``DISTANCE`` words after the name."""
    name, between = draw.choice(NAMES), list[str]()
    while len(between) < DISTANCE:
        between += draw.choice(SENTENCES).split()
    asked = QUESTION.split()
    return [name, *between[: DISTANCE - len(asked)], *asked], name


def stories(draw: Random, count: int) -> Stories:
    told = [story(draw) for _ in range(count)]
    words = torch.tensor([[NUMBER[word] for word in words] for words, _ in told])
    return words.T, torch.tensor([NAMES.index(name) for _, name in told])


def batches(seed: int) -> Iterator[Stories]:
    draw = Random(seed)
    while True:
        yield stories(draw, BATCH)


def loss(model: nn.Module, batch: Stories) -> Tensor:
    words, names = batch
    return cross_entropy(model(words), names)


@torch.no_grad()
def evaluate(model: nn.Module) -> dict[str, float]:
    """On stories that are never trained on."""
    words, names = stories(Random("held out"), 256)
    return {"accuracy": float((model(words).argmax(-1) == names).double().mean())}


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=3e-3)


def build(seed: int = 0) -> tt.Problem:
    torch.manual_seed(seed)
    return tt.Problem(
        name=f"a name, {DISTANCE} words ago",
        model=Recaller(len(WORDS), HIDDEN, len(NAMES)),
        batches=batches,
        loss=loss,
        span=DISTANCE,
        evaluate=evaluate,
        optimizer=adam,
        solved=tt.Criterion("accuracy", "above", 0.9),
    )


def train(steps: int = STEPS) -> None:
    problem = build()
    trained = tt.train(problem, steps)
    print(f"{trained.loss:.2f} nats after {steps} updates, {trained.scores['accuracy']:.0%} right")


if __name__ == "__main__":
    train()
