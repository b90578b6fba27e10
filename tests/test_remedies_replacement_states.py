"""Around a cell that ``replace_`` put in place no state is lost on the way, or it is told."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import normal
from torch import Tensor, nn
from user_models import MODELS, TORCHS, WINDOW, B, H, I, LanguageModel, Packed, T, changed

from throughtime.cells import CELLS
from throughtime.errors import InputError
from throughtime.remedies.replacement.stand_in import CarriedState

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
# One caller of each kind: of torch's and of ours, of one tensor and of a pair.
CALLED = [(before, after) for before in ("rnn", "lstm", "janet", "lem", "lru") for after in CELLS]
TORCHS_CALLED = [pair for pair in CALLED if pair[0] in TORCHS]


@pytest.mark.parametrize(("before", "after"), CALLED)
def test_a_carried_state_goes_on_as_if_the_sequence_were_whole(before: str, after: str) -> None:
    model = changed(LanguageModel, before, after)
    x = normal(T, B, I)
    whole = model.head(model.rnn(model.embedding(x))[0])
    torch.testing.assert_close(model(x), whole, **CLOSE)


@pytest.mark.parametrize(("before", "after"), TORCHS_CALLED)
def test_the_gradient_goes_through_a_state_that_was_not_detached(before: str, after: str) -> None:
    model = changed(MODELS["whole"], before, after)
    x = normal(T, B, I).requires_grad_()
    (through,) = torch.autograd.grad(model(x)[-1].sum(), x)
    whole = model.head(model.rnn(model.embedding(x))[0])
    (wanted,) = torch.autograd.grad(whole[-1].sum(), x)
    torch.testing.assert_close(through, wanted, **CLOSE)


@pytest.mark.parametrize(("before", "after"), TORCHS_CALLED)
def test_no_gradient_goes_through_one_that_was(before: str, after: str) -> None:
    model = changed(LanguageModel, before, after)
    x = normal(T, B, I).requires_grad_()
    (through,) = torch.autograd.grad(model(x)[-1].sum(), x)
    assert not through[:-WINDOW].any()


TURNED = [pair for pair in CALLED if pair[0] != "lru"]  # whose own h is not its output


@pytest.mark.parametrize(("before", "after"), TURNED)
def test_the_last_state_is_the_last_output(before: str, after: str) -> None:
    model = changed(Packed, before, after)
    sequences = [normal(n, I, seed=n) for n in (4, 6, 2)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    output, state = model.rnn(packed)
    padded, lengths = nn.utils.rnn.pad_packed_sequence(output)
    ends = torch.cat([padded[lengths - 1, torch.arange(B), :H], padded[0, :, H:]], 1)
    h = model.h(state)
    torch.testing.assert_close(torch.cat([h[-2], h[-1]], 1), ends, **CLOSE)


# What may be done to a carried state, and what it is to do to each of its parts.
MOVED: dict[str, Callable[[Tensor], Tensor]] = {
    "detached": lambda h: h.detach(),
    "its data": lambda h: h.data,
    "a copy": lambda h: h.clone(),
    "the same precision": lambda h: h.to(torch.float64),
    "another order": lambda h: h[:, [2, 0, 1]],
    "beams": lambda h: h.index_select(1, torch.tensor([1, 1, 0])),
    "beams of all": lambda h: h.repeat_interleave(2, dim=1),
    "the topmost layer": lambda h: h[-1:],
    "there and back": lambda h: h.transpose(0, 1).contiguous().transpose(0, 1),
    "a deep copy": lambda h: copy.deepcopy(h.detach()),
}


@pytest.mark.parametrize("how", MOVED)
@pytest.mark.parametrize("after", ["lstm", "lru"])
def test_what_is_done_to_h_is_done_to_every_part(after: str, how: str) -> None:
    layer = changed(LanguageModel, "rnn", after).rnn
    _, state = layer(normal(T, B, I))
    _, parts = layer.cell(normal(T, B, I))
    moved = MOVED[how](state)
    assert isinstance(moved, CarriedState)
    torch.testing.assert_close(moved.parts, tuple(map(MOVED[how], parts)))


def test_a_carried_state_can_be_saved() -> None:
    layer, file = changed(LanguageModel, "rnn", "lstm").rnn, io.BytesIO()
    _, state = layer(normal(T, B, I))
    torch.save(state.detach(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    torch.testing.assert_close(layer(normal(T, B, I), loaded)[0], layer(normal(T, B, I), state)[0])


# What is computed from h, or given by hand, has no c; and a pair whose c is its own fits no GRU.
LOST: dict[str, tuple[str, str, Callable[[Any], Any], str]] = {
    "a factor": ("rnn", "lstm", lambda h: h.detach() * 0.5, "state of the LSTM is h and c"),
    "a learned start": (
        "rnn", "lstm", lambda h: nn.Parameter(torch.zeros_like(h)).expand(2, B, H),
        "pass on the state that the layer returned",
    ),
    "written to": ("rnn", "lem", lambda h: h.detach().zero_().add_(1), "cell whose state is one"),
    "its own number": ("gru", "lru", lambda h: torch.ones(2, B, H, dtype=h.dtype), "re and im"),
    "c of another origin": (
        "lstm", "gru", lambda pair: (pair[0], pair[0] + 1), "the GRU takes h alone of the pair",
    ),
    "a learned c": (
        "lstm", "janet", lambda pair: (pair[0], nn.Parameter(torch.zeros_like(pair[0]))),
        "such as lstm or lem",
    ),
    "a factor of a pair": (
        "lstm", "lru", lambda pair: tuple(part.detach() * 0.5 for part in pair), "re and im",
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("name", LOST)
def test_a_state_that_has_lost_a_part_is_refused(name: str) -> None:
    before, after, change, sentence = LOST[name]
    layer = changed(LanguageModel, before, after).rnn
    _, state = layer(normal(T, B, I))
    with pytest.raises(InputError, match=f"layer 'rnn': .*{sentence}"):
        layer(normal(T, B, I), change(state))


@pytest.mark.parametrize("after", ["lem", "lru"])
def test_a_state_of_other_parts_is_refused(after: str) -> None:
    _, state = changed(LanguageModel, "rnn", "lstm").rnn(normal(T, B, I))
    with pytest.raises(InputError, match="a single tensor that is not zero"):
        changed(LanguageModel, "rnn", after).rnn(normal(T, B, I), state)


STARTS: dict[str, tuple[str, Callable[[Tensor], Any]]] = {
    "one tensor": ("rnn", lambda zeros: zeros),
    "a pair": ("lstm", lambda zeros: (zeros, zeros.clone())),
    "with a gradient of its own": ("rnn", lambda zeros: zeros.requires_grad_()),
}


@pytest.mark.parametrize("after", CELLS)
@pytest.mark.parametrize("how", STARTS)
def test_a_state_of_zeros_is_the_start(how: str, after: str) -> None:
    before, given_by = STARTS[how]
    layer = changed(LanguageModel, before, after).rnn
    given = given_by(torch.zeros(2, B, H, dtype=torch.float64))
    (output, _), (wanted, _) = layer(normal(T, B, I), given), layer(normal(T, B, I))
    torch.testing.assert_close(output, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("after", ["lstm", "lem"])
def test_zeros_have_to_have_the_shape_of_a_state(after: str) -> None:
    layer = changed(LanguageModel, "rnn", after).rnn
    with pytest.raises((InputError, RuntimeError), match=r"\(2, 3, 4\)"):
        layer(normal(T, B, I), torch.zeros(1, B, H, dtype=torch.float64))


def test_h_with_a_c_of_zeros_starts_a_cell_of_one_tensor() -> None:
    layer = changed(LanguageModel, "lstm", "gru").rnn
    h = normal(2, B, H)
    output, _ = layer(normal(T, B, I), (h, torch.zeros_like(h)))
    torch.testing.assert_close(output, layer.gru(normal(T, B, I), h)[0], rtol=0, atol=0)


def test_a_layer_of_torch_reads_h_of_a_carried_state() -> None:
    _, state = changed(LanguageModel, "rnn", "lstm").rnn(normal(T, B, I))
    layer = nn.GRU(I, H, num_layers=2).double()
    torch.testing.assert_close(
        layer(normal(T, B, I), state)[0], layer(normal(T, B, I), state.as_subclass(Tensor))[0]
    )
