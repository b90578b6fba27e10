"""Clipping by the global norm: one factor for all, and no overflow on the way."""

import math

import numpy as np
import pytest
import torch
from textbook_reference import same

from throughtime.textbook import clipping

GENERATOR = np.random.default_rng(4)
GRADIENTS = {
    "W": GENERATOR.normal(size=(4, 4)),
    "b": GENERATOR.normal(size=4),
    "none": np.zeros((0,)),
}
TRUE_NORM = math.sqrt(sum(float((g**2).sum()) for g in GRADIENTS.values()))


@pytest.mark.parametrize("threshold", [0.1, 1.0, 100.0])
def test_it_is_torchs_clip_grad_norm(threshold: float) -> None:
    parameters = [
        torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in GRADIENTS.values()
    ]
    for parameter, g in zip(parameters, GRADIENTS.values(), strict=True):
        parameter.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_(parameters, threshold)
    clipped, _ = clipping.clip(GRADIENTS, threshold)
    # torch divides by ‖g‖ + 1e-6
    same(clipped["W"], parameters[0].grad.numpy(), tolerance=1e-5)


@pytest.mark.parametrize("threshold", [0.1, 1.0, 100.0])
def test_the_norm_returned_is_the_one_before(threshold: float) -> None:
    assert clipping.clip(GRADIENTS, threshold)[1] == pytest.approx(TRUE_NORM, rel=1e-14)


@pytest.mark.parametrize("threshold", [1e-250, 0.1, 1.0])
def test_what_is_too_long_is_cut_to_the_threshold(threshold: float) -> None:
    assert clipping.global_norm(clipping.clip(GRADIENTS, threshold)[0]) == pytest.approx(threshold)


@pytest.mark.parametrize("threshold", [TRUE_NORM, 10 * TRUE_NORM])
def test_what_is_short_enough_stays_as_it_is(threshold: float) -> None:
    same(clipping.clip(GRADIENTS, threshold * (1 + 1e-15))[0]["W"], GRADIENTS["W"], tolerance=0.0)


def test_all_parameters_shrink_by_one_factor() -> None:
    clipped, norm = clipping.clip(GRADIENTS, 0.5)
    ratios = np.concatenate([clipped[name].ravel() / GRADIENTS[name].ravel() for name in GRADIENTS])
    same(ratios, np.full(ratios.shape, 0.5 / norm))


def test_a_norm_per_parameter_is_caught() -> None:
    wrong = {name: clipping.clip({name: g}, 0.5)[0][name] for name, g in GRADIENTS.items()}
    with pytest.raises(AssertionError):
        same(wrong["W"], clipping.clip(GRADIENTS, 0.5)[0]["W"])


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e19, 1e200, 1e306])
def test_the_norm_neither_overflows_nor_underflows(size: float) -> None:
    assert clipping.global_norm({"g": np.full(100, size)}) == pytest.approx(10 * size, rel=1e-9)


@pytest.mark.parametrize("size", [1e200, 1e308])
def test_a_huge_gradient_is_clipped_and_not_lost(size: float) -> None:
    clipped, _ = clipping.clip({"g": np.full(100, size)}, 1.0)
    same(clipped["g"], np.full(100, 0.1))


@pytest.mark.parametrize(
    ("size", "log10_norm"), [(1e308, 309.0), (1e-300, -299.0), (0.0, -math.inf)]
)
def test_the_log_of_the_norm_is_exact_where_the_norm_is_not(size: float, log10_norm: float) -> None:
    assert clipping.log10_global_norm({"g": np.full(100, size)}) == pytest.approx(log10_norm)


def test_the_norm_of_nothing_is_zero() -> None:
    assert clipping.clip({}, 1.0) == ({}, 0.0)


@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf])
def test_one_entry_that_is_not_finite_is_named(entry: float) -> None:
    with pytest.raises(ValueError, match=r"gradient of 'b' holds a NaN or an infinity"):
        clipping.clip({"W": np.ones(3), "b": np.array([1.0, entry])}, 1.0)


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.inf, np.nan])
def test_a_threshold_that_is_none_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="positive finite number"):
        clipping.clip(GRADIENTS, threshold)
