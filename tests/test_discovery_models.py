"""Public models whose recurrences are loops in Python, unchanged: every one is seen and checked."""

import pytest

from benchmarks.models.looking import Look
from benchmarks.models.model import PublicModel
from benchmarks.models.packages import of_loops


@pytest.mark.parametrize(
    "model", of_loops.MODELS, ids=lambda model: f"{model.package} {model.name}"
)
def test_every_loop_is_seen_and_none_is_unknown(model: PublicModel) -> None:
    look = Look.at(model)
    assert look.seen == model.layers
    assert "unknown" not in look.verdicts
    assert look.verified is None or look.verified < 1e-5
