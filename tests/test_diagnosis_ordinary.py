"""Models that are right: none of the findings on loss, axes and parameters may be made of them."""

import warnings

import pytest
import torch
from ordinary_cases import ORDINARY
from ordinary_models import Built

import throughtime as tt
from throughtime.recording import observe

MISTAKES = {"non-finite", "weights changed", "axes swapped", "partial loss", "dead parameters"}


def diagnosed(built: Built) -> tt.Diagnosis:
    model, closure, *lengths = built
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tt.ThroughtimeWarning)
        return tt.diagnose(observe(model, closure, lengths=lengths[0] if lengths else None))


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_an_ordinary_model_has_no_mistake(name: str) -> None:
    torch.manual_seed(3)
    found = [one for one in diagnosed(ORDINARY[name]()).findings if one.disease in MISTAKES]
    assert not found
