"""A span is a whole number of steps from 1: anything else is one line, whoever is given it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_problems import running_sum

import throughtime as tt
from throughtime.cells import IndRNN
from throughtime.prescription import from_pair, treated
from throughtime.remedies import critical_
from throughtime.training import train

WRONG = [math.nan, math.inf, 1.5, 8.0, "8", True, False, 0, -3, 2**63, [8], None, torch.tensor(8)]


def pair() -> tuple[nn.Module, Callable[[], torch.Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = nn.RNN(2, 3), torch.randn(6, 2, 2)
    return model, lambda: model(x)[0].square().mean()


def trace() -> tt.Trace:
    return tt.observe(*pair())


USES: dict[str, Callable[[Any], object]] = {
    "diagnose": lambda span: tt.diagnose(trace(), span),
    "assert_reaches": lambda span: tt.assert_reaches(*pair(), span),
    "budget": lambda span: tt.measures.budget(trace(), span=span),
    "paths": lambda span: tt.measures.paths(trace(), span=span),
    "counterfactuals": lambda span: tt.measures.counterfactuals(trace(), span=span),
    "prescribe": lambda span: tt.prescribe(running_sum(), span),
    "treated": lambda span: treated(running_sum(), "none", span),
    "from_pair": lambda span: from_pair(*pair(), span),
    "Problem": lambda span: tt.Problem("x", nn.RNN(1, 1), lambda _: iter(()), lambda *_: 0, span),  # type: ignore[arg-type, return-value]  # never called
    "train": lambda span: train(running_sum(), 1, span=span),
    "critical_": lambda span: critical_(*pair(), span),
    "IndRNN": lambda span: IndRNN(1, 2, span=span),
    "constrain_": lambda span: IndRNN(1, 2).constrain_(span),
}
OPTIONAL = {
    "diagnose", "budget", "paths", "counterfactuals", "prescribe", "train", "critical_", "IndRNN"
}  # fmt: skip  # None is their default


@pytest.mark.parametrize("use", USES)
def test_what_is_no_span_is_refused_in_one_line(use: str) -> None:
    for span in WRONG:
        if span is None and use in OPTIONAL:
            continue
        with pytest.raises(tt.InputError, match="give a whole number of steps, from 1") as raised:
            USES[use](span)
        assert str(raised.value).isprintable()


@pytest.mark.parametrize("span", [5, np.int64(5), np.uint8(5)], ids=["int", "int64", "uint8"])
def test_a_whole_number_of_any_kind_is_a_span(span: Any) -> None:
    assert tt.Diagnosis.from_json(tt.diagnose(trace(), span).to_json()).span == 5


@pytest.mark.parametrize("count", [0, 1.5, "8", True, math.nan])
@pytest.mark.parametrize("measure", ["lags", "gains", "budget"])
def test_so_is_a_number_of_anchors(measure: str, count: Any) -> None:
    with pytest.raises(tt.InputError, match=r"anchors is .*: give a whole number"):
        getattr(tt.measures, measure)(trace(), anchors=count)
