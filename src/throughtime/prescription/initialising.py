"""Treatments that only change the first weights."""

from __future__ import annotations

from throughtime.prescription.by_hand import IDENTITY, ORTHOGONAL
from throughtime.prescription.verbs import verb
from throughtime.remedies.initialisation.drawn import (
    chrono_,
    forget_bias_,
    identity_,
    orthogonal_,
    uniform_gates_,
)

INITIALISING = (
    verb(
        "orthogonal",
        "matrix",
        lambda model, _span, draw: orthogonal_(model, generator=draw),
        "orthogonal_({model})",
        "gives every gate a random orthogonal recurrent matrix",
        "Saxe, McClelland & Ganguli 2014",
        ("vanishing", "exploding", "chaotic", "transient growth", "saturated", "bottleneck"),
        ORTHOGONAL,
    ),
    verb(
        "identity",
        "matrix",
        lambda model, _span, draw: identity_(model, generator=draw),
        "identity_({model})",
        "starts the recurrent matrix at the identity, small inputs, no bias",
        "Le, Jaitly & Hinton 2015",
        ("vanishing", "exploding", "chaotic", "transient growth", "saturated"),
        IDENTITY,
    ),
    verb(
        "chrono",
        "gates",
        lambda model, span, draw: chrono_(model, span, generator=draw),
        "chrono_({model}, t_max={span})",
        "sets the gates so that the units forget at time scales up to the span",
        "Tallec & Ollivier 2018",
        ("vanishing", "gates closed"),
    ),
    verb(
        "forget-bias",
        "gates",
        lambda model, _span, _draw: forget_bias_(model),
        "forget_bias_({model})",
        "starts the forget gates open, with a bias of 1",
        "Gers, Schmidhuber & Cummins 2000",
        ("vanishing", "gates closed"),
    ),
    verb(
        "uniform-gates",
        "gates",
        lambda model, _span, draw: uniform_gates_(model, generator=draw),
        "uniform_gates_({model})",
        "starts the forget gates spread evenly between closed and open",
        "Gu, Gulcehre, Paine, Hoffman & Pascanu 2020",
        ("vanishing", "gates closed"),
    ),
)
