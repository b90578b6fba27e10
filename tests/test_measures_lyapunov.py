"""Lyapunov exponents: against QR at every step of Jacobians by autograd, and in known worlds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import normal
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from worlds import captured, fixed_point_world, linear_world, relu_world, world

import throughtime as tt
from throughtime.measures import lyapunov
from throughtime.recurrences import Custom, Elman
from throughtime.sweeps import random_frame
from throughtime.trace import LayerTrace

T, B, I, H = 100, 2, 4, 12
BURN_IN = 20
MEAN, LOW, HIGH, STATISTICAL, NUMERICAL = range(5)
CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}


def gained(kind: str, gain: float) -> nn.RNNBase:
    """W_hh Gaussian, of spectral radius about ``gain`` (per gate); the rest as torch draws it."""
    model = getattr(nn, kind)(I, H).double()
    with torch.no_grad():
        model.weight_hh_l0.copy_(gain * normal(*model.weight_hh_l0.shape, seed=7) / math.sqrt(H))
    return model


def biased(forget: float) -> nn.LSTM:
    model = nn.LSTM(I, H).double()
    with torch.no_grad():
        model.bias_ih_l0[H : 2 * H], model.bias_hh_l0[H : 2 * H] = forget, 0.0
    return model


MODELS: dict[str, Callable[[], nn.RNNBase]] = {
    "RNN": lambda: nn.RNN(I, H).double(),
    "LSTM": lambda: nn.LSTM(I, H).double(),
    "GRU": lambda: nn.GRU(I, H).double(),
    **{f"{kind}, g={g}": lambda kind=kind, g=g: gained(kind, g)
       for kind in CELLS for g in (0.5, 1.0, 1.5, 3.0)},
    "LSTM, forget bias +5": lambda: biased(5.0),
    "LSTM, forget bias -3": lambda: biased(-3.0),
}  # fmt: skip  # rows of a table


def made(name: str) -> nn.RNNBase:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return MODELS[name]()


def jacobians(model: nn.RNNBase, x: Tensor, states: Tensor) -> Tensor:
    """∂s_t/∂s_{t−1} of the joint state (T B S S), by autograd through torch's own cell.

    Along the states of the run: in a chaotic network rounding alone makes another trajectory.
    """
    kind = type(model).__name__
    settings = {"nonlinearity": model.nonlinearity} if kind == "RNN" else {}
    cell = CELLS[kind](I, H, dtype=torch.float64, **settings)
    cell.load_state_dict({name[:-3]: weight for name, weight in model.state_dict().items()})

    def step(state: Tensor, read: Tensor) -> Tensor:
        parts = tuple(state[None].chunk(2, -1)) if kind == "LSTM" else state[None]
        after = cell(read[None], parts)
        return (torch.cat(after, -1) if kind == "LSTM" else after)[0]

    before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    each = torch.func.vmap(torch.func.vmap(torch.func.jacrev(step)))
    return each(before, x).detach()


def by_qr_at_every_step(products: Tensor, burn_in: int = BURN_IN) -> np.ndarray:
    """mean log |R_ii| (B S)."""
    batch, size = products.shape[1:3]
    q, logs = random_frame(size, batch, size).permute(1, 2, 0), []
    for product in products:
        q, r = torch.linalg.qr(product @ q)
        logs.append(r.diagonal(dim1=-2, dim2=-1).abs().log())
    return torch.stack(logs)[burn_in:].mean(0).numpy()


def promised(exponents: np.ndarray) -> np.ndarray:
    """The numerical error that is promised: 1 %, or 1e-3 nats where the exponent is near 0."""
    return np.maximum(1e-3, 0.01 * np.abs(exponents))


@pytest.mark.parametrize("name", MODELS)
def test_every_exponent_is_that_of_qr_at_every_step(name: str) -> None:
    model, x = made(name), normal(T, B, I)
    layer = captured(model, x)[0]
    expected = by_qr_at_every_step(jacobians(model, x, layer.states))
    figures = lyapunov(layer, k=None, burn_in=BURN_IN).values
    wanted = np.stack([expected.mean(0), expected.min(0), expected.max(0)])
    np.testing.assert_allclose(figures[:3], wanted, rtol=0, atol=1e-5)
    assert (figures[NUMERICAL] <= promised(figures[MEAN])).all()


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "GRU, g=3.0"])
def test_a_run_in_float32_has_the_exponents_of_its_own_trajectory(name: str) -> None:
    model, x = made(name), normal(T, B, I)
    layer = captured(model.float(), x.float())[0]
    products = jacobians(model.double(), x.float().double(), layer.states.double())
    expected = by_qr_at_every_step(products).mean(0)
    found = lyapunov(layer, k=None, burn_in=BURN_IN)
    np.testing.assert_allclose(found.values[MEAN], expected, rtol=0, atol=1e-5)
    assert "in float64" in found.how


@pytest.mark.parametrize("interval", [1, 3, 1000])
@pytest.mark.parametrize("kind", CELLS)
def test_no_interval_changes_the_exponents(kind: str, interval: int) -> None:
    trace = captured(made(kind), normal(T, B, I))
    free, held = (lyapunov(trace, k=None, interval=n).values[:3] for n in (None, interval))
    np.testing.assert_allclose(held, free, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", CELLS)
def test_the_leading_ones_are_the_first_of_all(kind: str) -> None:
    trace = captured(made(kind), normal(T, B, I))
    leading, every = lyapunov(trace, k=3).values, lyapunov(trace, k=None).values
    np.testing.assert_allclose(leading[:3], every[:3, :3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_their_sum_is_the_mean_log_determinant(kind: str) -> None:
    model, x = made(kind), normal(T, B, I)
    layer = captured(model, x)[0]
    products = jacobians(model, x, layer.states)[BURN_IN:]
    expected = torch.linalg.slogdet(products)[1].mean().item()
    found = lyapunov(layer, k=None, burn_in=BURN_IN).values[MEAN].sum()
    assert found == pytest.approx(expected, rel=1e-6)


def test_an_lstm_has_the_exponent_of_its_joint_state_not_that_of_h() -> None:
    """With forget bias +5 the cell keeps its state; what is computed from h is off by bits."""
    model, x = made("LSTM, forget bias +5"), normal(T, B, I)
    layer = captured(model, x)[0]
    products = jacobians(model, x, layer.states)
    joint = by_qr_at_every_step(products)[:, 0].mean()
    of_h = by_qr_at_every_step(products[..., :H, :H])[:, 0].mean()
    found = lyapunov(layer, k=1, burn_in=BURN_IN).values[MEAN, 0]
    assert found == pytest.approx(joint, abs=1e-9)
    assert (found - of_h) / math.log(2) > 2.5  # bits per step


# THEORY: N = 200, W Gaussian of gain g, tanh: (no input, input N(0, 1), input N(0, 4)), nats.
TABLE = {
    0.5: (-0.677, -1.096, -1.393),
    0.9: (-0.089, -0.551, -0.824),
    1.0: (0.000, -0.459, -0.721),
    1.5: (0.062, -0.144, -0.361),
    2.0: (0.153, 0.043, -0.125),
    3.0: (0.301, 0.256, 0.159),
}


@pytest.mark.parametrize("deviation", [0, 1, 2])
@pytest.mark.parametrize("gain", TABLE)
def test_the_largest_exponent_of_a_random_network(gain: float, deviation: int) -> None:
    """A radius of 1.5 still vanishes under input. Without, it follows the radius of the draw."""
    size, steps = 200, 800
    weight = gain * normal(size, size, seed=2) / math.sqrt(size)
    cell = Elman(torch.eye(size, dtype=torch.float64), weight)
    inputs = deviation * normal(steps, 1, size, seed=1)
    trace = world(cell, inputs, normal(1, size), torch.zeros(steps, 1, size, dtype=torch.float64))
    found = lyapunov(trace, k=1, burn_in=200).values[MEAN, 0]
    assert found == pytest.approx(TABLE[gain][deviation], abs=0.025)


def test_a_scalar_chain() -> None:
    """h' = tanh(a h + b x + c): the mean of ln |a (1 − h'²)|."""
    a, b, c = 1.4, 0.7, 0.2
    cell = Elman(*(torch.tensor(w, dtype=torch.float64) for w in ([[b]], [[a]], [c])))
    x = normal(T, 1, 1)
    trace = world(cell, x, torch.zeros(1, 1).double(), torch.zeros(T, 1, 1).double())
    slopes = (a * (1 - trace.states.square())).abs().log()
    found = lyapunov(trace, burn_in=BURN_IN).values[MEAN]
    np.testing.assert_allclose(found, [slopes[BURN_IN:].mean().item()], rtol=1e-12)


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(normal(size, size))[0]


ONE = torch.ones(2, dtype=torch.float64)
WORLDS: dict[str, tuple[Callable[[], LayerTrace], list[float]]] = {
    "orthogonal": (lambda: linear_world(rotation(4), 40, torch.ones(4).double()), [0.0] * 4),
    "diag(2, 0.3)": (
        lambda: linear_world(torch.diag(torch.tensor([2.0, 0.3]).double()), 60, ONE),
        [math.log(2.0), math.log(0.3)],
    ),
    "nilpotent W at its fixed point": (
        lambda: fixed_point_world(30), [math.log(2.0), -math.inf],
    ),
    "1e-3 times identity": (lambda: relu_world(1e-3, 60, torch.float64), [math.log(1e-3)] * 4),
    "1e3 times identity": (lambda: relu_world(1e3, 60, torch.float64), [math.log(1e3)] * 4),
    "every ReLU dead": (lambda: relu_world(0.0, 60, torch.float64), [-math.inf] * 4),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_with_known_exponents(name: str) -> None:
    make, expected = WORLDS[name]
    np.testing.assert_allclose(lyapunov(make(), k=None).values[MEAN], expected, atol=1e-6)


def test_a_world_in_float32_alone_has_its_leading_exponent() -> None:
    found = lyapunov(relu_world(0.5, 60), k=1)
    assert found.values[MEAN, 0] == pytest.approx(math.log(0.5), rel=1e-6)
    assert "in float32" in found.how


@pytest.mark.parametrize("dead", [0, H // 2])
def test_a_relu_network_has_no_more_exponents_than_units_alive_at_once(dead: int) -> None:
    """The rank of the product is that of its poorest step."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.RNN(I, H, nonlinearity="relu").double()
    with torch.no_grad():
        model.bias_ih_l0[:], model.bias_hh_l0[:] = 1.0, 0.0
        model.bias_hh_l0[:dead] = -100.0
    x = normal(40, 1, I)
    layer = captured(model, x)[0]
    products = jacobians(model, x, layer.states)
    rank = int((layer.states > 0).sum(-1).min())
    figures = lyapunov(layer, k=None, burn_in=BURN_IN).values
    expected = by_qr_at_every_step(products)[0, :rank]
    assert 0 < rank < H
    np.testing.assert_allclose(figures[MEAN, :rank], expected, rtol=0, atol=1e-5)
    assert np.isneginf(figures[MEAN, rank:]).all()
    assert np.isnan(figures[STATISTICAL:, rank:]).all()


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
        tt.InputError, "no layer 'nope'",
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
