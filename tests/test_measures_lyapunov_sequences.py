"""Lyapunov exponents of sequences: cut, ragged, set anew, scattered, or not to be measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import normal
from lyapunov_models import BURN_IN, LOW, MEAN, STATISTICAL, B, H, I, T, made
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from worlds import captured, world

import throughtime as tt
from throughtime.measures import lyapunov
from throughtime.recurrences import Custom
from throughtime.trace import LayerTrace


def test_a_wall_stops_the_gradient_and_not_the_dynamics() -> None:
    model, x = made("GRU"), normal(T, B, I)
    whole = lyapunov(captured(model, x), burn_in=BURN_IN).values[:STATISTICAL]
    with tt.capture(model) as run:
        first, state = model(x[:30])
        second, _ = model(x[30:], state.detach())
        (first.sum() + second.sum()).backward()
    assert run.trace[0].walls == (30,)
    found = lyapunov(run.trace, burn_in=BURN_IN).values[:STATISTICAL]
    np.testing.assert_allclose(found, whole, rtol=1e-9)


LENGTHS = [60, 25, 41]


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
def test_ragged_sequences_are_measured_as_each_by_itself(reverse: bool) -> None:
    model = nn.GRU(I, H, bidirectional=True).double()
    x = normal(max(LENGTHS), len(LENGTHS), I)
    layer = int(reverse)
    alone = [
        lyapunov(captured(model, x[:length, b : b + 1]), layer, burn_in=10).values[MEAN]
        for b, length in enumerate(LENGTHS)
    ]
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), enforce_sorted=False)
    with tt.capture(model) as run:
        model(packed)[0].data.sum().backward()
    assert run.trace[layer].reverse is reverse
    figures = lyapunov(run.trace, layer, burn_in=10).values
    np.testing.assert_allclose(figures[MEAN], np.mean(alone, 0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(figures[LOW:STATISTICAL], [np.min(alone, 0), np.max(alone, 0)])


def test_a_sequence_that_is_too_short_is_left_out() -> None:
    model, x = made("GRU"), normal(60, 2, I)
    packed = pack_padded_sequence(x, torch.tensor([60, 12]))
    with tt.capture(model) as run:
        model(packed)[0].data.sum().backward()
    found = lyapunov(run.trace, burn_in=10)
    expected = lyapunov(captured(model, x[:, :1]), burn_in=10)
    np.testing.assert_allclose(found.values[:3], expected.values[:3], rtol=1e-6)
    assert "1 of 2 sequences" in found.how


def episodes(model: nn.Module, x: Tensor, resets: dict[int, int]) -> tt.Trace:
    """A loop over a cell that sets the state of sequence b to zero before step ``resets[b]``."""
    state = torch.zeros(x.shape[1], H, dtype=torch.float64)
    with tt.capture(model) as run:
        total = torch.zeros(())
        for t, read in enumerate(x):
            keep = torch.ones(x.shape[1], 1, dtype=torch.float64)
            for b, step in resets.items():
                keep[b] = 0.0 if t == step else 1.0
            state = model(read, state * keep)
            total = total + state.sum()
        total.backward()
    return run.trace


def test_a_sequence_that_is_set_anew_is_left_out() -> None:
    cell, x = nn.GRUCell(I, H).double(), normal(60, 2, I)
    found = lyapunov(episodes(cell, x, {1: 30}), burn_in=10)
    expected = lyapunov(episodes(cell, x[:, :1], {}), burn_in=10)
    np.testing.assert_allclose(found.values[:3], expected.values[:3], rtol=1e-6)
    assert "1 of 2 sequences" in found.how


def multiplied(logs: Tensor) -> LayerTrace:
    """``s' = e^x s``, whose log-gain at each step is its input (T B)."""
    cell = Custom(lambda state, x: state * x.exp(), 1)
    return world(cell, logs.unsqueeze(-1), torch.ones(logs.shape[1], 1).double(),
                 torch.zeros(*logs.shape, 1).double())  # fmt: skip  # a list, not a column


@pytest.mark.parametrize(
    ("sequences", "between", "within"),
    [(40, 0.0, 0.3), (40, 0.3, 0.0), (1, 0.0, 0.3)],
    ids=["steps differ", "sequences differ", "one sequence"],
)
def test_the_statistical_error_is_that_of_what_scatters(
    sequences: int, between: float, within: float
) -> None:
    steps = 100
    logs = between * normal(1, sequences, seed=1) + within * normal(steps, sequences, seed=2)
    found = lyapunov(multiplied(logs), burn_in=0).values[STATISTICAL, 0]
    expected = math.hypot(between / math.sqrt(sequences), within / math.sqrt(steps * sequences))
    assert found == pytest.approx(expected, rel=0.25 if sequences > 1 else 0.5)


def test_a_padded_sequence_that_is_read_from_its_end_begins_after_the_padding() -> None:
    logs = normal(60, 2)
    layer = replace(multiplied(logs), reverse=True, lengths=(60, 30))
    expected = [logs[10:, 0].mean(), logs[30 + 10 :, 1].mean()]
    figures = lyapunov(layer, burn_in=10).values[:3, 0]
    np.testing.assert_allclose(figures, [np.mean(expected), min(expected), max(expected)])


def test_a_run_that_is_not_finite_has_no_exponents() -> None:
    logs = torch.zeros(60, 2).double()
    logs[30, 1] = math.nan
    assert np.isnan(lyapunov(multiplied(logs)).values).all()


def test_a_measurement_says_what_it_is() -> None:
    found = lyapunov(captured(made("LSTM"), normal(T, B, I)), k=5)
    assert (found.axes, found.values.shape) == (("figure", "exponent"), (5, 5))
    assert found.coords["exponent"] == (1, 2, 3, 4, 5)
    assert "2 of 2 sequences, after a burn-in of 20 steps" in found.how


def test_no_random_number_is_taken_from_the_user() -> None:
    trace = captured(made("GRU"), normal(40, B, I))
    before = torch.get_rng_state()
    lyapunov(trace)
    assert torch.equal(torch.get_rng_state(), before)


def marked() -> tt.Trace:
    with tt.capture(nn.Linear(1, 1)) as run:
        state = torch.zeros(1, 2, requires_grad=True)
        for _ in range(20):
            state = torch.tanh(state + 1)
            run.mark(state, "mine")
        state.sum().backward()
    return run.trace


def both_set_anew() -> tt.Trace:
    return episodes(nn.GRUCell(I, H).double(), normal(40, 2, I), {0: 15, 1: 25})


REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "several layers": (
        lambda: lyapunov(captured(nn.GRU(I, H, 2), torch.randn(30, 1, I))),
        tt.InputError, "choose one with layer=",
    ),
    "unknown layer": (
        lambda: lyapunov(captured(nn.GRU(I, H), torch.randn(30, 1, I)), "nope"),
        tt.InputError, "unknown layer 'nope'",
    ),
    "too short": (
        lambda: lyapunov(captured(nn.GRU(I, H), torch.randn(8, 1, I))),
        tt.InputError, "8 steps, 1 of them burn-in",
    ),
    "burn-in too long": (
        lambda: lyapunov(captured(nn.GRU(I, H), torch.randn(30, 1, I)), burn_in=25),
        tt.InputError, "30 steps, 25 of them burn-in",
    ),
    "no exponent": (
        lambda: lyapunov(captured(nn.GRU(I, H), torch.randn(30, 1, I)), k=0),
        tt.InputError, "k must be at least 1, not 0",
    ),
    "no interval": (
        lambda: lyapunov(captured(nn.GRU(I, H), torch.randn(30, 1, I)), interval=0),
        tt.InputError, "interval must be at least 1, not 0",
    ),
    "marked": (lambda: lyapunov(marked()), tt.UnsupportedError, "have no tangent"),
    "set anew": (lambda: lyapunov(both_set_anew()), tt.InputError, "every sequence of layer"),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_measured_is_refused_in_a_sentence(name: str) -> None:
    call, kind, sentence = REFUSED[name]
    with pytest.raises(kind, match=sentence):
        call()
