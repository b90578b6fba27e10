"""Clipping inside the recurrence together with the rest: capture, copies, checkpoints, Omega."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from cases import LAYER_CASES, Net, fill, normal, weighed
from clipped_layers import EXACT, PROJECTIONS, B, H, I, T, gradients, lstm, ours, run_once
from test_cells_capture import OURS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import throughtime as tt
from throughtime.remedies.clipping.states import clip_states_, unclip_states_
from throughtime.remedies.regularisation import Omega
from throughtime.trace import relative_difference

pytestmark = pytest.mark.filterwarnings(PROJECTIONS)  # torch then takes its own kernel


def trained_gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    model.zero_grad()
    weighed(model(x)[0], 3).backward()
    return gradients(model)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", *OURS])
def test_capture_shows_the_clipped_gradients_and_verifies_them(name: str) -> None:
    torchs = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
    model = fill(torchs[name](I, H).double(), scale=2) if name in torchs else ours(name)
    clip_states_(model, 0.1)
    with tt.capture(model) as run:
        trained_gradients(model, normal(T, B, I))
    found = run.trace.layers[0]
    assert found.gradients.norm(dim=-1).amax() <= 0.1 * (1 + 1e-9)
    assert found.verified < 1e-10


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_capture_in_blocks_of_little_memory_shows_them_clipped(kind: type[nn.Module]) -> None:
    model = fill(kind(I, H).double(), scale=2)
    clip_states_(model, 0.1)
    with tt.capture(model, memory=1) as run:
        first, state = model(normal(T, B, I))
        second, _ = model(normal(T, B, I), state)
        (first.square().sum() + second.square().sum()).backward()
    (found,) = run.trace.layers
    assert found.steps == 2 * T
    assert found.gradients.norm(dim=-1).amax() <= 0.1 * (1 + 1e-9)
    assert found.verified < 1e-10


@pytest.mark.parametrize("kind", ["tanh", "LSTM", "LSTM-proj", "GRU"])
def test_capture_of_a_stack_of_packed_sequences_shows_each_of_its_layers(kind: str) -> None:
    cases = (c for c in LAYER_CASES if c.layers == 2 and c.bidirectional and c.packed)
    case = next(c for c in cases if c.kind == kind)
    model = Net(case)
    clip_states_(model, 0.1)
    with tt.capture(model) as run:
        run_once(case, model)
    plain = Net(case)
    with tt.capture(plain) as plainly:
        run_once(case, plain)
    assert run.trace.names == plainly.trace.names
    assert len(run.trace.links) == len(plainly.trace.links)
    for seen, expected in zip(run.trace, plainly.trace, strict=True):
        assert relative_difference(seen.states, expected.states) < 1e-12
        assert seen.verified < 1e-10


def copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))  # noqa: S301  — our own


def saved(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("way", [copied, pickled, saved])
def test_a_copy_is_clipped_and_runs_on_its_own_weights(way: Callable) -> None:
    model, x = lstm(num_layers=2), normal(T, B, I)
    clip_states_(model, 0.1)
    twin = way(model)
    torch.testing.assert_close(trained_gradients(twin, x), trained_gradients(model, x), **EXACT)
    fill(model, seed=5)
    plain = fill(lstm(num_layers=2), scale=2)
    torch.testing.assert_close(twin(x), plain(x), **EXACT)


def test_removed_from_a_module_or_from_its_copy_nothing_is_left() -> None:
    model, x = lstm(), normal(T, B, I)
    plain = trained_gradients(lstm(), x)
    handle = clip_states_(model, 0.1)
    twin = unclip_states_(copy.deepcopy(model))
    handle.remove()
    handle.remove()
    for one in (model, twin):
        torch.testing.assert_close(trained_gradients(one, x), plain, rtol=0, atol=0)
        assert "forward" not in vars(one)


def test_state_dict_is_the_one_of_the_plain_module() -> None:
    model = lstm()
    clip_states_(model, 0.1)
    assert model.state_dict().keys() == lstm().state_dict().keys()
    lstm().load_state_dict(model.state_dict())


def test_without_a_gradient_nothing_is_taken_apart() -> None:
    model, x = lstm(num_layers=2), normal(T, B, I)
    clip_states_(model, 0.1)
    with torch.no_grad():
        seen = model(x)[0]
    assert torch.equal(seen, lstm(num_layers=2)(x)[0])


def test_a_state_carried_over_calls_is_clipped_as_in_one_call() -> None:
    x = normal(T, B, I)
    whole, parts = lstm(), lstm()
    for model in (whole, parts):
        clip_states_(model, 0.1)
    whole(x)[0].sum().backward()
    first, state = parts(x[:2])
    second, _ = parts(x[2:], state)
    (first.sum() + second.sum()).backward()
    torch.testing.assert_close(gradients(parts), gradients(whole), **EXACT)


@pytest.mark.parametrize("reentrant", [True, False])
def test_under_a_checkpoint_the_same_is_clipped(reentrant: bool) -> None:
    model, plain, x = lstm(), lstm(), normal(T, B, I).requires_grad_()
    for one in (model, plain):
        clip_states_(one, 0.1)
    weighed(checkpoint(lambda x: model(x)[0], x, use_reentrant=reentrant), 3).backward()
    torch.testing.assert_close(gradients(model), trained_gradients(plain, x), **EXACT)


def test_a_weight_that_is_parametrised_gets_its_gradient() -> None:
    def make() -> nn.RNN:
        layer = fill(nn.RNN(I, H).double(), scale=2)
        return nn.utils.parametrizations.orthogonal(layer, "weight_hh_l0", use_trivialization=False)

    model, plain, x = make(), make(), normal(T, B, I)
    clip_states_(model, 1e9)
    expected = trained_gradients(plain, x)
    torch.testing.assert_close(trained_gradients(model, x), expected, **EXACT)
    assert len(expected) == 4


def test_omega_sees_the_clipped_gradients_and_adds_to_them() -> None:
    x, clipped, both = normal(T, B, I), lstm(), lstm()
    for model in (clipped, both):
        clip_states_(model, 0.1)
    trained_gradients(clipped, x)
    Omega()(both, lambda: weighed(both(x)[0], 3))
    same = {
        name
        for (name, one), other in zip(both.named_parameters(), clipped.parameters(), strict=True)
        if torch.allclose(one.grad, other.grad, rtol=1e-10, atol=1e-12)
    }
    assert same == {"weight_ih_l0", "bias_ih_l0", "bias_hh_l0"}
