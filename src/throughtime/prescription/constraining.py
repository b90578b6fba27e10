"""Treatments that keep the recurrent matrix, while it is trained, where a gradient can pass it."""

from __future__ import annotations

from throughtime.prescription.by_hand import ORTHOGONAL_WEIGHTS
from throughtime.prescription.verbs import verb
from throughtime.remedies.parametrisation import orthogonal_weights_, spectral_margin_

_FITS = ("vanishing", "exploding", "chaotic", "transient growth", "bottleneck")

CONSTRAINING = (
    verb(
        "orthogonal-weights",
        "constraint",
        lambda model, _span, _draw: orthogonal_weights_(model),
        "orthogonal_weights_({model})",
        "keeps every recurrent matrix orthogonal while it is trained",
        "Lezcano & Martínez-Rubio 2019",
        _FITS,
        ORTHOGONAL_WEIGHTS,
    ),
    verb(
        "spectral-margin",
        "constraint",
        lambda model, _span, _draw: spectral_margin_(model),
        "spectral_margin_({model})",
        "keeps the singular values of the recurrent matrix near 1 while it is trained",
        "Vorontsov, Trabelsi, Kadoury & Pal 2017",
        _FITS,
    ),
)
