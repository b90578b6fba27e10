"""Tangent sweeps: against QR of explicit Jacobians, and where floating point runs dry."""

import math

import pytest
import torch
from another_processor import AnotherProcessor
from cases import B, I, T, normal
from test_recurrences import cell, segments, stacked
from test_sweeps import diagonal
from torch import Tensor

from throughtime.recurrences import Custom, Linearised
from throughtime.sweeps import Growth, frame_growth, random_frame

KINDS = ["tanh", "relu", "LSTM", "LSTM-proj", "GRU"]
STEPS = 40


def jacobians(linear: Linearised, size: int, batch: int) -> Tensor:
    """(T B S S), column by column through ``vjp``, whose rows autograd has checked elsewhere."""
    basis = torch.eye(size, dtype=torch.float64).unsqueeze(1).expand(-1, batch, -1).contiguous()
    return torch.stack([linear.vjp(t, basis).transpose(0, 1) for t in range(linear.steps)])


def stepwise(products: Tensor, frame: Tensor) -> Tensor:
    """log |R_ii| of every step (T B A): QR after each, of Jacobians that were built."""
    q, logs = frame.permute(1, 2, 0), []
    for product in products:
        q, r = torch.linalg.qr(product @ q)
        logs.append(r.diagonal(dim1=-2, dim2=-1).abs().log())
    return torch.stack(logs)


def driven(kind: str, steps: int = STEPS, scale: float = 1.0) -> tuple[Linearised, int]:
    """A recurrence linearised along its own trajectory, in float64."""
    made = cell(kind).ours
    inputs, initial = scale * normal(steps, B, I, seed=3), normal(B, made.state_size, seed=2)
    states = made.unroll(inputs, initial)
    return made.linearise(torch.cat([initial[None], states[:-1]]), inputs), made.state_size


@pytest.mark.parametrize("count", [1, 3, None])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("relu", "LSTM-proj")])
def test_growth_is_that_of_qr_at_every_step(kind: str, count: int | None) -> None:
    linear, size = driven(kind)
    frame = random_frame(count or size, B, size)
    expected = stepwise(jacobians(linear, size, B), frame)
    growth = frame_growth(linear, frame)
    assert max(b - a for a, b in zip(growth.bounds, growth.bounds[1:], strict=False)) > 1
    torch.testing.assert_close(growth.logs.sum(0), expected.sum(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [segments, stacked])
@pytest.mark.parametrize("kind", ["tanh", "LSTM", "GRU"])
def test_joined_recurrences_are_swept_alike(kind: str, make: object) -> None:
    one = make(kind, True)
    frame = random_frame(2, one.B, one.S)
    expected = stepwise(jacobians(one.linear, one.S, one.B), frame)
    growth = frame_growth(one.linear, frame)
    going_on = [0, 2] if make is segments else [0, 1, 2]
    torch.testing.assert_close(
        growth.logs.sum(0)[going_on], expected.sum(0)[going_on], rtol=0, atol=1e-5
    )


def test_a_sequence_that_starts_anew_loses_every_direction() -> None:
    one = segments("tanh", True)  # its second sequence starts anew at step 2
    growth = frame_growth(one.linear, random_frame(2, one.B, one.S), cuts=[2])
    later = growth.bounds.index(2)
    assert growth.logs[later:, 1].isneginf().all()
    assert growth.logs[:later].isfinite().all()
    assert growth.logs[:, [0, 2]].isfinite().all()


def test_blocks_end_at_the_cuts() -> None:
    linear, size = driven("GRU")
    cuts = [0, 7, 8, 31, STEPS, STEPS + 5]
    growth = frame_growth(linear, random_frame(2, B, size), cuts=cuts)
    assert {0, 7, 8, 31, STEPS} <= set(growth.bounds)
    assert growth.bounds[-1] == STEPS
    assert len(growth.logs) == len(growth.bounds) - 1


@pytest.mark.parametrize("interval", [1, 3, 10])
def test_no_block_is_longer_than_the_interval(interval: int) -> None:
    linear, size = driven("GRU")
    growth = frame_growth(linear, random_frame(2, B, size), interval=interval)
    assert lengths(growth) == {interval, STEPS % interval} - {0}


def lengths(growth: Growth) -> set[int]:
    return {b - a for a, b in zip(growth.bounds, growth.bounds[1:], strict=False)}


def sheared(gains: Tensor) -> Linearised:
    """``J_t = [[a, 1], [0, b]]`` for gains (a, b) of each step (T B 2): the columns lean over."""
    made = Custom(lambda state, x: state * x + state.flip(-1) * x.new_tensor([1.0, 0.0]), 2)
    return made.linearise(torch.ones_like(gains), gains)


@pytest.mark.parametrize(
    ("gains", "longest"),
    [
        ([1.0, 0.99], 32),  # little to lose
        ([1.0, 0.1], 8),  # nine digits may be lost, and a margin is kept
        ([1.0, 1e-6], 1),
        ([1.0, 1e-11], 1),  # more than that in a single step: there is no shorter block
    ],
    ids=str,
)
def test_the_interval_follows_the_conditioning(gains: list[float], longest: int) -> None:
    steps = torch.tensor(gains, dtype=torch.float64).expand(200, 1, 2)
    growth = frame_growth(sheared(steps), random_frame(2, 1, 2), cuts=[20])
    assert max(lengths(growth)) == longest
    late = growth.logs[growth.bounds.index(20) :].sum(0)[0] / 180
    assert late.sum().item() == pytest.approx(steps[0].log().sum().item(), rel=1e-6)


def test_a_block_that_was_too_long_is_redone() -> None:
    """Benign at first, so that blocks grow, and then of a sudden 1e-5 a step."""
    gains = torch.full((100, 1, 2), 1.0, dtype=torch.float64)
    gains[70:, 0, 1] = 1e-5
    growth = frame_growth(sheared(gains), random_frame(2, 1, 2))
    late = [b - a for a, b in zip(growth.bounds, growth.bounds[1:], strict=False) if a > 70]
    assert (max(lengths(growth)), set(late)) == (32, {1})
    assert growth.logs.sum().item() == pytest.approx(30 * math.log(1e-5), rel=1e-6)


def scaled(gains: Tensor) -> Linearised:
    """``J_t = diag(gains_t)`` (T B S)."""
    made = Custom(lambda state, x: state * x, gains.shape[-1])
    return made.linearise(torch.ones_like(gains), gains)


@pytest.mark.parametrize("gain", [1e-300, 1e-12, 0.1, 1.0, 1e12, 1e300])
def test_nothing_underflows_or_overflows(gain: float) -> None:
    growth = frame_growth(diagonal([gain, gain], 70, torch.float64), random_frame(2, 1, 2))
    expected = torch.full((1, 2), 70 * math.log(gain), dtype=torch.float64)
    torch.testing.assert_close(growth.logs.sum(0), expected, rtol=1e-12, atol=1e-12)


def test_the_leading_direction_is_right_in_float32() -> None:
    linear = diagonal([0.5, 0.2, 0.1], 200, torch.float32)
    growth = frame_growth(linear, random_frame(1, 1, 3, torch.float32), cuts=[50])
    late = growth.logs[growth.bounds.index(50) :].sum() / 150
    assert late.item() == pytest.approx(math.log(0.5), rel=1e-6)


def test_what_is_lost_stays_lost() -> None:
    gains = torch.full((30, 2, 3), 0.9, dtype=torch.float64)
    gains[10, 0, 1] = 0  # rank 2, from there on, in the first sequence alone
    growth = frame_growth(scaled(gains), random_frame(3, 2, 3), cuts=[10])
    at = growth.bounds.index(10)
    assert growth.logs[at:, 0, 2].isneginf().all()
    assert growth.logs[at:, 0, :2].isfinite().all()
    assert growth.logs[:, 1].isfinite().all()
    assert growth.rounding.isnan().tolist() == [[False, False, True], [False] * 3]
    assert {17, 25} <= set(growth.bounds)  # it steers no interval any more


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays_so_and_harms_no_other_sequence(value: float) -> None:
    gains = 0.5 + normal(50, B, 3, seed=1).abs()
    healthy = frame_growth(scaled(gains), random_frame(2, B, 3), cuts=[20])
    gains[20, 1] = value
    found = frame_growth(scaled(gains), random_frame(2, B, 3), cuts=[20])
    assert found.logs[found.bounds.index(20) :, 1].isnan().all()
    torch.testing.assert_close(
        found.logs[:, [0, 2]].sum(0), healthy.logs[:, [0, 2]].sum(0), rtol=0, atol=1e-5
    )


def test_steps_that_do_not_count_steer_no_interval() -> None:
    gains = torch.ones(64, 2, 2, dtype=torch.float64)
    gains[10:, 1, 1] = 1e-5
    alive = torch.ones(64, 2, dtype=torch.bool)
    alive[10:, 1] = False
    ended = frame_growth(sheared(gains), random_frame(2, 2, 2), cuts=[10], alive=alive)
    counted = frame_growth(sheared(gains), random_frame(2, 2, 2), cuts=[10])
    assert max(lengths(ended)) > 16 > max(lengths(counted))


@pytest.mark.parametrize("kind", ["tanh", "LSTM", "GRU"])
@pytest.mark.parametrize(("allowed", "least", "most"), [(1e-6, 0, 1e-5), (1e6, 1e-1, math.inf)])
def test_the_error_estimate_holds_and_shows_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch, kind: str, allowed: float, least: float, most: float
) -> None:
    """As it is, and where far more rounding is let through, which ruins the last exponents."""
    monkeypatch.setattr("throughtime.sweeps.forward._ROUNDING", allowed)
    linear, size = driven(kind, 200)
    frame = random_frame(size, B, size)
    expected = stepwise(jacobians(linear, size, B), frame).sum(0) / linear.steps
    growth = frame_growth(linear, frame)
    errors = (growth.logs.sum(0) / linear.steps - expected).abs()
    assert (errors <= growth.rounding).all()
    assert least <= errors.amax() <= growth.rounding.amax() <= most


@pytest.mark.parametrize("count", [1, 2, None])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_error_estimate_holds_for_every_direction(
    kind: str, scale: float, count: int | None
) -> None:
    """Close and far exponents, some or all of them; against what another processor would round."""
    linear, size = driven(kind, 60, scale)
    frame = random_frame(count or size, B, size)
    exact = stepwise(jacobians(linear, size, B), frame).sum(0) / linear.steps
    with AnotherProcessor(seed=1):
        growth = frame_growth(linear, frame)
    errors = (growth.logs.sum(0) / linear.steps - exact).abs()
    known = ~growth.rounding.isnan()  # NaN: the direction is lost
    assert (errors <= 2 * growth.rounding)[known].all()  # it rounds by twice as much as a real one


def test_an_empty_batch_grows_by_nothing() -> None:
    made = cell("GRU").ours
    linear = made.linearise(normal(T, 0, 4), normal(T, 0, I))
    growth = frame_growth(linear, random_frame(2, 0, 4))
    assert (growth.bounds[-1], growth.logs.shape[1:]) == (T, (0, 2))


def test_a_frame_is_orthonormal_and_begins_with_the_smaller_one() -> None:
    small, large = random_frame(3, B, 8), random_frame(8, B, 8)
    torch.testing.assert_close(large[:, 1] @ large[:, 1].T, torch.eye(8, dtype=torch.float64))
    assert torch.equal(small[:, 0], small[:, 2])
    torch.testing.assert_close(small, large[:3])
