"""Capture of the layers that ``unroll`` runs, against the same layers run as a loop of steps.

In place of ``unroll`` a layer gets ``Loops``: one step after another, as people write it, whose
states keep the gradient that autograd finds for them. They are joint states, so that this is δ_t.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from cases import normal
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import throughtime as tt
from throughtime.cells import CELLS, RecurrentLayer, layer, make_cell
from throughtime.recurrences import Driven, Place
from throughtime.trace import LayerTrace, Trace, turn

T, B, I, H = 12, 3, 3, 4
OURS = [
    name
    for name, kind in CELLS.items()
    if isinstance(kind, type) and issubclass(kind, RecurrentLayer)
]
CLOSE = {"rtol": 1e-10, "atol": 1e-10}
LENGTHS = (4, 12, 7)


class Loops:
    """Runs of the layer, each a list of its states (B S) in the order of computation."""

    def __init__(self) -> None:
        self.runs: list[tuple[Place, list[Tensor]]] = []

    def __call__(
        self,
        kind: type[Driven],
        settings: Mapping[str, float],
        inputs: Tensor,
        initial: Tensor,
        weights: Sequence[Tensor | None],
        place: Place,
    ) -> Tensor:
        cell, state, states = kind(*weights, **settings), initial, []
        for x in inputs:
            state = cell.step(state, x)
            state.retain_grad()
            states.append(state)
        self.runs.append((place, states))
        whole = torch.stack(states)
        if place.lengths is None:
            return whole
        steps = torch.arange(len(inputs)).unsqueeze(1)
        return whole * (steps < torch.tensor(place.lengths)).unsqueeze(-1)

    def of(self, *runs: int) -> tuple[Tensor, Tensor]:
        """States and total gradients (T B S) of these runs, as a trace holds them."""
        place, _ = self.runs[runs[0]]
        states = [state for run in runs for state in self.runs[run][1]]
        found = []
        for values in (states, [s.grad if s.grad is not None else s * 0 for s in states]):
            whole = torch.stack(values).detach()
            if place.order is not None:
                whole = whole[:, place.order]
            lengths = None if place.order is None else LENGTHS
            whole = turn(whole, lengths) if place.reverse else whole
            if lengths is not None:
                steps = torch.arange(len(whole)).unsqueeze(1)
                whole = whole * (steps < torch.tensor(lengths)).unsqueeze(-1)
            found.append(whole)
        return found[0], found[1]


class Net(nn.Module):
    """A layer and a read-out at every step; the loss is at the last quarter of them."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.core = make_cell(name, I, H, dtype=torch.float64, **settings)
            width = H * (2 if settings.get("bidirectional") else 1)
            self.readout = nn.Linear(width, 2, dtype=torch.float64)

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Any]:
        output, state = self.core(x, state)
        data = output.data if isinstance(output, PackedSequence) else output
        return self.readout(data), state


def whole(model: Net) -> Tensor:
    return model(normal(T, B, I))[0][-T // 4 :].square().mean()


def packed(model: Net) -> Tensor:
    sequences = [normal(n, I, seed=n) for n in LENGTHS]
    return model(pack_sequence(sequences, enforce_sorted=False))[0].square().mean()


def windows(model: Net, size: int, cut: bool) -> Tensor:
    """Window after window of one sequence; ``cut``: the state is detached in between."""
    total, state = torch.zeros((), dtype=torch.float64), None
    for x in normal(T, B, I).split(size):
        if cut and state is not None:
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        output, state = model(x, state)
        total = total + output.square().mean()
    return total


Loss = Callable[[Net], Tensor]


@contextmanager
def as_loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loops]:
    loops = Loops()
    with monkeypatch.context() as patch:
        patch.setattr(layer, "unroll", loops)
        yield loops


def captured(model: Net, loss: Loss) -> Trace:
    with torch.random.fork_rng(), tt.capture(model) as run:
        torch.manual_seed(5)
        loss(model).backward()
    return run.trace


def looped(model: Net, loss: Loss, monkeypatch: pytest.MonkeyPatch) -> Loops:
    with torch.random.fork_rng(), as_loops(monkeypatch) as loops:
        torch.manual_seed(5)
        loss(copy.deepcopy(model)).backward()
    return loops


def assert_same(found: LayerTrace, wanted: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close((found.states, found.gradients), wanted, **CLOSE)
    assert found.verified is not None
    assert found.verified < 1e-10


STACKS: dict[str, tuple[dict[str, Any], Loss]] = {
    "one layer": ({}, whole),
    "without bias": ({"bias": False}, whole),
    "two layers, both directions": ({"num_layers": 2, "bidirectional": True}, whole),
    "dropout": ({"num_layers": 3, "dropout": 0.4}, whole),
    "packed": ({}, packed),
    "packed, both directions, dropout": (
        {"num_layers": 2, "bidirectional": True, "dropout": 0.4}, packed,
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("how", STACKS)
@pytest.mark.parametrize("name", OURS)
def test_states_and_gradients_are_those_of_the_loop(
    name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, loss = STACKS[how]
    model = Net(name, **settings)
    trace, loops = captured(model, loss), looped(model, loss, monkeypatch)
    assert trace.names == tuple("core" + place.name for place, _ in loops.runs)
    for n, one in enumerate(trace):
        assert_same(one, loops.of(n))


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("name", OURS)
def test_windows_and_single_steps_are_one_sequence(
    name: str, size: int, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Net(name)

    def loss(model: Net) -> Tensor:
        return windows(model, size, cut)

    (one,), loops = captured(model, loss), looped(model, loss, monkeypatch)
    assert_same(one, loops.of(*range(T // size)))
    assert one.walls == (tuple(range(size, T, size)) if cut else ())


@pytest.mark.parametrize("order", ["in order", "packed"])
@pytest.mark.parametrize("name", [name for name in OURS if name != "lru"])
def test_a_stack_is_linked_and_measured_jointly(name: str, order: str) -> None:
    model = Net(name, num_layers=2, dropout=0.4)
    trace = captured(model, packed if order == "packed" else whole)
    (link,) = trace.links
    assert (link.below, link.above) == (("core.l0",), "core.l1")
    below, above = trace.layers
    read = below.states[..., :H] * link.scale
    stacked = make_of(model).step(below_state(above), read)
    alive = above.alive().unsqueeze(-1)
    torch.testing.assert_close(stacked * alive, above.states * alive, **CLOSE)


def make_of(model: Net) -> Driven:
    weights = model.core.weights_of("_l1")
    kind = model.core.recurrence
    return kind(*(weights.get(name) for name in kind.names), **model.core.settings)


def below_state(one: LayerTrace) -> Tensor:
    return torch.cat([torch.zeros_like(one.states[:1]), one.states[:-1]])


@pytest.mark.parametrize("name", OURS)
def test_the_model_is_as_it_was(name: str) -> None:
    model = Net(name, num_layers=2, bidirectional=True)
    plain = copy.deepcopy(model)
    loss = whole(plain)
    loss.backward()
    with tt.capture(model):
        seen = whole(model)
        seen.backward()
    assert torch.equal(loss, seen)
    pairs = zip(model.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)
    whole(model).backward()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", OURS)
def test_a_diagnosis_has_a_verdict_and_a_checked_gradient(name: str, deep: bool) -> None:
    model = Net(name)

    def loss(model: Net) -> Tensor:
        return model(normal(40, B, I))[0].square().mean()

    found = tt.diagnose(captured(model, loss), span=20, deep=deep)
    assert found.verdict in {"healthy", "vanishing", "exploding"}
    assert "not verified" not in str(found)


def test_a_diagnosis_tells_a_short_memory_from_a_long_one() -> None:
    verdicts = []
    for scale in (0.3, 1.0):
        model = Net("indrnn")
        with torch.no_grad():
            model.core.weight_hh_l0.fill_(scale)
            model.core.weight_ih_l0.abs_()
        trace = captured(model, lambda m: m(normal(40, B, I).abs())[0].square().mean())
        verdicts.append(tt.diagnose(trace, span=20).verdict)
    assert verdicts == ["vanishing", "healthy"]


def test_a_wrong_feature_size_names_the_layer() -> None:
    model = Net("janet")
    with tt.capture(model), pytest.raises(tt.InputError, match="layer 'core' reads 3 features"):
        model(normal(T, B, 5))


def test_a_state_on_a_graph_that_is_gone_is_named() -> None:
    model = Net("janet")
    with tt.capture(model):
        output, state = model(normal(T, B, I))
        output.sum().backward()
        again, _ = model(normal(T, B, I), state)
        with pytest.raises(tt.errors.StateCarriedError, match="layer 'core' started from a state"):
            again.sum().backward()


def test_no_gradient_says_why() -> None:
    model = Net("janet")
    with tt.capture(model) as run, torch.no_grad():
        model(normal(T, B, I))
    with pytest.raises(tt.errors.NoGradientError, match=r"ran under torch\.no_grad"):
        _ = run.trace


@pytest.mark.parametrize("frozen", ["weight_hh_l0", "weight_ih_l0"])
def test_a_frozen_weight_is_checked_and_keeps_no_gradient(frozen: str) -> None:
    model = Net("janet")
    model.core.get_parameter(frozen).requires_grad_(False)
    (one,) = captured(model, whole)
    assert one.verified is not None
    assert one.verified < 1e-10
    assert model.core.get_parameter(frozen).grad is None


def test_a_module_that_calls_unroll_itself_is_seen() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = nn.ParameterList([normal(2 * H, I), normal(2 * H, H), normal(2 * H)])

        def forward(self, x: Tensor) -> Tensor:
            kind = CELLS["janet"].recurrence
            initial = x.new_zeros(x.shape[1], H)
            return tt.recurrences.unroll(kind, {"beta": 1.0}, x, initial, list(self.held))

    model = Own()
    with tt.capture(model) as run:
        model(normal(T, B, I))[-1].sum().backward()
    assert (run.trace.names, run.trace[0].kind) == (("held",), "JANET")  # the owner of the weights
