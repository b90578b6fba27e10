"""Capture against the unrolled reference, for every way to call torch's recurrent layers."""

import itertools
from collections.abc import Iterator
from dataclasses import astuple

import pytest
import torch
from cases import COVERED, CROSSED, LAYER_CASES, Case, Net, T, inputs_of, loss_of, pairs
from reference import assert_same, unrolled
from torch import Tensor

from throughtime.recording import capture
from throughtime.trace import relative_difference

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
SEED = 20

# torch says so, once, with and without capture.
PROJECTIONS = "ignore:LSTM with projections is not supported with oneDNN"
pytestmark = pytest.mark.filterwarnings(PROJECTIONS)  # torch then takes its own kernel


def run_once(case: Case, model: Net) -> list[Tensor]:
    """One seeded forward and backward pass: outputs, final state, and the random state after it."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        outputs, final = model(inputs_of(case, model.dtype))
        loss_of(case, outputs, final).backward()
        return [value.detach() for value in (outputs, *final, torch.get_rng_state())]


def test_the_cases_show_every_pair_of_settings() -> None:
    shown = {pair for case in LAYER_CASES for pair in pairs(astuple(case))}
    assert shown == set().union(*map(pairs, itertools.product(*(CROSSED | COVERED).values())))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_gradients_are_those_of_the_unrolled_loops(case: Case, dtype: torch.dtype) -> None:
    model, (loops, walks) = Net(case, dtype), unrolled(Net(case, dtype))
    with capture(model) as run:
        run_once(case, model)
    run_once(case, loops)
    assert_same(run.trace, walks, TOLERANCE[dtype])


def compare_runs(case: Case, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Each output, final state and parameter gradient, with capture and without."""
    plain, watched = Net(case, dtype), Net(case, dtype)
    ran = run_once(case, plain)
    with capture(watched):
        seen = run_once(case, watched)
    yield from zip(seen, ran, strict=True)
    for parameter, other in zip(watched.parameters(), plain.parameters(), strict=True):
        yield parameter.grad, other.grad


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", [c for c in LAYER_CASES if not c.bidirectional], ids=str)
def test_the_run_is_bit_for_bit_the_one_without_capture(case: Case, dtype: torch.dtype) -> None:
    for seen, value in compare_runs(case, dtype):
        assert torch.equal(seen, value)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", [c for c in LAYER_CASES if c.bidirectional], ids=str)
def test_two_directions_run_as_without_capture(case: Case, dtype: torch.dtype) -> None:
    # The layer that reads backwards is handed a turned copy: its rows stand elsewhere in the matrix
    # product, which may sum them in another order.
    for seen, value in compare_runs(case, dtype):
        assert relative_difference(seen, value) < reordered(case) * torch.finfo(dtype).eps


def reordered(case: Case) -> int:
    """By so many roundings may two runs differ that sum the same products in another order.

    A sum of K terms rounds by K eps / 2 at most. There is one in every step of every layer, on the
    way forwards and on the way back, in either run: 4 T layers K eps / 2. No step of these networks
    magnifies what the one before it rounded: their weights are small.
    """
    terms = max(weight.shape[-1] for weight in Net(case, torch.float32).parameters())
    return 2 * T * case.layers * terms
