"""What torch does to weights and their gradients around a recurrent layer, each captured."""

import pytest
import torch
from captured_nets import LAYERS, State, build, check, each_kind, step
from cases import B, H, I, T, fill, normal, weighed
from reference import EXACT, assert_same, unrolled
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import throughtime as tt
from throughtime.trace import relative_difference

kind = pytest.fixture(each_kind, params=LAYERS)

WHOLE_WEIGHTS = {
    "orthogonal": parametrizations.orthogonal,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
}


@pytest.mark.parametrize("name", WHOLE_WEIGHTS)
def test_parametrised_weights(kind: str, name: str) -> None:
    def make() -> nn.Module:
        model = build(kind).eval()  # spectral_norm moves its buffers in training
        with torch.random.fork_rng():
            torch.manual_seed(0)
            WHOLE_WEIGHTS[name](model.layer, "weight_hh_l0")
        return model

    check(make)


def test_a_cell_whose_weight_is_made_anew_at_every_step() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(I, H)

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for value in x:
                state = self.cell(value, state)
            return state

    def make() -> nn.Module:
        model = fill(Loop().double())
        parametrizations.weight_norm(model.cell, "weight_hh")
        return model

    def cached(model: nn.Module) -> None:
        with parametrize.cached():
            step(model)

    check(make)
    check(make, cached)


def test_two_modules_that_share_their_weights(kind: str) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = LAYERS[kind](I, H), LAYERS[kind](I, H)
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                setattr(self.right, name, getattr(self.left, name))

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x)[0][-1] - self.right(x.flip(0))[0][-1].square()

    trace = check(lambda: fill(Tied().double()))
    left, right = (layer.parameter_gradient for layer in trace)
    assert relative_difference(left, right) > 0.1, "each is checked by itself"


def test_the_same_module_under_two_names(kind: str) -> None:
    def make() -> nn.Module:
        layer = LAYERS[kind](H, H)
        return fill(nn.ModuleDict({"one": layer, "other": layer}).double())

    def twice(model: nn.ModuleDict) -> None:
        out, _ = model["one"](normal(T, B, H))
        weighed(model["other"](out)[0], 3).backward()

    trace = check(make, twice, chains={"one": [[0], [1]]})
    assert trace.names == ("one", "one (2)")


def test_a_frozen_recurrent_weight_is_verified_all_the_same(kind: str) -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.layer = nn.Embedding(7, I), LAYERS[kind](I, H)
            self.layer.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.embed(x[..., 0].abs().long() % 7))[0]

    model = fill(Tagger().double())
    with tt.capture(model) as run:
        step(model)
    assert run.trace[0].verified is not None
    assert run.trace[0].verified < EXACT
    assert all(parameter.grad is None for parameter in model.layer.parameters())
    check(lambda: fill(Tagger().double()))


def test_accumulated_gradients(kind: str) -> None:
    def twice(model: nn.Module) -> None:
        for seed in (1, 2):
            weighed(model(normal(T, B, I, seed=seed)), 3).backward()

    chains = {name: [[0], [1]] for name in ("layer.l0", "layer.l1")}
    check(lambda: build(kind), twice, chains=chains)


def test_two_losses_over_one_graph(kind: str) -> None:
    def twice(model: nn.Module) -> None:
        out = model(normal(T, B, I))
        weighed(out[:1], 3).backward(retain_graph=True)
        weighed(out, 4).backward()

    check(lambda: build(kind), twice)


def test_gradients_that_are_clipped_and_zeroed_inside_the_block(kind: str) -> None:
    def train(model: nn.Module) -> None:
        step(model)
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        model.zero_grad(set_to_none=False)

    check(lambda: build(kind), train)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_weights_that_an_optimizer_moves_inside_the_block(
    kind: str, optimizer: type[torch.optim.Optimizer]
) -> None:
    def train(model: nn.Module) -> None:
        moving = optimizer(model.parameters(), lr=0.3)
        for seed in (1, 2):
            weighed(model(normal(T, B, I, seed=seed)), 3).backward()
            moving.step()

    chains = {name: [[0], [1]] for name in ("layer.l0", "layer.l1")}
    check(lambda: build(kind), train, chains=chains)


def test_weights_that_move_between_the_windows_of_one_sequence(kind: str) -> None:
    def train(model: nn.Module) -> None:
        moving = torch.optim.SGD(model.parameters(), lr=0.3)
        state: State = None
        for part in normal(T, B, I).split(2):
            out, state = model(part, state)
            state = (
                state.detach() if isinstance(state, Tensor) else tuple(map(Tensor.detach, state))
            )
            weighed(out, 3).backward()
            moving.step()

    trace = check(lambda: fill(LAYERS[kind](I, H).double()), train)
    assert trace[0].walls == (2, 4)


def test_a_learned_start_that_an_optimizer_moves_inside_the_block() -> None:
    class Started(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.start = nn.GRU(I, H), nn.Parameter(torch.empty(1, B, H))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, self.start)[0]

    def train(model: nn.Module) -> None:
        step(model)
        torch.optim.SGD(model.parameters(), lr=0.3).step()

    check(lambda: fill(Started().double()), train)


def test_create_graph_alone_is_an_ordinary_pass(kind: str) -> None:
    def keep(model: nn.Module) -> None:
        loss = weighed(model(normal(T, B, I)), 3)
        parameters = list(model.parameters())
        torch.autograd.grad(loss, parameters, create_graph=True)

    check(lambda: build(kind), keep, plain=step)


def test_second_order_terms_cannot_verify(kind: str) -> None:
    model = build(kind)
    with tt.capture(model) as run:
        x = normal(T, B, I).requires_grad_()
        (gradient,) = torch.autograd.grad(weighed(model(x), 3), x, create_graph=True)
        gradient.square().sum().backward()
    for layer in run.trace:
        assert layer.verified is None
        assert "second-order" in layer.unverified_because


@pytest.mark.parametrize("memory", [1, 1000, 10_000])
def test_a_small_memory_budget_changes_nothing(kind: str, memory: int) -> None:
    model, (loops, walks) = build(kind), unrolled(build(kind))
    with tt.capture(model, memory=memory) as run:
        step(model)
    step(loops)
    assert_same(run.trace, walks, EXACT)
