"""Initialisations by their invariants: every gate, layer and direction, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from throughtime import cells
from throughtime.errors import InputError
from throughtime.problem import seeded
from throughtime.recurrences.mingru import MinGRU
from throughtime.remedies import INITIALISATIONS, chrono_, forget_bias_, identity_, orthogonal_
from throughtime.remedies.initialisation.drawn import uniform_gates_
from throughtime.remedies.weights import LayerWeights, recurrent_weights

I, H = 3, 8
Make = Callable[..., nn.Module]


def stacked(kind: Callable[..., nn.Module]) -> Make:
    return lambda **more: kind(I, H, num_layers=2, bidirectional=True, **more)


MODULES: dict[str, Make] = {
    **{kind.__name__: stacked(kind) for kind in (nn.RNN, nn.LSTM, nn.GRU)},
    **{
        kind.__name__: lambda kind=kind, **more: kind(I, H, **more)
        for kind in (nn.RNNCell, nn.LSTMCell, nn.GRUCell)
    },
    "JANET": stacked(cells.JANET),
    "a model": lambda **more: nn.Sequential(nn.Linear(I, I), nn.LSTM(I, H, **more)),
}
GATED = {name: make for name, make in MODULES.items() if "RNN" not in name} | {
    "minGRU": stacked(cells.MinGRU)
}


def made(make: Make, **more: object) -> nn.Module:
    with seeded(3):
        return make(**more)


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recurrent_blocks(module: nn.Module) -> list[Tensor]:
    found = recurrent_weights(module)
    return [block for one in found for block in one.recurrent_blocks.values()]


def kept(weights: LayerWeights) -> Tensor:
    """The biases that say how much each unit keeps: in a minGRU those of z say how little."""
    return (
        -weights.bias("z")
        if weights.recurrence is MinGRU
        else weights.bias("f" if "f" in weights.gates else "z")
    )


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_every_gate_of_every_layer_is_found(make: Make) -> None:
    module = make()
    sizes = [weight.numel() for name, weight in module.named_parameters() if "weight_hh" in name]
    assert sum(block.numel() for block in recurrent_blocks(module)) == sum(sizes) > 0


@pytest.mark.parametrize("gain", [1.0, 0.5])
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_every_block_is_orthogonal(make: Make, gain: float) -> None:
    blocks = recurrent_blocks(orthogonal_(made(make), gain, drawing()))
    expected = (gain**2 * torch.eye(H)).expand(len(blocks), H, H)
    torch.testing.assert_close(torch.stack([b @ b.T for b in blocks]), expected)


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_no_two_blocks_are_drawn_alike(make: Make) -> None:
    blocks = recurrent_blocks(orthogonal_(made(make), generator=drawing()))
    assert len({tuple(block.flatten().tolist()) for block in blocks}) == len(blocks)


@pytest.mark.parametrize("scale", [1.0, 0.9])
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_every_block_is_the_identity(make: Make, scale: float) -> None:
    blocks = recurrent_blocks(identity_(made(make), scale, generator=drawing()))
    assert torch.equal(torch.stack(blocks), (scale * torch.eye(H)).expand(len(blocks), H, H))


def test_an_irnn_starts_with_small_input_weights_and_no_bias() -> None:
    layer = identity_(nn.RNN(400, 100, nonlinearity="relu"), generator=drawing())
    assert layer.weight_ih_l0.std().item() == pytest.approx(0.001, rel=0.02)
    assert not torch.cat([layer.bias_ih_l0, layer.bias_hh_l0]).any()


def test_an_irnn_adds_up_what_it_reads() -> None:
    """With W = I and ReLU a positive state is kept for ever."""
    layer = identity_(nn.RNN(1, 4, nonlinearity="relu"), input_std=0.0)
    state = torch.rand(1, 2, 4, generator=drawing())
    assert torch.equal(layer(torch.zeros(50, 2, 1), state)[0][-1], state[0])


@pytest.mark.parametrize("make", GATED.values(), ids=GATED)
def test_a_chrono_unit_forgets_at_a_time_between_the_bounds(make: Make) -> None:
    module = chrono_(made(make), t_max=50, t_min=5, generator=drawing())
    times = 1 / (1 - torch.sigmoid(torch.cat([kept(one) for one in recurrent_weights(module)])))
    assert 5 < times.min().item() < times.max().item() < 50


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_chrono_times_are_uniform(kind: type[nn.RNNBase]) -> None:
    layer = chrono_(kind(1, 4000), t_max=1000, generator=drawing())
    times = 1 + kept(recurrent_weights(layer)[0]).exp()
    quantiles = torch.quantile(times, torch.tensor([0.25, 0.5, 0.75]))
    assert quantiles.tolist() == pytest.approx([251, 501, 750], abs=30)


@pytest.mark.parametrize("draw", [lambda m: chrono_(m, 100), uniform_gates_], ids=["chrono", "u"])
def test_an_lstm_writes_as_much_as_it_forgets(draw: Callable[[nn.Module], nn.Module]) -> None:
    with seeded(0):
        weights = recurrent_weights(draw(nn.LSTM(I, H)))[0]
    assert torch.equal(weights.bias("i"), -weights.bias("f"))


@pytest.mark.parametrize("make", GATED.values(), ids=GATED)
def test_uniform_gates_lie_between_the_bounds(make: Make) -> None:
    found = recurrent_weights(uniform_gates_(made(make), drawing()))
    gates = torch.sigmoid(torch.cat([kept(one) for one in found]))
    assert 1 / H < gates.min().item() < gates.max().item() < 1 - 1 / H


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, cells.JANET, cells.MinGRU])
def test_uniform_gates_are_uniform(kind: Callable[..., nn.Module]) -> None:
    layer = uniform_gates_(kind(1, 2000), drawing())
    gates = torch.sigmoid(kept(recurrent_weights(layer)[0])).sort().values
    uniform = torch.linspace(0, 1, 2000)
    assert (gates - uniform).abs().max() < 0.04  # Kolmogorov and Smirnov, p < 0.01


def test_uniform_gates_have_time_scales_up_to_the_number_of_units() -> None:
    weights = recurrent_weights(uniform_gates_(nn.LSTM(1, 2000), drawing()))[0]
    times = 1 / (1 - torch.sigmoid(kept(weights)))
    assert [(times > tau).double().mean().item() for tau in (2, 20, 200)] == pytest.approx(
        [1 / 2, 1 / 20, 1 / 200], rel=0.5
    )


@pytest.mark.parametrize("make", GATED.values(), ids=GATED)
@pytest.mark.parametrize("value", [1.0, -2.5])
def test_the_forget_bias_is_what_torch_adds(make: Make, value: float) -> None:
    found = recurrent_weights(forget_bias_(made(make), value))
    assert torch.equal(
        torch.cat([kept(one) for one in found]), torch.full((len(found) * H,), value)
    )


def test_the_identity_of_an_indrnn_is_ones() -> None:
    layer = identity_(cells.IndRNN(I, H, num_layers=2), 0.9, generator=drawing())
    assert torch.equal(
        torch.cat([layer.weight_hh_l0, layer.weight_hh_l1]), torch.full((2 * H,), 0.9)
    )


CHANGES: dict[str, tuple[Callable[[nn.Module], object], dict[str, Make], str]] = {
    "orthogonal": (lambda module: orthogonal_(module, generator=drawing()), MODULES, "weight_hh"),
    "chrono": (lambda module: chrono_(module, 30, generator=drawing()), GATED, "bias"),
    "forget bias": (lambda module: forget_bias_(module, 2.0), GATED, "bias"),
    "uniform gates": (lambda module: uniform_gates_(module, drawing()), GATED, "bias"),
}


@pytest.mark.parametrize(
    ("make", "change", "touched"),
    [
        pytest.param(make, change, touched, id=f"{what}, {name}")
        for what, (change, modules, touched) in CHANGES.items()
        for name, make in modules.items()
    ],
)
def test_nothing_else_is_changed(
    make: Make, change: Callable[[nn.Module], object], touched: str
) -> None:
    module, before = made(make), made(make).state_dict()
    change(module)
    after = module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if touched in name and name[:2] != "0."}


@pytest.mark.parametrize("gate", ["g", "o"])
def test_chrono_leaves_the_other_gates_alone(gate: str) -> None:
    module, before = made(MODULES["LSTM"]), made(MODULES["LSTM"])
    chrono_(module, 30, generator=drawing())
    pairs = zip(recurrent_weights(module), recurrent_weights(before), strict=True)
    assert all(torch.equal(after.bias(gate), one.bias(gate)) for after, one in pairs)


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_each_draws_from_its_generator_alone(name: str) -> None:
    drawn = []
    for seed in (0, 0, 1):
        module = made(MODULES["LSTM"])
        state = torch.random.get_rng_state()
        INITIALISATIONS[name](module, 40, drawing(seed))
        assert torch.equal(state, torch.random.get_rng_state())
        drawn.append(torch.cat([weight.flatten() for weight in module.parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2]) is (name in ("default", "forget-bias"))


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_a_gradient_still_arrives_at_every_weight(name: str) -> None:
    module = made(MODULES["GRU"])
    INITIALISATIONS[name](module, 40, drawing())
    module(torch.randn(5, 2, I, generator=drawing()))[0].sum().backward()
    assert all(weight.grad is not None for weight in module.parameters())


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no recurrent layer": (lambda: orthogonal_(nn.Linear(2, 2)), "no recurrent layer"),
    "projection": (lambda: orthogonal_(nn.LSTM(2, 4, proj_size=3)), r"shape \(4, 3\)"),
    "projection, identity": (lambda: identity_(nn.LSTM(2, 4, proj_size=3)), "square matrix"),
    "diagonal": (lambda: orthogonal_(cells.IndRNN(2, 4)), r"shape \(4,\)"),
    "oscillators": (lambda: identity_(cells.CoRNN(2, 4)), "coRNN has no recurrent matrix"),
    "antisymmetric": (lambda: orthogonal_(cells.AntisymmetricRNN(2, 4)), "no recurrent matrix"),
    "orthogonal already": (lambda: orthogonal_(cells.OrthogonalRNN(2, 4)), "is parametrised"),
    "no matrix": (lambda: orthogonal_(cells.MinGRU(2, 4)), "no recurrent matrix"),
    "no gate": (lambda: forget_bias_(nn.RNN(2, 4)), "rnn has no gate that keeps its state"),
    "no bias": (lambda: chrono_(nn.LSTM(2, 4, bias=False), 30), "lstm has no bias"),
    "a short time": (lambda: chrono_(nn.LSTM(2, 4), 30, 1), "t_min = 1"),
    "times out of order": (lambda: chrono_(nn.LSTM(2, 4), 30, 40), "to t_max = 30"),
    "a single unit": (lambda: uniform_gates_(nn.GRU(2, 1)), "gru has too few units"),
    "uniform, no gate": (lambda: uniform_gates_(nn.RNN(2, 4)), "no gate that keeps its state"),
    "no time at all": (lambda: chrono_(nn.LSTM(2, 4), math.nan), "t_max = nan"),
}


@pytest.mark.parametrize(("asked", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(asked: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        asked()


def test_what_is_refused_is_left_as_it_was() -> None:
    model = nn.ModuleList([nn.LSTM(I, H), nn.RNN(I, H)])
    before = [weight.clone() for weight in model.parameters()]
    with pytest.raises(InputError, match="1 has no gate"):
        chrono_(model, 30)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
