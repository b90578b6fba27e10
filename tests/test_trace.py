"""The trace itself: time turned round, steps alive, the check, names, and what it prints."""

import math

import pytest
import torch
from cases import B, H, I, T, normal
from hypothesis import given
from hypothesis import strategies as st
from test_recurrences import cell
from torch import nn

import throughtime as tt
from throughtime.sweeps import adjoint
from throughtime.trace import LayerTrace, Link, Trace, relative_difference, steps_alive, turn

LENGTHS = st.one_of(st.none(), st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple))


def ramp(lengths: tuple[int, ...] | None) -> torch.Tensor:
    """(T B), every entry its own number."""
    steps, batch = (6, 3) if lengths is None else (max(lengths), len(lengths))
    return torch.arange(steps * batch).reshape(steps, batch)


@given(LENGTHS)
def test_to_turn_twice_is_to_turn_back(lengths: tuple[int, ...] | None) -> None:
    values = ramp(lengths)
    assert torch.equal(turn(turn(values, lengths), lengths), values)


@given(LENGTHS)
def test_each_sequence_is_read_from_its_own_end(lengths: tuple[int, ...] | None) -> None:
    values = ramp(lengths)
    turned = turn(values, lengths)
    for b, length in enumerate(lengths or (len(values),) * values.shape[1]):
        assert turned[:length, b].tolist() == values[:length, b].tolist()[::-1]
        assert turned[length:, b].tolist() == values[length:, b].tolist()


@given(LENGTHS)
def test_as_many_steps_are_alive_as_a_sequence_is_long(lengths: tuple[int, ...] | None) -> None:
    steps, batch = ramp(lengths).shape
    alive = steps_alive(steps, batch, lengths, torch.device("cpu"))
    assert alive.shape == (steps, batch)
    assert alive.sum(0).tolist() == list(lengths or (steps,) * batch)


DIFFERENCES = {
    "equal": ([1.0, 2.0], [1.0, 2.0], 0.0),
    "a tenth": ([3.3, 4.4], [3.0, 4.0], 0.1),
    "nothing and nothing": ([0.0], [0.0], 0.0),
    "empty": ([], [], 0.0),
    "something for nothing": ([1e-30], [0.0], math.inf),
    "squares beyond float64": ([1.1e300, 0.0], [1e300, 0.0], 0.1),
    "squares below float64": ([1.1e-300, 0.0], [1e-300, 0.0], 0.1),
    "not a number": ([math.nan], [1.0], math.nan),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_relative_difference(name: str) -> None:
    value, reference, wanted = DIFFERENCES[name]
    found = relative_difference(
        torch.tensor(value, dtype=torch.float64), torch.tensor(reference, dtype=torch.float64)
    )
    assert found == pytest.approx(wanted, rel=1e-12, nan_ok=True)


def layer(name: str = "rnn", reverse: bool = False, **settings: object) -> LayerTrace:
    """The trace of an LSTM, with a parameter gradient that fits its gradients."""
    ours = cell("LSTM").ours
    before = normal(T, B, 2 * H)
    linear = ours.linearise(before, normal(T, B, I))
    direct = normal(T, B, 2 * H, seed=3)
    gradients = linear.adjoint(direct)
    fitting = linear.recurrent_weight_gradient(gradients)
    made = LayerTrace(name, "LSTM", ours.parts, before, direct, gradients, linear, reverse)
    settings = {"parameter_gradient": fitting} | settings
    for key, value in settings.items():
        object.__setattr__(made, key, value)
    return made.in_sequence_time() if reverse else made


CHECKED = {
    "fits": ({}, 0.0, ""),
    "reverse": ({"reverse": True}, 0.0, ""),
    "rebuilt elsewhere": ({"rebuilt_gradient": torch.zeros(4 * H, H)}, 1.0, ""),
    "no gradient": ({"parameter_gradient": None}, None, "no gradient to compare with"),
    "a reason": (
        {"parameter_gradient": None, "unchecked_because": "it was changed"},
        None,
        "it was changed",
    ),
    "underflowed": (
        {"parameter_gradient": torch.full((4 * H, H), 1e-306, dtype=torch.float64)},
        None,
        "underflowed",
    ),
    "not finite": ({"rebuilt_gradient": torch.full((4 * H, H), math.nan)}, None, "not finite"),
}


@pytest.mark.parametrize("name", CHECKED)
def test_the_check_is_a_number_or_a_reason(name: str) -> None:
    settings, wanted, reason = CHECKED[name]
    made = layer(**settings)
    assert made.verified == pytest.approx(wanted, abs=1e-14)
    assert reason in made.unverified_because
    assert bool(made.unverified_because) is (wanted is None)


def test_a_wrong_gradient_is_seen_by_the_check() -> None:
    made = layer()
    made.gradients[2, 1, 0] += 0.1
    assert made.verified is not None
    assert made.verified > 1e-4


def test_a_recurrence_without_a_recurrent_weight_says_so() -> None:
    made = layer()

    class Weightless(type(made.linear)):
        def recurrent_weight_gradient(self, rows: torch.Tensor) -> None:
            return None

    made.linear.__class__ = Weightless
    assert made.verified is None
    assert "no recurrent weight" in made.unverified_because


def test_parts_by_name() -> None:
    made = layer()
    assert (made.part("s"), made.part("h")) == (slice(None), slice(0, H))
    assert made.part("c") == slice(H, 2 * H)
    with pytest.raises(tt.InputError, match=r"layer 'rnn': unknown part 'x'; choose from: s, h, c"):
        made.part("x")


def test_lengths_that_are_known_later() -> None:
    made = layer().with_lengths((5, 2, 3))
    assert made.alive().sum(0).tolist() == [5, 2, 3]
    assert (made.steps, made.batch) == (T, B)


def test_a_trace_is_a_row_of_named_layers() -> None:
    below, above = layer("below"), layer("above")
    trace = Trace((below, above), (Link(("below",), "above"),))
    assert trace.names == ("below", "above")
    assert (len(trace), list(trace)) == (2, [below, above])
    assert trace["above"] is trace[1] is above
    with pytest.raises(tt.InputError, match="unknown layer 'x'; choose from: below, above"):
        _ = trace["x"]


def test_what_it_prints() -> None:
    seen, unseen = layer("lstm"), layer("lstm (2)", parameter_gradient=None)
    assert repr(Trace((seen, unseen))) == (
        "Trace(\n"
        "  LayerTrace(lstm: LSTM, T=5 B=3 S=8, verified 0e+00),\n"
        "  LayerTrace(lstm (2): LSTM, T=5 B=3 S=8, not verified),\n"
        ")"
    )
    mask = torch.ones(T, B, H)
    assert repr(Link(("a", "b"), "c", mask)) == "Link(a + b -> c, through dropout)"
    assert repr(Link(("a",), "c")) == "Link(a -> c)"


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_some_sequences_of_a_layer_are_a_layer(kind: str) -> None:
    model = getattr(nn, kind)(3, 4, bidirectional=True).double()
    x = nn.utils.rnn.pack_padded_sequence(
        torch.randn(6, 5, 3, dtype=torch.float64), [6, 5, 5, 3, 1]
    )
    with tt.capture(model) as run:
        model(x)[0].data.square().sum().backward()
    for layer in run.trace:
        some = layer.some(2)
        assert (some.batch, some.lengths, some.verified) == (2, (6, 1), None)
        again = adjoint(some.linear, some.turned(some.direct))
        torch.testing.assert_close(some.turned(again), layer.gradients[:, [0, 4]])
        assert layer.some(5) is layer
