"""Public models, unchanged, with tiny random configurations: all layers seen, and verified."""

from __future__ import annotations

import math

import pytest

from benchmarks.models.looking import Look
from benchmarks.models.model import PublicModel
from benchmarks.models.packages import of_state_spaces, of_transformers

MODELS = [*of_transformers.MODELS, *of_state_spaces.MODELS]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.package} {model.name}")
def test_every_layer_is_seen_and_verified(model: PublicModel) -> None:
    if not model.installed:
        pytest.skip(f"{model.package} is not installed: pip install {model.package}")
    look = Look.at(model)
    assert look.seen == model.layers
    assert (look.verified or math.inf) <= 1e-5 or not model.layers
    assert "unknown" not in look.verdicts
