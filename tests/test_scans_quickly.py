"""The quick ways of a scan against the slow ones: many steps at once, without long graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from throughtime.recording.scans import pieces
from throughtime.recording.scans.accumulate import accumulate_mixing
from throughtime.recording.scans.form import Steps
from throughtime.recording.scans.linear import LinearisedScan
from throughtime.sweeps import lag_norms

T, B, H, K, V = 37, 2, 3, 4, 5
ANCHORS = (36, 0, 7, 8, 29, 20)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def steps_of(kind: str, total: int = T) -> Steps:
    """A decay of that shape, or also the delta rule of a head."""
    shapes = {"head": (B, H, 1, 1), "key": (B, H, K, 1), "entry": (B, H, K, V), "all": (1, H, 1, 1)}
    mixes = kind.startswith("delta")
    shape = shapes["key" if kind == "delta by key" else "head" if mixes else kind]
    decay = drawn(total, *shape).sigmoid()
    decay = decay[:1] if kind == "all" else decay
    key = torch.nn.functional.normalize(drawn(total, B, H, K, seed=1), dim=-1)
    value, query = drawn(total, B, H, V, seed=2), drawn(total, B, H, K, seed=3)
    if not mixes:
        return Steps(decay, key, value, query)
    left = -drawn(total, B, H, 1, seed=4).sigmoid() * key
    return Steps(decay, key, value, query, left, decay.squeeze(-1) * key)


def linear(
    steps: Steps, block: int = T, numbers: int = 10**9, dtype: torch.dtype = torch.float64
) -> LinearisedScan:
    def make(part: slice) -> Steps:
        cut = {one.name: getattr(steps, one.name) for one in fields(steps)}
        return Steps(**{n: x if x is None or len(x) == 1 else x[part] for n, x in cut.items()})

    return LinearisedScan(make, len(steps.value), (H, K, V), block, numbers, dtype)


def slowly(one: LinearisedScan, sources: Tensor, anchors: Sequence[int]) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinearisedScan, "norms_by_lag", lambda *_: None)
        return lag_norms(one, sources, anchors)


KINDS = pytest.mark.parametrize(
    "kind", ["head", "key", "entry", "all", "delta of a head", "delta by key"]
)


@KINDS
@pytest.mark.parametrize("block", [T, 10])
def test_norms_by_lag_are_those_of_the_sweep(kind: str, block: int) -> None:
    one, sources = linear(steps_of(kind), block), drawn(len(ANCHORS), B, H * K * V, seed=5)
    found = one.norms_by_lag(sources, ANCHORS)
    assert found is not None
    swept = slowly(one, sources, ANCHORS)
    torch.testing.assert_close(found.transpose(0, 1), swept[0], equal_nan=True)
    torch.testing.assert_close(lag_norms(one, sources, ANCHORS), swept, equal_nan=True)
    torch.testing.assert_close(
        lag_norms(one, sources, ANCHORS, longest=6),
        _cut(swept, 6),
        equal_nan=True,
    )


def _cut(swept: Tensor, longest: int) -> Tensor:
    cut = swept.clone()
    for a, t in enumerate(ANCHORS):
        cut[:, a, : max(0, t - longest)] = torch.nan
    return cut


@KINDS
def test_a_sequence_without_a_loss_stays_silent(kind: str) -> None:
    one, sources = linear(steps_of(kind)), drawn(len(ANCHORS), B, H * K * V, seed=5)
    sources[2, 1] = 0
    found = lag_norms(one, sources, ANCHORS)
    torch.testing.assert_close(found, slowly(one, sources, ANCHORS), equal_nan=True)
    assert bool(found[0, 2, : ANCHORS[2] + 1, 1].isneginf().all())


@pytest.mark.parametrize("kind", ["head", "delta of a head"])
def test_what_leaves_the_range_is_swept_step_by_step(kind: str) -> None:
    steps = steps_of(kind)
    faint = replace(steps, decay=steps.decay * 1e-60)
    if steps.right is not None:
        faint = replace(faint, right=steps.right * 1e-60)
    one, sources = linear(faint), drawn(len(ANCHORS), B, H * K * V, seed=5)
    assert one.norms_by_lag(sources, ANCHORS) is None
    found = lag_norms(one, sources, ANCHORS)
    assert -2300 < float(found[0, 0, 0].max()) < -2000  # of 36 steps


@pytest.mark.parametrize("value", [0.0, torch.inf, torch.nan])
def test_a_reset_or_a_broken_step_is_swept_step_by_step(value: float) -> None:
    steps = steps_of("head")
    steps.decay[11] = value
    one, sources = linear(steps), drawn(len(ANCHORS), B, H * K * V, seed=5)
    assert one.norms_by_lag(sources, ANCHORS) is None
    swept = slowly(one, sources, ANCHORS)
    torch.testing.assert_close(lag_norms(one, sources, ANCHORS), swept, equal_nan=True)


def test_what_the_first_step_forgets_is_asked_for_by_no_lag() -> None:
    steps = steps_of("head")
    steps.decay[0] = 0
    one, sources = linear(steps), drawn(len(ANCHORS), B, H * K * V, seed=5)
    assert one.norms_by_lag(sources, ANCHORS) is not None
    swept = slowly(one, sources, ANCHORS)
    torch.testing.assert_close(lag_norms(one, sources, ANCHORS), swept, equal_nan=True)


@KINDS
def test_beyond_the_budget_or_where_a_step_is_large_it_is_swept(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = drawn(len(ANCHORS), B, H * K * V, seed=5)
    assert linear(steps_of(kind), numbers=100).norms_by_lag(sources, ANCHORS) is None
    monkeypatch.setattr(pieces, "_MOST", 1)
    assert linear(steps_of(kind)).norms_by_lag(sources, ANCHORS) is None


@pytest.mark.parametrize("held", [1, 10**4])
def test_few_pieces_at_a_time_give_the_same(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, sources = linear(steps_of("delta of a head")), drawn(len(ANCHORS), B, H * K * V, seed=5)
    swept = slowly(one, sources, ANCHORS)
    monkeypatch.setattr(pieces, "_HELD", held)
    torch.testing.assert_close(lag_norms(one, sources, ANCHORS), swept, equal_nan=True)


@pytest.mark.parametrize("kind", ["delta of a head", "delta by key"])
@pytest.mark.parametrize("total", [1, 2, 16, 37])
def test_states_of_a_mixing_recurrence_are_those_one_by_one(kind: str, total: int) -> None:
    steps, state = steps_of(kind, total), drawn(B, H, K, V, seed=6)
    assert steps.left is not None
    assert steps.right is not None
    found = accumulate_mixing(steps.decay, steps.left, steps.right, steps.written(), state)
    for t, written in enumerate(steps.written().unbind(0)):
        state = steps.at(t).forward(state) + written
        torch.testing.assert_close(found[t], state)


@KINDS
@pytest.mark.parametrize("block", [T, 10, 1])
def test_the_adjoint_is_the_one_step_by_step(kind: str, block: int) -> None:
    one, direct = linear(steps_of(kind), block), drawn(T, B, H * K * V, seed=7)
    slow, later = torch.empty_like(direct), torch.zeros_like(direct[0])
    for t in reversed(range(T)):
        slow[t] = direct[t] + later
        later = one.vjp(t, slow[t])
    torch.testing.assert_close(one.adjoint(direct), slow)


def test_products_that_overflow_are_not_used() -> None:
    steps = steps_of("delta of a head")
    assert steps.right is not None
    wild = replace(steps, right=steps.right * 1e70, value=steps.value * 0)
    nothing = torch.zeros(B, H, K, V, dtype=torch.float64)
    assert wild.accumulated(wild.written(), nothing) is None


@KINDS
def test_gradients_of_the_steps_are_those_of_the_whole_formula(kind: str) -> None:
    steps = steps_of(kind)
    parts = {one.name: getattr(steps, one.name) for one in fields(steps)}
    leaves = {name: x.clone().requires_grad_() for name, x in parts.items() if x is not None}
    leaves.pop("query")  # which is read, and does not move the state
    asked = Steps(**leaves)
    total, before = drawn(T, B, H, K, V, seed=8), drawn(T, B, H, K, V, seed=9)
    long = (total * (asked.carried(before) + asked.written())).sum()
    expected = torch.autograd.grad(long, list(leaves.values()))
    found = torch.autograd.grad(asked.sent(total, before), list(leaves.values()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
