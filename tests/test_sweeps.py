"""Adjoint sweeps: against one ``autograd.grad`` per loss, and where floating point runs dry."""

import math
from collections.abc import Callable

import pytest
import torch
from cases import B, I, T, normal
from harness import Subject
from test_recurrences import cell, segments, stacked
from torch import Tensor

from throughtime.recurrences import Elman, Linearised
from throughtime.sweeps import adjoint, adjoint_log_norms, lag_norms

KINDS = ["tanh", "relu", "LSTM", "LSTM-proj", "GRU"]
WALLS = [(), (2,), (1, T - 1)]
CLOSE = {"rtol": 0, "atol": 1e-10, "equal_nan": True}


def unrolled(kind: str, walls: tuple[int, ...]) -> tuple[Linearised, list[Tensor]]:
    """A linearised recurrence, and its states on autograd's graph, cut at the walls."""
    made = cell(kind)
    inputs, state = normal(T, B, I, seed=3), normal(B, made.ours.state_size, seed=2)
    states = []
    for t in range(T):
        state = made.step(state.detach() if t in walls else state, inputs[t]).requires_grad_()
        states.append(state)
    plain = torch.stack(states).detach()
    initial = normal(B, made.ours.state_size, seed=2)
    linear = made.ours.linearise(torch.cat([initial[None], plain[:-1]]), inputs)
    return linear, states


def grads(states: list[Tensor], losses: list[Tensor]) -> Tensor:
    """∂losses/∂s_k (T B S), where the loss at step t reads the state at t alone."""
    loss = sum((state * e).sum() for state, e in zip(states, losses, strict=True))
    return torch.stack(torch.autograd.grad(loss, states, retain_graph=True, materialize_grads=True))


@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_total_gradients_are_autograds(kind: str, walls: tuple[int, ...]) -> None:
    linear, states = unrolled(kind, walls)
    direct = normal(*torch.stack(states).shape, seed=5)
    torch.testing.assert_close(
        adjoint(linear, direct, walls), grads(states, list(direct)), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_their_norms_are_autograds(kind: str, walls: tuple[int, ...]) -> None:
    linear, states = unrolled(kind, walls)
    direct = normal(*torch.stack(states).shape, seed=5)
    parts = [slice(0, 2), slice(2, None), slice(None)]
    total = grads(states, list(direct))
    wanted = torch.stack([total[..., part].norm(dim=-1).log10() for part in parts])
    torch.testing.assert_close(adjoint_log_norms(linear, direct, parts, walls), wanted, **CLOSE)


def one_grad_per_anchor(
    states: list[Tensor], sources: Tensor, anchors: list[int], parts: list[slice]
) -> Tensor:
    """The lag matrix by hand: (P A T B), NaN where k > t."""
    wanted = torch.full((len(parts), len(anchors), T, B), math.nan, dtype=torch.float64)
    for a, anchor in enumerate(anchors):
        losses = [torch.zeros_like(sources[0]) for _ in range(T)]
        losses[anchor] = sources[a]
        found = grads(states, losses)
        for p, part in enumerate(parts):
            norms = found[..., part].norm(dim=-1).log10()
            wanted[p, a, : anchor + 1] = norms[: anchor + 1]
    return wanted


@pytest.mark.parametrize("anchors", [list(range(T)), [T - 1], [0], [3, 1, 4], [2, 2]])
@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_lag_matrix_is_one_grad_per_anchor(
    kind: str, walls: tuple[int, ...], anchors: list[int]
) -> None:
    linear, states = unrolled(kind, walls)
    sources = normal(len(anchors), *states[0].shape, seed=5)
    parts = [slice(None), slice(0, 2), slice(2, None)]
    found = lag_norms(linear, sources, anchors, parts, walls)
    torch.testing.assert_close(found, one_grad_per_anchor(states, sources, anchors, parts), **CLOSE)


@pytest.mark.parametrize("rows", [1, B, 2 * B + 1, 10_000])
def test_anchors_in_blocks_are_one_matrix(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    linear, states = unrolled("GRU", (2,))
    sources, anchors = normal(T, *states[0].shape, seed=5), list(range(T))
    whole = lag_norms(linear, sources, anchors, walls=(2,))
    monkeypatch.setattr("throughtime.sweeps.backward._BLOCK_ROWS", rows)
    blocks = lag_norms(linear, sources, anchors, walls=(2,))
    torch.testing.assert_close(blocks, whole, **CLOSE)


@pytest.mark.parametrize("anchors", [list(range(T)), [3, 1, 4]])
@pytest.mark.parametrize("kind", KINDS)
def test_the_latest_anchors_stand_at_the_floor_once_all_their_sequences_are_below(
    monkeypatch: pytest.MonkeyPatch, kind: str, anchors: list[int]
) -> None:
    monkeypatch.setattr("throughtime.sweeps.backward._LOOK_EVERY", 1)
    linear, states = unrolled(kind, ())
    sources, parts = normal(len(anchors), *states[0].shape, seed=5), [slice(None), slice(0, 2)]
    wanted = lag_norms(linear, sources, anchors, parts)
    start = sources.norm(dim=-1).log10()
    highest = (wanted[0] - start[:, None]).amax(-1)  # over the sequences, (A T)
    floor = float(highest[~highest.isnan()].median()) - 1e-9
    followed = sorted(range(len(anchors)), key=lambda a: anchors[a])
    for k in range(T - 1, 0, -1):
        while followed and anchors[followed[-1]] >= k and highest[followed[-1], k] < floor:
            given_up = followed.pop()
            wanted[:, given_up, :k] = start[given_up] + floor
    assert len(followed) < len(anchors)
    found = lag_norms(linear, sources, anchors, parts, floor=floor)
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_an_anchor_is_followed_as_long_as_one_of_its_sequences_is_above_the_floor() -> None:
    steps, lags = 40, torch.arange(39, -1, -1, dtype=torch.float64)
    linear = diagonal([0.1, 0.9], steps, torch.float64)
    sources = torch.eye(2, dtype=torch.float64).expand(1, 2, 2)
    both = lag_norms(linear, sources, [steps - 1], floor=-7.0)[0, 0]
    alone = lag_norms(linear, sources[:, :1], [steps - 1], floor=-7.0)[0, 0, :, 0]
    torch.testing.assert_close(both[:, 0], -lags)
    assert alone[lags <= 7].tolist() == pytest.approx((-lags[lags <= 7]).tolist())
    assert set(alone[lags > 12].tolist()) == {-7.0}


def test_what_is_given_up_is_left_out_of_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, rows = 64, []
    linear = diagonal([0.1], steps, torch.float32)
    step = type(linear).vjp
    monkeypatch.setattr(
        type(linear), "vjp", lambda *given: rows.append(len(given[2])) or step(*given)
    )
    lag_norms(linear, torch.ones(steps, 1, 1), range(steps), floor=-7.0)
    assert sum(rows) < 12 * steps  # of steps² / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [segments, stacked])
def test_joined_recurrences_are_swept_alike(kind: str, make: Callable[..., Subject]) -> None:
    one = make(kind, True)
    sources = normal(1, one.B, one.S, seed=5)
    row, found = sources, lag_norms(one.linear, sources, [T - 1])[0, 0]
    for k in range(T - 1, -1, -1):
        torch.testing.assert_close(found[k], row[0].norm(dim=-1).log10().detach(), **CLOSE)
        row = one.pull_back(k, row)[0]


def test_a_sequence_that_starts_anew_gets_nothing_from_later() -> None:
    one = segments("tanh", True)  # its second sequence starts anew at step 2
    found = lag_norms(one.linear, normal(1, one.B, one.S), [T - 1])[0, 0]
    assert found[:2, 1].tolist() == [-math.inf, -math.inf]
    assert found[2:, 1].isfinite().all()
    assert found[:, [0, 2]].isfinite().all()


def test_no_anchor_gives_an_empty_matrix() -> None:
    linear, states = unrolled("GRU", ())
    assert lag_norms(linear, states[0].detach()[None][:0], []).shape == (1, 0, T, B)


def test_an_empty_batch_gives_an_empty_matrix() -> None:
    made = cell("GRU")
    linear = made.ours.linearise(normal(T, 0, 4), normal(T, 0, I))
    sources = normal(2, 0, 4)
    assert lag_norms(linear, sources, [1, 4]).shape == (1, 2, T, 0)
    assert adjoint_log_norms(linear, normal(T, 0, 4)).shape == (1, T, 0)


def diagonal(gains: list[float], steps: int, dtype: torch.dtype) -> Linearised:
    """``J = diag(gains)`` at every step: ReLU where it is open."""
    size = len(gains)
    weight, driven = torch.diag(torch.tensor(gains, dtype=dtype)), torch.zeros(size, 1, dtype=dtype)
    cell = Elman(driven, weight, torch.ones(size, dtype=dtype), "relu")
    return cell.linearise(
        torch.zeros(steps, 1, size, dtype=dtype), torch.zeros(steps, 1, 1, dtype=dtype)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gain", [0.1, 0.9, 1.0, 1.1, 10.0])
def test_nothing_underflows_or_overflows(gain: float, dtype: torch.dtype) -> None:
    steps = 500  # 10^-499 and 10^499 are in no floating point
    linear = diagonal([gain], steps, dtype)
    direct = torch.zeros(steps, 1, 1, dtype=dtype)
    direct[-1] = 1
    wanted = (steps - 1 - torch.arange(steps, dtype=torch.float64)) * math.log10(gain)
    tolerance = (
        {"rtol": 1e-6, "atol": 1e-4} if dtype is torch.float32 else {"rtol": 0, "atol": 1e-9}
    )
    (by_lag,) = lag_norms(linear, direct[-1:], [steps - 1])[0]
    (through_time,) = adjoint_log_norms(linear, direct)
    torch.testing.assert_close(by_lag[:, 0], wanted, **tolerance)
    torch.testing.assert_close(through_time[:, 0], wanted, **tolerance)


def test_a_part_that_is_much_smaller_than_the_whole_is_not_lost() -> None:
    steps = 60  # the fast part falls to 1e-31 beside a slow one of 1: its square is in no float32
    linear = diagonal([1.0, 0.3, 0.3], steps, torch.float32)
    direct = torch.zeros(steps, 1, 3)
    direct[-1] = 1
    parts = [slice(0, 1), slice(1, 3)]
    lags = torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    wanted = torch.stack([lags * 0, lags * math.log10(0.3) + math.log10(2) / 2])
    found = lag_norms(linear, direct[-1:], [steps - 1], parts)[:, 0, :, 0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        adjoint_log_norms(linear, direct, parts)[..., 0], wanted, rtol=0, atol=1e-4
    )


def test_a_loss_far_below_what_comes_back_is_not_lost_on_the_way() -> None:
    linear = diagonal([0.1], 61, torch.float32)
    direct = torch.full((61, 1, 1), 1e-30)
    direct[-1] = 1
    found = adjoint_log_norms(linear, direct)[0, :, 0]
    exact = torch.zeros(61, dtype=torch.float64)
    total = 0.0
    for t in range(60, -1, -1):
        total = 0.1 * total + (1.0 if t == 60 else 1e-30)
        exact[t] = math.log10(total)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)


def test_an_exact_zero_is_minus_infinity() -> None:
    linear = diagonal([0.0, 1.0], 3, torch.float64)
    source = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    assert lag_norms(linear, source, [2])[0, 0, :, 0].tolist() == [-math.inf, -math.inf, 0.0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays_so_and_harms_no_other_sequence(value: float) -> None:
    made = cell("GRU")
    linear = made.ours.linearise(normal(T, B, 4), normal(T, B, I))
    sources = normal(1, B, 4, seed=2)
    healthy = lag_norms(linear, sources, [T - 1])
    sources[0, 1, 0] = value
    found = lag_norms(linear, sources, [T - 1])
    assert not found[:, :, :, 1].isfinite().any()
    assert torch.equal(found[..., [0, 2]], healthy[..., [0, 2]])
