"""What torch runs a model inside of: checkpoints, compilation, autocast, functional calls."""

from collections.abc import Callable, Iterator

import pytest
import torch
from captured_nets import LAYERS, Net, State, build, check, each_kind, step
from cases import B, H, I, T, fill, normal, weighed
from reference import EXACT, assert_same, unrolled
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import throughtime as tt
from throughtime.trace import relative_difference

kind = pytest.fixture(each_kind, params=LAYERS)


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


def test_a_scripted_model_says_that_it_cannot_be_seen() -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        model = torch.jit.script(Net("GRU"))
    with tt.capture(model) as run:
        model(torch.ones(T, B, I)).sum().backward()
    with pytest.raises(tt.NothingRecordedError, match=r"torch\.jit script"):
        _ = run.trace
