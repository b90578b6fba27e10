"""What capture leaves behind: nothing. On the model, in torch, in the random state, on any exit."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch
from cases import B, H, I, T, fill, normal, weighed
from torch import Tensor, nn
from torch.nn.modules import module as torch_hooks
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

import throughtime as tt

HOOKS = [name for name in vars(nn.Module()) if name.endswith(("_hooks", "_kwargs", "_called"))]
GLOBAL_HOOKS = [name for name in vars(torch_hooks) if name.startswith("_global_")]


class Tagger(nn.Module):
    """Packed sentences through an embedding, a bidirectional LSTM with dropout and a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, I)
        self.layers = nn.LSTM(I, H, num_layers=2, dropout=0.5, bidirectional=True)
        self.cell = nn.GRUCell(2 * H, H)
        self.read = nn.Linear(H, 2)
        self.embed.weight.requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(tokens), torch.tensor([T, T - 2]))
        outputs, state = pad_packed_sequence(self.layers(packed)[0])[0], None
        for output in outputs:
            state = self.cell(output, state)
        return self.read(state)


TOKENS = torch.arange(2 * T).reshape(T, 2) % 9


def train_once(model: nn.Module) -> None:
    weighed(model(TOKENS), 3).backward()


def all_of(model: nn.Module) -> dict[str, Any]:
    """Everything about a model, and about torch, that a hook or a mode could have changed."""
    modules = dict(model.named_modules())
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "memory": [value.data_ptr() for value in model.state_dict().values()],
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "forwards": {name: module.forward for name, module in modules.items()},
        "types": {name: type(module) for name, module in modules.items()},
        "hooks": {name: [dict(getattr(m, h)) for h in HOOKS] for name, m in modules.items()},
        "hooks on weights": [parameter._backward_hooks for parameter in model.parameters()],
        "modes": {name: module.training for name, module in modules.items()},
        "asked": [parameter.requires_grad for parameter in model.parameters()],
        "frozen": [p.grad for p in model.parameters() if not p.requires_grad],
        "hooks of torch": [copy.copy(getattr(torch_hooks, name)) for name in GLOBAL_HOOKS],
        "modes of torch": torch.overrides._get_current_function_mode_stack(),
        "grad mode": torch.is_grad_enabled(),
        "cuDNN": torch.backends.cudnn.enabled,
        "stance": torch._dynamo.eval_frame._stance.stance,
    }


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Everything about the model is afterwards as it was before."""
    before = all_of(model)
    yield
    after = all_of(model)
    torch.testing.assert_close(after.pop("weights"), before.pop("weights"), rtol=0, atol=0)
    assert after == before


@pytest.fixture
def model() -> nn.Module:
    model = fill(Tagger())
    model.read.eval()
    model.layers.register_forward_hook(lambda *_: None)
    return model


def test_a_captured_step_changes_nothing(model: nn.Module) -> None:
    with unchanged(model), tt.capture(model) as run:
        train_once(model)
    assert run.trace.names[-1] == "cell"


def test_to_read_the_trace_changes_nothing(model: nn.Module) -> None:
    with tt.capture(model) as run:
        train_once(model)
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    state = torch.get_rng_state()
    with unchanged(model):
        tt.diagnose(run.trace)
    left = [p.grad for p in model.parameters() if p.grad is not None]
    torch.testing.assert_close(left, gradients, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["forward", "backward", "between"])
def test_an_interrupt_leaves_nothing_behind(
    model: nn.Module, kind: type[BaseException], where: str
) -> None:
    def stop(*_: object) -> None:
        raise kind

    handle: Any = None
    if where == "forward":
        handle = model.cell.register_forward_pre_hook(stop)
    with unchanged(model):
        with suppress(kind), tt.capture(model):
            out = model(TOKENS)
            if where == "between":
                raise kind
            handle = out.register_hook(stop)
            out.sum().backward()
        assert torch_hooks._global_forward_hooks == {}
    if handle is not None:
        handle.remove()


def test_a_layer_of_another_model_is_not_seen_after_an_interrupt_caught_in_a_forward_pass() -> None:
    class Patient(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(I, H)

        def forward(self, x: Tensor) -> Tensor:
            with suppress(KeyboardInterrupt):
                self.cell(x)
            return self.cell(x)

    def stop_once(*_: object) -> None:
        handle.remove()
        raise KeyboardInterrupt

    model, other = Patient(), nn.GRU(H, H)
    handle = model.cell.register_forward_hook(stop_once)
    with tt.capture(model) as run:
        other(model(torch.ones(B, I)).unsqueeze(0))[0].sum().backward()
    assert run.trace.names == ("cell",)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_what_follows_an_interrupt_in_a_checkpoint_is_seen_as_ever(
    model: nn.Module, kind: type[BaseException]
) -> None:
    def stop(*_: object) -> None:
        if torch._C._current_graph_task_id() != -1:  # inside of a backward pass
            raise kind

    other = nn.GRU(H, H)
    with tt.capture(model) as run:
        handle = model.cell.register_forward_hook(stop)
        with suppress(kind):
            checkpoint(model, TOKENS, use_reentrant=False).sum().backward()
        handle.remove()
        train_once(model)
        other(torch.ones(T, B, H))[0].sum().backward()
    assert {name.partition(" ")[0] for name in run.trace.names} == {
        *(f"layers.l{n}{way}" for n in (0, 1) for way in ("", ".reverse")),
        "cell",
    }


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_interrupt_of_what_a_checkpoint_runs_again(
    model: nn.Module, kind: type[BaseException]
) -> None:
    def stop(*_: object) -> None:
        if torch._C._current_graph_task_id() != -1:  # inside of a backward pass
            raise kind

    handle = model.cell.register_forward_hook(stop)
    with unchanged(model), suppress(kind), tt.capture(model):
        checkpoint(model, TOKENS, use_reentrant=False).sum().backward()
    handle.remove()


@pytest.mark.parametrize("leave", ["break", "continue", "return"])
def test_leaving_a_loop_from_inside(model: nn.Module, leave: str) -> None:
    def once() -> None:
        for _ in range(2):
            with tt.capture(model):
                train_once(model)
                if leave == "break":
                    break
                if leave == "continue":
                    continue
                return

    with unchanged(model):
        once()


def test_a_generator_that_is_closed_inside(model: nn.Module) -> None:
    def steps() -> Iterator[int]:
        with tt.capture(model):
            train_once(model)
            yield 1

    with unchanged(model):
        running = steps()
        next(running)
        running.close()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_what_follows_an_interrupt_caught_inside_is_seen_as_ever(
    model: nn.Module, kind: type[BaseException]
) -> None:
    def stop(*_: object) -> None:
        raise kind

    with tt.capture(model) as run:
        handle = model.cell.register_forward_pre_hook(stop)
        with suppress(kind):
            model(TOKENS)
        handle.remove()
        train_once(model)
    assert run.trace.names[-1] == "cell"


def deep_copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))  # noqa: S301  — our own


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def saved_state(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = Tagger()
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


COPIES = [deep_copied, pickled, saved, saved_state]


@pytest.mark.parametrize("make", COPIES)
@pytest.mark.parametrize("when", ["inside", "after"])
def test_a_model_can_be_copied_and_saved(make: Callable[[nn.Module], nn.Module], when: str) -> None:
    model = fill(Tagger())
    with tt.capture(model) as run:
        train_once(model)
        twin = make(model) if when == "inside" else None
    twin = twin or make(model)
    torch.testing.assert_close(twin.state_dict(), model.state_dict(), rtol=0, atol=0)
    with tt.capture(twin) as again:
        train_once(twin)
    assert again.trace.names == run.trace.names


def test_an_output_can_be_saved_inside() -> None:
    model = fill(nn.GRU(I, H).double())
    with tt.capture(model):
        out, _ = model(normal(T, B, I))
        torch.save(out, file := io.BytesIO())
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True), out)


def test_a_model_that_was_captured_is_captured_again(model: nn.Module) -> None:
    traces = []
    for _ in range(2):
        model.zero_grad()
        with tt.capture(model) as run, torch.random.fork_rng():
            torch.manual_seed(1)
            train_once(model)
        traces.append(run.trace)
    first, second = traces
    assert first.names == second.names
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.gradients, other.gradients)


def test_a_capture_serves_one_block() -> None:
    model = nn.GRU(I, H)
    with tt.capture(model) as run, pytest.raises(tt.InputError, match="serves one block"):
        run.start()
    with pytest.raises(tt.InputError, match="serves one block"), run:
        pass


def test_the_handle_closes_once_and_for_all(model: nn.Module) -> None:
    with unchanged(model):
        run = tt.capture(model).start()
        train_once(model)
        run.remove()
        run.remove()
    assert run.trace.names[-1] == "cell"


def test_two_models_in_captures_of_their_own() -> None:
    generator, critic = fill(nn.GRU(I, H).double()), fill(nn.LSTM(H, 2, 2).double(), seed=1)

    def step() -> None:
        weighed(critic(generator(normal(T, B, I))[0])[0], 3).backward()

    with tt.capture(generator) as alone:
        step()
    with tt.capture(generator) as outer, tt.capture(critic) as inner:
        step()
    assert (outer.trace.names, inner.trace.names) == (("gru",), ("lstm.l0", "lstm.l1"))
    assert torch.equal(outer.trace[0].gradients, alone.trace[0].gradients)
    assert inner.trace[0].verified is not None


def test_a_layer_is_seen_by_one_capture_at_a_time(model: nn.Module) -> None:
    with unchanged(model), tt.capture(model) as run:
        with pytest.raises(tt.InputError, match="layer 'layers' is already seen"):
            tt.capture(model.layers).start()
        train_once(model)
    assert run.trace.names[-1] == "cell"


def test_another_thread_is_not_seen(model: nn.Module) -> None:
    from threading import Thread

    with tt.capture(model) as run:
        other = Thread(target=train_once, args=[model])
        other.start()
        other.join()
    with pytest.raises(tt.NothingRecordedError):
        _ = run.trace


def test_outside_of_the_block_nothing_is_seen(model: nn.Module) -> None:
    with tt.capture(model) as run:
        pass
    train_once(model)
    with pytest.raises(tt.NothingRecordedError):
        _ = run.trace
