"""``RecurrentLayer``, for every cell of ours: what a call may be given, and what it gives back.

A layer is checked against itself: what is packed against each sequence alone, a stack against its
layers one by one, the second direction against the first on a sequence turned round.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from cases import normal
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

import throughtime as tt
from throughtime.cells import CELLS, JANET, IndRNN, RecurrentLayer, make_cell

T, B, I, H = 6, 3, 3, 4
LENGTHS = {"sorted": (6, 4, 1), "unsorted": (2, 6, 3)}
OURS = [
    name
    for name, kind in CELLS.items()
    if isinstance(kind, type) and issubclass(kind, RecurrentLayer)
]
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def layer(name: str, **settings: Any) -> RecurrentLayer:
    made = make_cell(name, I, H, dtype=torch.float64, **settings)
    assert isinstance(made, RecurrentLayer)
    return made


def parts(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else state


def initial(one: RecurrentLayer, batch: tuple[int, ...] = (B,)) -> Any:
    count = one.directions * one.num_layers
    drawn = tuple(normal(count, *batch, H, seed=7 + n) for n in range(len(one.parts)))
    return drawn if len(drawn) > 1 else drawn[0]


def gradients(one: RecurrentLayer, output: Tensor) -> list[Tensor]:
    weights = list(one.parameters())
    return list(torch.autograd.grad(output.square().sum(), weights, materialize_grads=True))


def test_there_is_a_cell_of_every_name_of_the_field() -> None:
    wanted = "janet indrnn antisymmetric cornn lem mingru lru orthogonal"
    assert wanted.split() == OURS


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_reads_and_gives_as_an_lstm(name: str) -> None:
    made = make_cell(name, I, H, num_layers=2, bidirectional=True, dropout=0.1, batch_first=True)
    output, state = made(torch.zeros(B, T, I))
    assert output.shape == (B, T, 2 * H)
    assert {tuple(part.shape) for part in parts(state)} == {(4, B, H)}


@pytest.mark.parametrize("name", OURS)
def test_batch_first_is_the_other_order_of_axes(name: str) -> None:
    one, x = layer(name, num_layers=2), normal(T, B, I)
    other = layer(name, num_layers=2, batch_first=True)
    other.load_state_dict(one.state_dict())
    (output, state), (turned, same) = one(x), other(x.transpose(0, 1))
    torch.testing.assert_close(turned.transpose(0, 1), output, **CLOSE)
    torch.testing.assert_close(parts(same), parts(state), **CLOSE)


@pytest.mark.parametrize("name", OURS)
def test_no_batch_is_a_batch_of_one(name: str) -> None:
    one, x = layer(name, num_layers=2, bidirectional=True), normal(T, I)
    state = initial(one, ())
    output, final = one(x, state)
    batch = tuple(part.unsqueeze(1) for part in parts(state))
    wanted, wanted_final = one(x.unsqueeze(1), batch if len(batch) > 1 else batch[0])
    torch.testing.assert_close(output, wanted.squeeze(1), **CLOSE)
    torch.testing.assert_close(parts(final), [p.squeeze(1) for p in parts(wanted_final)], **CLOSE)


@pytest.mark.parametrize("order", LENGTHS)
@pytest.mark.parametrize("name", OURS)
def test_a_packed_sequence_is_each_of_its_sequences_alone(name: str, order: str) -> None:
    one = layer(name, num_layers=2, bidirectional=True)
    sequences = [normal(n, I, seed=n) for n in LENGTHS[order]]
    packed, final = one(pack_sequence(sequences, enforce_sorted=False), initial(one))
    assert isinstance(packed, PackedSequence)
    padded, lengths = pad_packed_sequence(packed)
    assert tuple(lengths.tolist()) == LENGTHS[order]
    alone = []
    for b, sequence in enumerate(sequences):
        state = tuple(part[:, b] for part in parts(initial(one)))
        output, last = one(sequence, state if len(state) > 1 else state[0])
        alone.append(output)
        torch.testing.assert_close(padded[: len(sequence), b], output, **CLOSE)
        torch.testing.assert_close([p[:, b] for p in parts(final)], list(parts(last)), **CLOSE)
    found, wanted = gradients(one, packed.data), gradients(one, torch.cat(alone))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OURS)
def test_a_stack_is_its_layers_one_by_one_and_a_direction_is_a_turned_sequence(name: str) -> None:
    stack, x, state = layer(name, num_layers=2, bidirectional=True), normal(T, B, I), None
    state = parts(initial(stack))
    output, final = stack(x, state if len(state) > 1 else state[0])
    finals: list[tuple[Tensor, ...]] = []
    for level in range(2):
        sides = []
        for direction, suffix in enumerate(("", "_reverse")):
            single = make_cell(name, x.shape[-1], H, dtype=torch.float64)
            given = {
                key.replace(f"_l{level}{suffix}", "_l0"): value
                for key, value in stack.state_dict().items()
                if re.search(rf"_l{level}{suffix}(\.|$)", key)
            }
            single.load_state_dict(given)
            index = slice(2 * level + direction, 2 * level + direction + 1)
            begin = tuple(part[index] for part in state)
            turned = x.flip(0) if direction else x
            side, last = single(turned, begin if len(begin) > 1 else begin[0])
            sides.append(side.flip(0) if direction else side)
            finals.append(parts(last))
        x = torch.cat(sides, -1)
    torch.testing.assert_close(output, x, **CLOSE)
    wanted = [torch.cat(same) for same in zip(*finals, strict=True)]
    torch.testing.assert_close(list(parts(final)), wanted, **CLOSE)


@pytest.mark.parametrize("name", OURS)
def test_a_state_carried_over_is_the_whole_sequence(name: str) -> None:
    one, x = layer(name, num_layers=2), normal(T, B, I)
    whole, end = one(x)
    first, state = one(x[:2])
    second, last = one(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, **CLOSE)
    torch.testing.assert_close(parts(last), parts(end), **CLOSE)
    found, wanted = gradients(one, torch.cat([first, second])), gradients(one, whole)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_dropout_is_between_the_layers_and_while_training_alone() -> None:
    one, x = layer("janet", num_layers=2, dropout=0.5), normal(T, B, I)
    first, second = one(x)[0], one(x)[0]
    assert not torch.equal(first, second)
    one.eval()
    assert torch.equal(one(x)[0], one(x)[0])
    single = layer("janet", dropout=0.5)
    assert torch.equal(single(x)[0], single(x)[0])


@pytest.mark.parametrize("name", ["janet", "mingru"])
def test_where_all_is_dropped_the_upper_layer_reads_zeros(name: str) -> None:
    one, x = layer(name, num_layers=2, dropout=1.0), normal(T, B, I)
    assert torch.equal(one(x)[0], one(normal(T, B, I, seed=9))[0])


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_are_named_as_torch_names_them(bias: bool) -> None:
    one = layer("janet", num_layers=2, bidirectional=True, bias=bias)
    suffixes = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    names = ("weight_ih", "weight_hh", "bias") if bias else ("weight_ih", "weight_hh")
    assert [n for n, _ in one.named_parameters()] == [n + s for s in suffixes for n in names]


@pytest.mark.parametrize("name", OURS)
def test_a_copy_and_a_state_dict_are_the_same_layer(name: str) -> None:
    one, x = layer(name, num_layers=2), normal(T, B, I)
    other = layer(name, num_layers=2)
    other.load_state_dict(one.state_dict(), strict=True)
    assert torch.equal(one(x)[0], other(x)[0])
    assert torch.equal(one(x)[0], copy.deepcopy(one)(x)[0])


def test_its_repr_says_what_is_not_the_default() -> None:
    assert repr(IndRNN(3, 4)) == "IndRNN(3, 4)"
    made = JANET(3, 4, num_layers=2, bias=False, dropout=0.1, bidirectional=True, beta=0.5)
    wanted = "JANET(3, 4, num_layers=2, bias=False, dropout=0.1, bidirectional=True, beta=0.5)"
    assert repr(made) == wanted


WRONG: dict[str, tuple[Any, ...]] = {
    "JANET reads 3 features, and its input has 5 (shape (6, 3, 5)): the last axis must be 3": (
        torch.zeros(T, B, 5, dtype=torch.float64),
    ),
    "JANET reads (T B I), (T I) without a batch, or a PackedSequence, and got shape (3,)": (
        torch.zeros(3, dtype=torch.float64),
    ),
    "JANET reads (T B I), (T I) without a batch, or a PackedSequence, and got list": ([1.0],),
    "JANET got a sequence of 0 steps (shape (0, 3, 3)): pass at least one": (
        torch.zeros(0, B, I, dtype=torch.float64),
    ),
    "JANET has weights of torch.float64, and its input is torch.float32: convert it with "
    "x.to(torch.float64)": (torch.zeros(T, B, I),),
    "JANET starts from a state h of shape (1, 3, 4), and got (1, 2, 4)": (
        normal(T, B, I), torch.zeros(1, 2, H),
    ),
    "JANET has a state of 1 parts (h), and got 2": (
        normal(T, B, I), (torch.zeros(1, B, H), torch.zeros(1, B, H)),
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("sentence", WRONG)
def test_what_does_not_fit_is_refused_in_one_line(sentence: str) -> None:
    with pytest.raises(tt.InputError) as caught:
        layer("janet")(*WRONG[sentence])
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_layers": 0}, "JANET: num_layers must be a whole number of at least 1, not 0"),
        ({"hidden_size": 2.5}, "JANET: hidden_size must be a whole number of at least 1, not 2.5"),
        ({"dropout": 1.5}, "JANET: dropout is a probability between 0 and 1, not 1.5"),
        ({"t_max": 2}, "JANET: t_max is a number of steps above 2, not 2"),
    ],
)
def test_options_that_no_layer_has(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(tt.InputError, match=re.escape(sentence)):
        JANET(**{"input_size": I, "hidden_size": H} | options)


def test_an_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(tt.InputError, match="unknown cell 'lstmm'; did you mean 'lstm'"):
        make_cell("lstmm", I, H)


@pytest.mark.parametrize("name", ["janet", "lstm"])
def test_a_setting_that_a_cell_has_not(name: str) -> None:
    with pytest.raises(tt.InputError, match=f"cell '{name}' does not take these settings"):
        make_cell(name, I, H, gamma=1.0)


def test_an_indrnn_starts_within_its_span_and_its_last_layer_near_one() -> None:
    made = IndRNN(3, 500, num_layers=2, span=10)
    bound = 2 ** (1 / 10)
    ranges = [(0.0, bound), (1 / bound, bound)]
    for weight, (low, high) in zip((made.weight_hh_l0, made.weight_hh_l1), ranges, strict=True):
        spread = high - low
        assert low <= weight.min() < low + 0.05 * spread
        assert high - 0.05 * spread < weight.max() <= high


@pytest.mark.parametrize("span", [1, 100])
def test_constrained_an_indrnn_amplifies_at_most_twice_over_its_span(span: int) -> None:
    made = IndRNN(3, 4, num_layers=2, bidirectional=True)
    before = made.weight_ih_l0.clone()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.startswith("weight_hh"):
                weight.copy_(torch.tensor([5.0, -5.0, 0.3, -0.3]))
    made.constrain_(span)
    for name, weight in made.named_parameters():
        if name.startswith("weight_hh"):
            wanted = torch.tensor([2.0, -2.0]).abs() ** (1 / span) * torch.tensor([1.0, -1.0])
            torch.testing.assert_close(
                weight.detach(), torch.cat([wanted, torch.tensor([0.3, -0.3])])
            )
    assert torch.equal(made.weight_ih_l0, before)


@pytest.mark.parametrize("span", [0, -3])
def test_a_span_below_one_step_is_refused(span: int) -> None:
    with pytest.raises(tt.InputError, match="give a whole number of steps, from 1"):
        IndRNN(3, 4, span=span)
    with pytest.raises(tt.InputError, match="give a whole number of steps, from 1"):
        IndRNN(3, 4).constrain_(span)


@pytest.mark.parametrize("t_max", [None, 100.0])
def test_a_janet_forgets_at_the_time_scales_that_it_was_given(t_max: float | None) -> None:
    made = JANET(3, 1000, t_max=t_max)
    forget, candidate = made.bias_l0.detach().chunk(2)
    assert not candidate.any()
    scales = forget.exp()
    if t_max is None:
        assert torch.equal(forget, torch.ones(1000))
    else:
        assert 1 <= scales.min() < 3
        assert 95 < scales.max() <= 99
        assert 45 < scales.mean() < 55


def test_chrono_is_for_a_janet_too() -> None:
    made = tt.remedies.chrono_(JANET(3, 500), t_max=50)
    scales = made.bias_l0.detach().chunk(2)[0].exp()
    assert 1 <= scales.min() < scales.max() <= 49


@pytest.mark.parametrize("name", OURS)
def test_it_trains(name: str) -> None:
    """So many steps of Adam bring the error of summing the inputs up so far down by half."""
    made, readout = make_cell(name, 1, 16), nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*made.parameters(), *readout.parameters()], 1e-2)
    x = normal(20, 16, 1).float()
    target, errors = x.cumsum(0) / 4, []
    for _ in range(150):
        optimizer.zero_grad()
        error = (readout(made(x)[0]) - target).square().mean()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert min(errors) < errors[0] / 2
