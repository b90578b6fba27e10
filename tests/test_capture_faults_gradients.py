"""Why no gradient was captured, why a capture cannot be verified, and what it notes beside."""

from collections.abc import Callable

import pytest
import torch
from captured_nets import CELLS, LAYERS, Encoder, first, float32, packed
from cases import B, H, I, T, normal
from torch import Tensor, nn

import throughtime as tt


def lost_under_no_grad(model: nn.Module) -> None:
    with torch.no_grad():
        loss = model(float32(T, B, I))
    loss.backward()


def unseen_under_no_grad(model: nn.Module) -> None:
    with torch.no_grad():
        model(float32(T, B, I))


def lost_in_inference_mode(model: nn.Module) -> None:
    with torch.inference_mode():
        loss = model(float32(T, B, I))
    loss.backward()


def unseen_in_inference_mode(model: nn.Module) -> None:
    with torch.inference_mode():
        model(float32(T, B, I))


def lost_in_a_frozen_model(model: nn.Module) -> None:
    model.requires_grad_(False)
    model(float32(T, B, I)).backward()


def lost_in_a_frozen_layer(model: nn.Module) -> None:
    model.rnn.requires_grad_(False)
    model(float32(T, B, I)).backward()


def lost_in_detach(model: nn.Module) -> None:
    out, _ = model.rnn(float32(T, B, I))
    model.read(out.detach()).sum().backward()


def lost_in_argmax(model: nn.Module) -> None:
    out, _ = model.rnn(float32(T, B, I))
    model.read(nn.functional.one_hot(out.argmax(-1), H).float()).sum().backward()


def lost_in_detach_and_a_frozen_head(model: nn.Module) -> None:
    model.read.requires_grad_(False)
    lost_in_detach(model)


def no_backward(model: nn.Module) -> None:
    model(float32(T, B, I))


REASONS = {
    lost_under_no_grad: r"torch\.no_grad\(\)",
    unseen_under_no_grad: r"torch\.no_grad\(\)",
    lost_in_inference_mode: r"torch\.inference_mode\(\)",
    unseen_in_inference_mode: r"torch\.inference_mode\(\)",
    lost_in_a_frozen_model: "it is frozen",
    lost_in_a_frozen_layer: "it is frozen",
    lost_in_detach: r"does not depend on its outputs .*detach\(\)",
    lost_in_detach_and_a_frozen_head: r"does not depend on its outputs .*detach\(\)",
    lost_in_argmax: r"does not depend on its outputs .*argmax",
    no_backward: r"backward\(\) was not called",
}


@pytest.mark.parametrize("lose", REASONS)
def test_why_there_is_no_gradient(lose: Callable[[nn.Module], None]) -> None:
    model = Encoder(nn.GRU(I, H))
    with pytest.raises(tt.NoGradientError, match=f"layer 'rnn': .*{REASONS[lose]}"):  # noqa: PT012  — either line
        with tt.capture(model) as run:
            lose(model)
        _ = run.trace


def test_a_backward_pass_after_the_block_is_not_seen() -> None:
    model = Encoder(nn.GRU(I, H))
    with tt.capture(model) as run:
        loss = model(float32(T, B, I))
    loss.backward()
    with pytest.raises(tt.NoGradientError, match=r"call loss\.backward\(\) in the block"):
        _ = run.trace


NOTHING = {
    "no layer": (nn.Linear(I, H), lambda model: model(float32(B, I)).sum().backward()),
    "not run": (Encoder(nn.GRU(I, H)), lambda model: model.read(float32(B, H)).sum().backward()),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_recurrent_ran(name: str) -> None:
    model, step = NOTHING[name]
    with tt.capture(model) as run:
        step(model)
    with pytest.raises(tt.NothingRecordedError, match=r"no recurrence was recorded: `.*mark\("):
        _ = run.trace


def test_what_got_no_gradient_is_noted_beside_what_did() -> None:
    model = nn.ModuleDict({name: nn.GRU(I, H) for name in ("seen", "cut", "frozen", "blind")})
    model["frozen"].requires_grad_(False)
    x = float32(T, B, I)
    with tt.capture(model) as run:
        out = model["seen"](x)[0] + model["cut"](x)[0].detach() + model["frozen"](x)[0]
        with torch.no_grad():
            blind, _ = model["blind"](x)
        (out + blind).sum().backward()
    assert run.trace.names == ("seen",)
    cut, blind, frozen = run.trace.notes
    assert cut == "no gradient came back to layer 'cut'"
    assert blind == "no gradient could reach layer 'blind': it ran under torch.no_grad()"
    assert frozen.startswith("no gradient could reach layer 'frozen': it is frozen")


def test_a_look_under_no_grad_beside_the_training_step_is_passed_over() -> None:
    model = Encoder(nn.GRU(I, H))
    with tt.capture(model) as run:
        unseen_under_no_grad(model)
        model(float32(T, B, I)).backward()
        unseen_under_no_grad(model)
    assert run.trace.names == ("rnn",)
    assert not run.trace.notes


@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_carried_over_from_an_earlier_step_is_named(kind: str) -> None:
    model = LAYERS[kind](I, H)
    out, state = model(float32(T, B, I))
    out.sum().backward()
    layer = type(model).__name__.lower()
    with (
        tt.capture(model),
        pytest.raises(tt.StateCarriedError, match=rf"layer '{layer}' started .*state\.detach\(\)"),
    ):
        model(float32(T, B, I), state)[0].sum().backward()


@pytest.mark.parametrize("kind", CELLS)
def test_a_state_carried_from_window_to_window_is_named(kind: str) -> None:
    cell = CELLS[kind](I, H)
    state = None

    def window() -> None:
        nonlocal state
        for x in float32(2, B, I):
            state = cell(x, state)
        first(state).sum().backward()

    with tt.capture(cell):
        window()
        with pytest.raises(tt.StateCarriedError, match=r"state\.detach\(\)"):
            window()


def test_the_same_backward_pass_twice_is_torchs_own_error() -> None:
    model = nn.GRU(I, H)
    start = nn.Linear(1, H)(torch.ones(1, B, 1))
    with tt.capture(model):
        loss = model(float32(T, B, I), start)[0].sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="a second time") as caught:
            loss.backward()
    assert not isinstance(caught.value, tt.StateCarriedError)


def test_an_input_changed_in_place_cannot_verify() -> None:
    model = nn.GRU(I, H)
    x = float32(T, B, I)
    with tt.capture(model) as run:
        model(x)[0].sum().backward()
        x.zero_()
    (layer,) = run.trace
    assert layer.verified is None
    assert "changed in place" in layer.unverified_because


def test_an_output_may_be_changed_in_place_since_the_user_has_a_copy() -> None:
    model = nn.RNN(I, H).double()
    with tt.capture(model) as run:
        out, _ = model(normal(T, B, I))
        out.relu_().sum().backward()
    (layer,) = run.trace
    assert layer.verified is not None
    assert layer.verified < 1e-12


def test_a_packed_batch_may_be_changed_in_place_since_it_was_copied() -> None:
    model = Encoder(nn.GRU(I, H))
    x = packed([5, 2, 3])
    with tt.capture(model) as run:
        model(x).backward()
        x.data.zero_()
    assert run.trace[0].verified is not None
    assert run.trace[0].verified < 1e-5


def test_only_some_gradients_asked_for_cannot_verify() -> None:
    model = nn.GRU(I, H)
    x = float32(T, B, I).requires_grad_()
    with tt.capture(model) as run:
        torch.autograd.grad(model(x)[0].sum(), x)
    (layer,) = run.trace
    assert layer.verified is None
    assert "asked for no gradient" in layer.unverified_because


@pytest.mark.parametrize("one_by_one", [CELLS, LAYERS], ids=["cell", "layer"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_that_is_changed_at_every_step_is_noted(
    kind: str, one_by_one: dict[str, type[nn.Module]]
) -> None:
    cell, norm = one_by_one[kind](I, H), nn.LayerNorm(H)
    with tt.capture(nn.ModuleList([cell, norm])) as run:
        state: Tensor | tuple[Tensor, ...] | None = None
        for x in float32(T, B, I):
            after = cell(x, state) if one_by_one is CELLS else cell(x.unsqueeze(0), state)[1]
            changed = norm(first(after))
            changed.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))  # no linear map
            state = changed if isinstance(after, Tensor) else (changed, after[1])
        first(state).sum().backward()
    (note,) = run.trace.notes
    assert f"each of {T} steps of layer '0' is a sequence of its own" in note
    assert "throughtime.mark" in note
