"""``replace_``: the caller's code goes on around every cell, and what does not fit is refused."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import normal
from torch import nn
from user_models import (
    MODELS,
    PAIRED,
    TORCHS,
    B,
    Classifier,
    H,
    I,
    LanguageModel,
    Shared,
    T,
    UserModel,
    changed,
    drawing,
    made,
)

import throughtime as tt
from throughtime.cells import CELLS, RecurrentLayer, make_cell
from throughtime.errors import InputError, ThroughtimeWarning
from throughtime.remedies.replacement.replace import replace_
from throughtime.remedies.replacement.stand_in import StandIn

PAIRS = [(before, after) for before in CELLS for after in CELLS]


def layers(model: nn.Module) -> list[nn.Module]:
    return [part for part in model.modules() if isinstance(part, (nn.RNNBase, RecurrentLayer))]


MODEL_PAIRS = [
    (name, before, after)
    for name in list(MODELS)[1:]
    for before in ("rnn", "lstm")
    for after in ("gru", "lstm", "janet", "lem", "lru")
]


@pytest.mark.parametrize(
    ("name", "before", "after"), [*(("classifier", *pair) for pair in PAIRS), *MODEL_PAIRS]
)
def test_a_model_is_captured_and_trained_around_any_cell(
    name: str, before: str, after: str
) -> None:
    model = changed(MODELS[name], before, after)
    with tt.capture(model) as run:
        loss = model.loss()
        loss.backward()
    assert [one.name for one in run.trace if one.verified is None or one.verified > 1e-8] == []
    torch.optim.SGD(model.parameters(), lr=1e-5).step()
    assert model.loss() < loss


@pytest.mark.parametrize("after", CELLS)
@pytest.mark.parametrize("before", ["rnn", "lstm"])
def test_every_weight_learns_from_the_last_state_alone(before: str, after: str) -> None:
    model = changed(Classifier, before, after)
    model.loss().backward()
    assert [name for name, one in model.named_parameters() if one.grad is None] == []


NAMES = [("rnn", "gru", "rnn"), ("rnn", "lstm", "rnn.lstm"), ("lstm", "relu-rnn", "rnn.relu_rnn")]


@pytest.mark.parametrize(("before", "after", "name"), NAMES)
def test_capture_names_the_new_layer_by_its_place(before: str, after: str, name: str) -> None:
    model = changed(MODELS["tagger"], before, after)
    with tt.capture(model) as run:
        model.loss().backward()
    assert run.trace.names == (name, f"{name}.reverse")


def test_it_says_in_whose_place_it_stands() -> None:
    assert "in place of RNN(3, 4, num_layers=2" in repr(changed(Classifier, "rnn", "lstm"))


@pytest.mark.parametrize("after", CELLS)
@pytest.mark.parametrize("before", TORCHS)
def test_batch_first_and_no_batch_are_as_torch_has_them(before: str, after: str) -> None:
    model = nn.ModuleList([make_cell(before, I, H, batch_first=True, bidirectional=True)])
    layer = replace_(model, after, generator=drawing())[0]
    x = normal(B, T, I, dtype=torch.float32)
    output, state = layer(x)
    alone, one = layer(x[1])
    known = (lambda pair: pair[0]) if before in PAIRED else (lambda h: h)
    found = (output.shape, known(state).shape, alone.shape, known(one).shape)
    assert found == ((B, T, 2 * H), (2, B, H), (T, 2 * H), (2, H))
    torch.testing.assert_close((alone, known(one)), (output[1], known(state)[:, 1]))


KEPT = {
    "a stack": {"num_layers": 3, "dropout": 0.3, "batch_first": True, "dtype": torch.float64},
    "directions": {"bias": False, "bidirectional": True, "dtype": torch.bfloat16},
}


@pytest.mark.parametrize("what", KEPT)
@pytest.mark.parametrize("after", CELLS)
@pytest.mark.parametrize("before", ["rnn", "lstm", "janet"])
def test_the_new_layer_is_made_as_the_old_one_was(before: str, after: str, what: str) -> None:
    model = nn.Sequential(make_cell(before, I, H, **KEPT[what]), nn.Linear(H, 1)).eval()
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout")
    names += ("bidirectional", "training")

    def facts(layer: Any) -> list[object]:
        return [getattr(layer, name) for name in names] + [next(layer.parameters()).dtype]

    before_facts = facts(model[0])
    assert facts(replace_(model, after)[0]) == before_facts


@pytest.mark.parametrize(("before", "after"), [("rnn", "lstm"), ("lstm", "gru"), ("gru", "janet")])
def test_all_else_is_untouched(before: str, after: str) -> None:
    model, twin = made(LanguageModel, before), made(LanguageModel, before)
    rest = [model.embedding.weight, model.head.weight, model.head.bias]
    replace_(model, after)
    now = [model.embedding.weight, model.head.weight, model.head.bias]
    assert all(a is b for a, b in zip(rest, now, strict=True))
    wanted = {name: value for name, value in twin.state_dict().items() if "rnn" not in name}
    kept = {name: value for name, value in model.state_dict().items() if "rnn" not in name}
    torch.testing.assert_close(kept, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("after", CELLS)
def test_a_layer_at_two_places_stays_one(after: str) -> None:
    model = changed(Shared, "rnn", after)
    assert model.rnn is model.again["rnn"]


@pytest.mark.parametrize("named", ["b", ["b"]])
def test_only_the_layers_that_are_named_are_replaced(named: str | list[str]) -> None:
    model = nn.ModuleDict({"a": nn.RNN(I, H), "b": nn.GRU(I, H)})
    replace_(model, "lstm", layers=named)
    assert [type(one) for one in layers(model)] == [nn.RNN, nn.LSTM]


def test_one_name_of_a_shared_layer_means_all_its_places() -> None:
    model = replace_(made(Shared, "rnn"), "lstm", layers=["again.rnn"])
    assert isinstance(model.rnn, StandIn)
    assert model.rnn is model.again["rnn"]


@pytest.mark.parametrize(
    ("before", "then", "wanted"),
    [("rnn", "gru", nn.GRU), ("lstm", "lstm", nn.LSTM), ("lstm", "lem", StandIn)],
)
def test_it_can_be_replaced_again(before: str, then: str, wanted: type) -> None:
    model = changed(Classifier, before, "lru")
    replace_(model, then)
    assert (type(model.rnn), len(layers(model))) == (wanted, 1)
    model.loss().backward()


def pickled(model: UserModel) -> UserModel:
    return pickle.loads(pickle.dumps(model))  # noqa: S301  — our own


@pytest.mark.parametrize("twin", [copy.deepcopy, pickled])
@pytest.mark.parametrize("after", CELLS)
@pytest.mark.parametrize("before", ["rnn", "lstm"])
def test_copies_are_as_the_model(
    before: str, after: str, twin: Callable[[UserModel], UserModel]
) -> None:
    model = changed(LanguageModel, before, after)
    torch.testing.assert_close(twin(model).loss(), model.loss(), rtol=0, atol=0)


@pytest.mark.parametrize("after", CELLS)
@pytest.mark.parametrize("before", ["rnn", "lstm"])
def test_its_weights_are_saved_and_loaded_strictly(before: str, after: str) -> None:
    model, file = changed(LanguageModel, before, after), io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = replace_(made(LanguageModel, before, seed=4), after, generator=drawing(9))
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    torch.testing.assert_close(other.loss(), model.loss(), rtol=0, atol=0)


@pytest.mark.parametrize("after", CELLS)
def test_weights_are_drawn_from_the_generator_alone(after: str) -> None:
    state = torch.random.get_rng_state()
    drawn = []
    for seed in (0, 0, 1):
        model = nn.Sequential(nn.RNN(I, H))
        torch.random.set_rng_state(state)
        replace_(model, after, generator=drawing(seed))
        assert torch.equal(state, torch.random.get_rng_state())
        drawn.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("before", "after"), [("rnn", "lstm"), ("lstm", "gru"), ("gru", "janet")])
def test_what_a_caller_asks_of_its_layer_is_answered(before: str, after: str) -> None:
    layer: Any = changed(Classifier, before, after).rnn
    layer.flatten_parameters()
    assert (layer.hidden_size, layer.proj_size, layer.weight_ih_l1.shape[1]) == (H, 0, H)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = layer.nothing


def test_a_cell_is_made_with_its_own_settings() -> None:
    layer: Any = replace_(nn.Sequential(nn.RNN(I, H)), "antisymmetric", gamma=0.5)[0]
    assert layer.settings["gamma"] == 0.5


def test_a_subclass_that_only_changes_its_weights_is_replaced() -> None:
    class Ours(nn.LSTM):
        def reset_parameters(self) -> None:
            for weight in self.parameters():
                nn.init.zeros_(weight)

    assert isinstance(replace_(nn.Sequential(Ours(I, H)), "gru")[0], StandIn)


class OwnForward(nn.LSTM):
    def forward(self, *args: Any) -> Any:
        return super().forward(*args)[0]


def hooked() -> nn.Module:
    model = nn.Sequential(nn.GRU(I, H))
    model[0].register_forward_hook(lambda *_: None)
    return model


def patched() -> nn.Module:
    model = nn.Sequential(nn.GRU(I, H))
    model[0].forward = lambda x: (x, x)
    return model


def two() -> nn.Module:
    return nn.ModuleDict({"a": nn.RNN(I, H), "b": nn.GRU(I, H)})


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "the layer itself": (lambda: replace_(nn.LSTM(I, H), "gru"), "LSTM is the layer itself"),
    "no layer": (lambda: replace_(nn.Linear(I, H), "gru"), "no recurrent layer in this Linear"),
    "a loop over a cell": (lambda: replace_(nn.Sequential(nn.LSTMCell(I, H)), "gru"), "the loop"),
    "no such cell": (lambda: replace_(two(), "transformer"), "unknown cell 'transformer'"),
    "no such layer": (lambda: replace_(two(), "gru", layers=["c"]), "'c' .*: it has 'a', 'b'"),
    "no layers": (lambda: replace_(two(), "gru", layers=[]), "layers is empty"),
    "projection": (
        lambda: replace_(nn.Sequential(nn.LSTM(I, H, proj_size=2)), "gru"), "layer '0' projects",
    ),
    "a forward of its own": (
        lambda: replace_(nn.Sequential(OwnForward(I, H)), "gru"), r"\(OwnForward\) has a forward",
    ),
    "a forward put on it": (lambda: replace_(patched(), "lstm"), r"\(GRU\) has a forward"),
    "hooks": (lambda: replace_(hooked(), "lstm"), r"layer '0' \(GRU\) has hooks"),
    "no such setting": (lambda: replace_(two(), "lru", span=3), "does not take these settings"),
    "a setting of the old": (
        lambda: replace_(two(), "lru", num_layers=3), "replace_ keeps 'num_layers'",
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(name: str) -> None:
    ask, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        ask()


def test_nothing_is_changed_where_one_layer_does_not_fit() -> None:
    model = nn.Sequential(nn.LSTM(I, H), nn.LSTM(I, H, proj_size=2))
    before = list(model)
    with pytest.raises(InputError):
        replace_(model, "gru")
    assert list(model) == before


def test_a_model_that_is_wrapped_is_refused() -> None:
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(nn.Sequential(nn.RNN(I, H)))
        with pytest.raises(InputError, match="replace first, then wrap"):
            replace_(wrapped, "gru")
    finally:
        torch.distributed.destroy_process_group()


def test_an_optimizer_that_was_made_before_is_told_of() -> None:
    model = made(Classifier, "rnn")
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.warns(ThroughtimeWarning, match="make it anew"):
        replace_(model, "gru")
    assert optimizer.param_groups


def test_who_only_looks_at_the_old_layer_is_not_warned() -> None:
    model = made(Classifier, "rnn")
    held, weights = model.rnn, list(model.parameters())
    torch.optim.SGD([weights[-1]], lr=0.1)
    with warnings.catch_warnings(record=True) as caught:
        replace_(model, "gru")
    assert (caught, held is model.rnn) == ([], False)
