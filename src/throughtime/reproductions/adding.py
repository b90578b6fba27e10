"""The adding problem of Hochreiter & Schmidhuber 1997, by four cells that were proved on it."""

from __future__ import annotations

import math

from torch import Generator, nn

from throughtime.cells import IndRNN
from throughtime.remedies import identity_
from throughtime.reproductions.arm import Arm, Updates, trained
from throughtime.reproductions.reproduction import Figure, Reproduction

LENGTH = 100
BOUND = 0.01  # of the mean squared error; "always 1" has 1/6


def as_irnn(model: nn.Module, generator: Generator) -> None:
    """W = I, no bias, small input weights."""
    identity_(model, input_std=0.001, generator=generator)


def constrain(model: nn.Module) -> None:
    """|u| ≤ 2^(1/T) in every layer of an IndRNN."""
    for part in model.modules():
        if isinstance(part, IndRNN):
            part.constrain_(LENGTH)


LSTM = Arm(
    "LSTM", "adding", "lstm", LENGTH, 7200, Updates("Adam", 1e-3),
    task_settings={"forget_bias": 1.0}, started="forget bias 1",
)  # fmt: skip  # what belongs together, on one line
TANH = Arm("tanh RNN", "adding", "rnn", LENGTH, 3600, Updates("Adam", 1e-3))
IRNN = Arm(
    "IRNN", "adding", "relu-rnn", LENGTH, 13_600, Updates("Adam", 2e-4),
    start=as_irnn, started="W = I, biases 0, input weights of deviation 0.001",
)  # fmt: skip  # what belongs together, on one line
CORNN = Arm(
    "coRNN", "adding", "cornn", LENGTH, 6000, Updates("Adam", 2e-2), clip=None,
    cell_settings={"dt": 0.06, "gamma": 66.0, "epsilon": 15.0},
)  # fmt: skip  # what belongs together, on one line
INDRNN = Arm(
    "IndRNN", "adding", "indrnn", LENGTH, 10_000, Updates("Adam", 2e-4), clip=None,
    constrain=constrain, cell_settings={"num_layers": 2, "span": LENGTH},
    started="abs(u) at most 2^(1/T) after each update",
)  # fmt: skip  # what belongs together, on one line


def solved_by(arm: Arm, updates: int) -> Figure:
    """Solved after so many updates in an earlier run; twice as many still count."""
    return Figure(arm.until_solved, updates, -math.inf, 2 * updates, "earlier run")


ADDING = (
    Reproduction(
        name="adding-lstm",
        title="Adding over 100 steps: an LSTM solves it, a tanh RNN does not",
        paper="Hochreiter & Schmidhuber 1997, experiment 4; Le, Jaitly & Hinton 2015, section 4.1",
        row=4,
        claim="an LSTM learns to add two numbers far apart; a tanh RNN stays at the answer 1",
        settings=(LSTM.in_words(), TANH.in_words()),
        figures=(
            solved_by(LSTM, 3600),
            Figure(TANH.final, 0.168, 0.15, 0.185, "earlier run"),
        ),
        minutes=7.0,
        measure=trained(LSTM, TANH),
    ),
    Reproduction(
        name="adding-irnn",
        title="Adding over 100 steps: a ReLU RNN that starts at the identity solves it",
        paper="Le, Jaitly & Hinton 2015, section 4.1",
        row=5,
        claim="an IRNN learns long dependencies that a tanh RNN does not",
        settings=(IRNN.in_words(),),
        figures=(solved_by(IRNN, 6800),),
        minutes=3.5,
        measure=trained(IRNN),
    ),
    Reproduction(
        name="adding-cornn",
        title="Adding over 100 steps: coupled oscillators solve it",
        paper="Rusch & Mishra 2021, adding problem",
        row=6,
        claim="a coRNN reaches a small error quickly, without clipping",
        settings=(CORNN.in_words(),),
        figures=(solved_by(CORNN, 3000),),
        minutes=2.0,
        measure=trained(CORNN),
    ),
    Reproduction(
        name="adding-indrnn",
        title="Adding over 100 steps: two layers of independent units solve it",
        paper="Li, Li, Cook, Zhu & Gao 2018, adding problem",
        row=8,
        claim="an IndRNN converges at every length from 100 to 5000; here at 100",
        settings=(INDRNN.in_words(),),
        figures=(Figure(INDRNN.final, 0.0, -math.inf, BOUND, "read"),),
        minutes=2.0,
        measure=trained(INDRNN),
    ),
)
