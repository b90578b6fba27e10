"""The copy task: ten symbols to remember over a hundred blank steps."""

from __future__ import annotations

import math

from throughtime.reproductions.arm import Arm, Updates, trained
from throughtime.reproductions.reproduction import Figure, Reproduction

LENGTH, SYMBOLS, ALPHABET = 100, 10, 8
BASELINE = SYMBOLS * math.log(ALPHABET) / (LENGTH + 2 * SYMBOLS)  # blanks, then a guess

ORTHOGONAL = Arm(
    "orthogonal RNN", "copy", "orthogonal", LENGTH, 400,
    Updates("RMSprop", 1e-3, recurrent_rate=1e-4), hidden=190, batch=128, clip=None,
    score="accuracy", evaluate_every=20,
    started="modReLU, the exponential of a skew matrix, started as Henaff et al. 2016",
)  # fmt: skip  # what belongs together, on one line
LSTM = Arm(
    "LSTM", "copy", "lstm", LENGTH, 3000, Updates("RMSprop", 1e-3), batch=128, clip=None,
    evaluate_every=500, task_settings={"forget_bias": 1.0}, started="forget bias 1",
)  # fmt: skip  # what belongs together, on one line

COPYING = (
    Reproduction(
        name="copy-orthogonal",
        title="Copy over 100 steps: an orthogonal RNN solves it",
        paper="Lezcano-Casado & Martínez-Rubio 2019, copying problem",
        row=9,
        claim="the exponential parametrisation converges to the answer almost at once",
        settings=(ORTHOGONAL.in_words(),),
        figures=(Figure(ORTHOGONAL.until_solved, 200, -math.inf, 400, "earlier run"),),
        minutes=1.0,
        measure=trained(ORTHOGONAL),
    ),
    Reproduction(
        name="copy-lstm",
        title="Copy over 100 steps: an LSTM is no better than one that remembers nothing",
        paper="Arjovsky, Shah & Bengio 2016, copying memory problem",
        row=9,
        claim="an LSTM stays at the loss of saying blanks, and then guesses",
        settings=(LSTM.in_words(),),
        figures=(Figure(LSTM.final, BASELINE, 0.95 * BASELINE, 1.05 * BASELINE, "read"),),
        minutes=10.0,
        measure=trained(LSTM),
    ),
)
