"""Parametrised recurrent weights: what training cannot leave, and that nothing else breaks."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import throughtime as tt
from throughtime import cells
from throughtime.errors import InputError
from throughtime.problem import seeded
from throughtime.remedies import chrono_, orthogonal_
from throughtime.remedies.parametrisation import orthogonal_weights_, spectral_margin_
from throughtime.remedies.weights import recurrent_weights

I, H, T, B = 3, 6, 6, 4
MARGIN = 0.2
Make = Callable[[], nn.Module]
Remedy = Callable[[nn.Module], nn.Module]


def stacked(kind: Callable[..., nn.Module], **more: object) -> Make:
    return lambda: kind(I, H, num_layers=2, bidirectional=True, **more)


LAYERS: dict[str, Make] = {
    "RNN": stacked(nn.RNN),
    "ReLU RNN": stacked(nn.RNN, nonlinearity="relu"),
    "LSTM": stacked(nn.LSTM),
    "GRU": stacked(nn.GRU),
    "LSTM without bias": stacked(nn.LSTM, bias=False),
    "JANET": partial(cells.JANET, I, H),
    "LEM": partial(cells.LEM, I, H),
    **{kind.__name__: partial(kind, I, H) for kind in (nn.RNNCell, nn.LSTMCell, nn.GRUCell)},
}
REMEDIES: dict[str, tuple[Remedy, float]] = {
    "orthogonal": (orthogonal_weights_, 0.0),
    "margin": (partial(spectral_margin_, margin=MARGIN), MARGIN),
}
every = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
either = pytest.mark.parametrize("remedy", [one for one, _ in REMEDIES.values()], ids=REMEDIES)


def made(make: Make = LAYERS["LSTM"]) -> nn.Module:
    with seeded(3):
        return make()


def inputs() -> Tensor:
    return torch.randn(T, B, I, generator=torch.Generator().manual_seed(1))


def output(module: nn.Module) -> Tensor:
    """(T B …), of a cell its last state (B H)."""
    if not isinstance(module, nn.RNNCellBase):
        return module(inputs())[0]
    state = None
    with parametrize.cached():
        for x in inputs():
            state = module(x, state)
    return state[0] if isinstance(state, tuple) else state


def names(module: nn.Module) -> list[str]:
    return [f"weight_hh{weights.suffix}" for weights in recurrent_weights(module)]


def blocks(module: nn.Module) -> Tensor:
    """Every recurrent block of every layer and direction, (N H H)."""
    return torch.cat([getattr(module, n).detach().unflatten(0, (-1, H)) for n in names(module)])


def train(module: nn.Module, steps: int) -> None:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        (output(module) - 0.3).square().mean().backward()
        optimizer.step()


def plain(module: nn.Module) -> nn.Module:
    for name in names(module):
        parametrize.remove_parametrizations(module, name)
    return module


@cache
def trained(layer: str, remedy: str) -> tuple[Tensor, Tensor]:
    """The blocks before 100 updates, and after them."""
    module = REMEDIES[remedy][0](made(LAYERS[layer]))
    before = blocks(module)
    train(module, 100)
    return before, blocks(module)


@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("layer", LAYERS)
def test_after_100_updates_the_singular_values_are_within_the_margin(
    layer: str, remedy: str
) -> None:
    singular = torch.linalg.svdvals(trained(layer, remedy)[1])
    assert (singular - 1).abs().max() < REMEDIES[remedy][1] + 1e-5


@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("layer", LAYERS)
def test_training_moves_every_block(layer: str, remedy: str) -> None:
    before, after = trained(layer, remedy)
    assert (after - before).flatten(1).norm(dim=1).min() > 1e-3


def test_the_singular_values_use_the_margin() -> None:
    module = spectral_margin_(orthogonal_(made()), MARGIN)
    train(module, 100)
    assert (torch.linalg.svdvals(blocks(module)) - 1).abs().max() > MARGIN / 10


@either
def test_orthogonal_weights_are_left_as_they_are(remedy: Remedy) -> None:
    module = orthogonal_(made())
    before = blocks(module)
    torch.testing.assert_close(blocks(remedy(module)), before)


def test_the_start_is_the_nearest_orthogonal_matrix() -> None:
    module = made()
    left, _, right = torch.linalg.svd(blocks(module))
    torch.testing.assert_close(blocks(orthogonal_weights_(module)), left @ right)


def test_singular_values_within_the_margin_are_left_as_they_are() -> None:
    module = orthogonal_(made(), 1 + MARGIN / 2)
    before = blocks(module)
    torch.testing.assert_close(blocks(spectral_margin_(module, MARGIN)), before)


def test_singular_values_outside_of_the_margin_become_1() -> None:
    module = orthogonal_(made(), 1 + 2 * MARGIN)
    before = blocks(module)
    nearest = before / (1 + 2 * MARGIN)
    torch.testing.assert_close(blocks(spectral_margin_(module, MARGIN)), nearest)


@either
def test_the_parameters_are_those_that_an_optimizer_holds_already(remedy: Remedy) -> None:
    module = made()
    before = {id(parameter) for parameter in module.parameters()}
    assert {id(parameter) for parameter in remedy(module).parameters()} == before


@either
@every
def test_the_kernel_reads_what_the_optimizer_wrote(make: Make, remedy: Remedy) -> None:
    """The same layer with ordinary weights of the same values gives the same."""
    module = remedy(made(make))
    output(module)
    train(module, 3)
    ordinary = made(make)
    with torch.no_grad():
        for name, parameter in ordinary.named_parameters():
            parameter.copy_(getattr(module, name))
    torch.testing.assert_close(output(module), output(ordinary), rtol=0, atol=0)


@either
@every
def test_the_weights_can_be_made_ordinary_again(make: Make, remedy: Remedy) -> None:
    module = remedy(made(make))
    train(module, 3)
    before = output(module)
    ordinary = plain(module)
    assert set(ordinary.state_dict()) == set(made(make).state_dict())
    assert type(ordinary) is type(made(make))
    torch.testing.assert_close(output(ordinary), before, rtol=0, atol=0)


@either
def test_ordinary_weights_learn_as_such(remedy: Remedy) -> None:
    module = plain(remedy(made()))
    train(module, 20)
    assert (torch.linalg.svdvals(blocks(module)) - 1).abs().max() > 2 * MARGIN


def deep_copied(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module)


def pickled(module: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(module))  # noqa: S301  — our own


def saved(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def copied_twice(module: nn.Module) -> nn.Module:
    return pickled(deep_copied(pickled(module)))


MODULES: dict[str, Make] = {
    **{
        f"{name}, {what}": lambda make=make, remedy=remedy: remedy(made(make))
        for name, make in LAYERS.items()
        for what, (remedy, _) in REMEDIES.items()
        if name in ("RNN", "LSTM", "GRU", "JANET", "GRUCell")
    },
    "orthogonal RNN": lambda: made(stacked(cells.OrthogonalRNN)),
    "orthogonal RNN, Cayley": lambda: made(stacked(cells.OrthogonalRNN, orthogonal_map="cayley")),
}


@pytest.mark.parametrize("twin", [deep_copied, pickled, saved, copied_twice])
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_a_copy_computes_the_same(make: Make, twin: Remedy) -> None:
    module = make()
    train(module, 2)
    torch.testing.assert_close(output(twin(module)), output(module), rtol=0, atol=0)


@pytest.mark.parametrize("twin", [deep_copied, pickled, saved, copied_twice])
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_a_copy_has_a_life_of_its_own(make: Make, twin: Remedy) -> None:
    module = make()
    before = output(module)
    other = twin(module)
    train(other, 2)
    plain(other)
    train(other, 2)
    torch.testing.assert_close(output(module), before, rtol=0, atol=0)


@either
@every
def test_a_state_is_loaded_strictly(make: Make, remedy: Remedy) -> None:
    module, other = remedy(made(make)), remedy(make())
    train(module, 2)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(output(other), output(module), rtol=0, atol=0)


@either
def test_a_module_moves_to_another_precision(remedy: Remedy) -> None:
    module = remedy(made())
    output(module)
    double = copy.deepcopy(module.double())
    singular = torch.linalg.svdvals(blocks(double))
    assert double(inputs().double())[0].dtype is torch.float64
    assert (singular - 1).abs().max() < MARGIN + 1e-6


@either
def test_autocast_leaves_the_weight_as_it_is(remedy: Remedy) -> None:
    module = remedy(made())
    with torch.autocast("cpu", torch.bfloat16):
        found = blocks(module)
    torch.testing.assert_close(found, blocks(module), rtol=0, atol=0)


@either
def test_flattening_leaves_the_weights_in_use(remedy: Remedy) -> None:
    module = remedy(made())
    before = output(module)
    module.flatten_parameters()
    torch.testing.assert_close(output(module), before, rtol=0, atol=0)


@either
def test_no_weight_is_computed_twice_in_one_pass(
    remedy: Remedy, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, computed = remedy(made()), []
    solve = torch.linalg.solve
    monkeypatch.setattr(torch.linalg, "solve", lambda a, b: computed.append(1) or solve(a, b))
    output(module)
    each = 1 if remedy is orthogonal_weights_ else 2
    assert len(computed) == each * len(names(module))


def worst_check(trace: tt.Trace) -> float:
    return max(math.inf if layer.verified is None else layer.verified for layer in trace)


@either
@pytest.mark.parametrize("name", ["RNN", "ReLU RNN", "LSTM", "GRU", "JANET", "LEM"])
def test_a_capture_of_it_is_verified(name: str, remedy: Remedy) -> None:
    module = remedy(made(LAYERS[name])).double()
    with tt.capture(module) as run:
        module(inputs().double())[0].square().mean().backward()
    assert worst_check(run.trace) < 1e-9


@either
def test_a_capture_of_a_cell_in_a_loop_is_verified(remedy: Remedy) -> None:
    cell = remedy(nn.GRUCell(I, H).double())
    state = torch.zeros(B, H, dtype=torch.float64)
    with tt.capture(cell) as run, parametrize.cached():
        for x in inputs().double():
            state = cell(x, state)
        state.square().mean().backward()
    assert worst_check(run.trace) < 1e-9


@either
def test_biases_can_be_drawn_beside_it(remedy: Remedy) -> None:
    module = remedy(made())
    before = blocks(module)
    chrono_(module, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(blocks(module), before, rtol=0, atol=0)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no recurrent layer": (lambda: orthogonal_weights_(nn.Linear(2, 2)), "no recurrent layer"),
    "projection": (lambda: orthogonal_weights_(nn.LSTM(2, 4, proj_size=3)), r"shape \(4, 3\)"),
    "diagonal": (lambda: spectral_margin_(cells.IndRNN(2, 4)), "needs a square matrix"),
    "oscillators": (lambda: spectral_margin_(cells.CoRNN(2, 4)), "coRNN has no recurrent matrix"),
    "twice": (lambda: spectral_margin_(orthogonal_weights_(made())), "is parametrised"),
    "drawn afterwards": (lambda: orthogonal_(orthogonal_weights_(made())), "or after torch"),
    "already": (lambda: orthogonal_weights_(cells.OrthogonalRNN(2, 4)), "is parametrised"),
    "no margin": (lambda: spectral_margin_(made(), 0.0), "for 0 there is orthogonal_weights_"),
    "a margin beyond 0": (lambda: spectral_margin_(made(), 1.5), "at most 1, not 1.5"),
    "not a number": (lambda: spectral_margin_(made(), math.nan), "not nan"),
}


@pytest.mark.parametrize(("asked", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(asked: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        asked()


def test_what_is_refused_is_left_as_it_was() -> None:
    model = nn.ModuleList([made(), nn.LSTM(I, H, proj_size=2)])
    before = list(model.state_dict())
    with pytest.raises(InputError, match=r"^1: "):
        orthogonal_weights_(model)
    assert list(model.state_dict()) == before
