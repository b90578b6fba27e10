"""``assert_reaches``: the reach of a gradient as a test in a user's own suite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt


def flat_model() -> nn.RNN:
    """A ReLU network whose gradient neither grows nor shrinks."""
    model = nn.RNN(2, 4, nonlinearity="relu")
    with torch.no_grad():
        model.weight_hh_l0.copy_(torch.eye(4))
        model.weight_ih_l0.fill_(0.01)
        model.bias_hh_l0.fill_(0.1)
        model.bias_ih_l0.zero_()
    return model


REACHES = {
    # name: model, span, what the error says (None: passes)
    "reaches": (flat_model(), 40, None),
    "vanishes": (nn.GRU(2, 4), 40, "does not reach 40"),
    "too short to tell": (flat_model(), 60, "cannot tell: the longest lag"),
}


@pytest.mark.parametrize("name", REACHES)
def test_assert_reaches(name: str) -> None:
    model, span, sentence = REACHES[name]
    x = torch.rand(50, 3, 2, generator=torch.Generator().manual_seed(0))

    def closure() -> Tensor:
        return model(x)[0][-1].sum()

    message = ""
    try:
        tt.assert_reaches(model, closure, span)
    except tt.ReachError as error:
        message = str(error)
    assert (sentence or "") in message
    assert bool(message) is (sentence is not None)
