"""What torch offers around a recurrent layer: each with its gradient, or with a reason why not."""

from collections.abc import Callable, Iterator

import pytest
import torch
from cases import B, H, I, T, fill, normal, weighed
from reference import EXACT, Chains, assert_captured, assert_same, unrolled
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

import throughtime as tt
from throughtime.trace import Trace, relative_difference

LAYERS = {"tanh": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
State = Tensor | tuple[Tensor, ...] | None


class Net(nn.Module):
    """A stacked layer and a read-out of its last step."""

    def __init__(self, kind: str, **settings: object) -> None:
        super().__init__()
        self.layer, self.read = LAYERS[kind](I, H, num_layers=2, **settings), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.layer(x)[0][-1])


def build(kind: str, **settings: object) -> Net:
    return fill(Net(kind, **settings).double(), scale=1.5)


def step(model: nn.Module) -> None:
    weighed(model(normal(T, B, I)), 3).backward()


def check(
    make: Callable[[], nn.Module],
    loss: Callable[[nn.Module], object] = step,
    plain: Callable[[nn.Module], object] | None = None,
    chains: Chains | None = None,
) -> Trace:
    return assert_captured(make, loss, chains, plain)


@pytest.fixture(params=LAYERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


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


class Checkpointed(nn.Module):
    """A layer run again in the backward pass, over the whole sequence or window by window."""

    def __init__(self, kind: str, window: int, reentrant: bool) -> None:
        super().__init__()
        self.layer = LAYERS[kind](I, H, num_layers=2, dropout=0.5)
        self.window, self.reentrant = window, reentrant

    def forward(self, x: Tensor) -> Tensor:
        state: tuple[Tensor, ...] = ()
        out = []
        for part in x.split(self.window):
            output, *state = checkpoint(self.run, part, *state, use_reentrant=self.reentrant)
            out.append(output)
        return torch.cat(out)

    def run(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """All tensors side by side: a reentrant checkpoint detaches what lies in a tuple."""
        hx = state if len(state) > 1 else next(iter(state), None)
        out, state = self.layer(x, hx)
        return out, *(state if isinstance(state, tuple) else (state,))


@pytest.mark.parametrize("window", [T, 2])
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpoints(kind: str, reentrant: bool, window: int) -> None:
    def seeded(model: nn.Module) -> None:
        x = normal(T, B, I).requires_grad_()  # a reentrant checkpoint asks for it
        with torch.random.fork_rng():
            torch.manual_seed(3)
            weighed(model(x), 3).backward()

    trace = check(
        lambda: fill(Checkpointed(kind, window, reentrant).double(), scale=1.5),
        seeded,
        lambda model: seeded_without_checkpoint(model, window),
    )
    assert trace.names == ("layer.l0", "layer.l1")
    assert trace[0].walls == ()


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_loop_of_cells_is_one_sequence(reentrant: bool) -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(I, H)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.run, x, use_reentrant=reentrant)

        def run(self, x: Tensor) -> Tensor:
            state = None
            for value in x:
                state = self.cell(value, state)
            return state

    def with_gradient(model: nn.Module) -> None:
        weighed(model(normal(T, B, I).requires_grad_()), 3).backward()

    def plain(model: nn.Module) -> None:
        weighed(model.run(normal(T, B, I)), 3).backward()

    trace = check(lambda: fill(Loop().double()), with_gradient, plain)
    assert trace[0].steps == T
    assert not trace.notes


def test_a_checkpoint_that_two_backward_passes_run_again(kind: str) -> None:
    def twice(forward: Callable[[Tensor], Tensor]) -> None:
        out = forward(normal(T, B, I).requires_grad_())
        weighed(out[:2], 3).backward(retain_graph=True)
        weighed(out, 4).backward()

    def checkpointed(model: nn.Module) -> None:
        twice(lambda x: checkpoint(model, x, use_reentrant=True))

    check(lambda: build(kind), checkpointed, twice)


def test_a_backward_pass_inside_of_a_forward_one(kind: str) -> None:
    class Force(nn.Module):
        """The slope of an energy, which a checkpoint computes, as the output."""

        def __init__(self) -> None:
            super().__init__()
            self.energy, self.layer = build(kind), LAYERS[kind](I, H)

        def forward(self, x: Tensor) -> Tensor:
            x = x.requires_grad_()
            energy = checkpoint(self.energy, x, use_reentrant=False)
            (force,) = torch.autograd.grad(energy.sum(), x)
            return self.layer(force)[0]

    model, (loops, walks) = fill(Force().double()), unrolled(fill(Force().double()))
    with tt.capture(model) as run:
        step(model)
    step(loops)
    assert run.trace.names == ("energy.layer.l0", "energy.layer.l1", "layer")
    for layer in run.trace:
        assert relative_difference(layer.gradients, walks[layer.name][0].total()) < EXACT
    assert run.trace["layer"].verified is not None
    assert run.trace["layer"].verified < EXACT


def seeded_without_checkpoint(model: nn.Module, window: int) -> None:
    state: State = None
    out = []
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for part in normal(T, B, I).split(window):
            output, state = model.layer(part, state)
            out.append(output)
        weighed(torch.cat(out), 3).backward()


@pytest.mark.parametrize("in_place", [True, False])
def test_a_compiled_model_is_captured_as_its_original(kind: str, in_place: bool) -> None:
    model, (loops, walks) = build(kind), unrolled(build(kind))
    if in_place:
        model.compile(backend="eager")
    compiled = model if in_place else torch.compile(model, backend="eager")
    step(compiled)  # compiled before the block, and run as it was compiled
    with tt.capture(compiled) as run:
        step(compiled)
    step(loops)
    assert_same(run.trace, walks, EXACT)
    assert "is compiled: its original ran" in " ".join(run.trace.notes)


def test_autocast_is_verified_at_its_own_precision(kind: str) -> None:
    model = fill(nn.ModuleList([nn.Linear(I, I), Net(kind)]))
    with tt.capture(model) as run, torch.autocast("cpu", dtype=torch.bfloat16):
        embed, net = model  # the layer reads bfloat16, and its weights are float32
        weighed(net(embed(normal(T, B, I, dtype=torch.float32))), 3).backward()
    for layer in run.trace:
        assert layer.verified is not None
        assert 1e-6 < layer.verified < 0.05


def test_a_scaled_loss(kind: str) -> None:
    def scaled(model: nn.Module) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        scaler.scale(weighed(model(normal(T, B, I)), 3)).backward()

    def plain(model: nn.Module) -> None:
        (8 * weighed(model(normal(T, B, I)), 3)).backward()

    check(lambda: build(kind), scaled, plain)


def test_a_functional_call(kind: str) -> None:
    def functional(model: nn.Module) -> None:
        weights = {name: weight * 1 for name, weight in model.named_parameters()}
        weighed(torch.func.functional_call(model, weights, normal(T, B, I)), 3).backward()

    check(lambda: build(kind), functional, plain=step)


def test_torch_func_grad(kind: str) -> None:
    def functional(model: nn.Module) -> None:
        def loss(weights: dict[str, Tensor]) -> Tensor:
            return weighed(torch.func.functional_call(model, weights, normal(T, B, I)), 3)

        torch.func.grad(loss)({name: p.detach() for name, p in model.named_parameters()})

    check(lambda: build(kind), functional, plain=step)


@pytest.fixture(scope="module")
def process_group() -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_a_model_wrapped_for_distributed_training(kind: str) -> None:
    model = build(kind)
    wrapped, (loops, walks) = nn.parallel.DistributedDataParallel(model), unrolled(build(kind))
    with tt.capture(wrapped) as run:
        step(wrapped)
    step(loops)
    assert_same(run.trace, {f"module.{name}": walk for name, walk in walks.items()}, EXACT)


@pytest.mark.parametrize("memory", [1, 1000, 10_000])
def test_a_small_memory_budget_changes_nothing(kind: str, memory: int) -> None:
    model, (loops, walks) = build(kind), unrolled(build(kind))
    with tt.capture(model, memory=memory) as run:
        step(model)
    step(loops)
    assert_same(run.trace, walks, EXACT)


def test_a_scripted_model_says_that_it_cannot_be_seen() -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        model = torch.jit.script(Net("GRU"))
    with tt.capture(model) as run:
        model(torch.ones(T, B, I)).sum().backward()
    with pytest.raises(tt.NothingRecordedError, match=r"torch\.jit script"):
        _ = run.trace
