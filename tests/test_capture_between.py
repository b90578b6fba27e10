"""What is done to a state between two steps: the gain by lag against autograd's, in float64."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from cases import B, H, I, fill, normal
from torch import Tensor, nn

import throughtime as tt
from throughtime.measures.lags import LagSweep
from throughtime.trace import LayerTrace

T, EXACT = 12, 1e-9
State = tuple[Tensor, ...]
Between = Callable[[int, State], State]

CELLS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}
LAYERS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}


class Halved(torch.autograd.Function):
    """The same value, half of the gradient."""

    @staticmethod
    def forward(_: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        return gradient / 2


class Loop(nn.Module):
    """A cell, or a layer called one step at a time; its states are kept, each part an alias."""

    def __init__(self, kind: str, between: Between, of_layers: bool) -> None:
        super().__init__()
        self.core = (LAYERS if of_layers else CELLS)[kind](I, H)
        self.start = nn.Parameter(torch.empty(H))
        self.kind, self.between, self.of_layers = kind, between, of_layers
        self.states: list[State] = []

    def forward(self, x: Tensor) -> Tensor:
        state: State = (x.new_zeros(B, H),) * (2 if self.kind == "LSTM" else 1)
        for t, step in enumerate(x):
            state = self.step(step, self.between(t, state))
            state = tuple(part.clone() for part in state)
            self.states.append(state)
        return state[0].square().sum() + state[-1].sum()

    def step(self, x: Tensor, state: State) -> State:
        if not self.of_layers:
            after = self.core(x, state if self.kind == "LSTM" else state[0])
            return after if self.kind == "LSTM" else (after,)
        given = tuple(part.unsqueeze(0) for part in state)
        after = self.core(x.unsqueeze(0), given if self.kind == "LSTM" else given[0])[1]
        return tuple(part[0] for part in (after if self.kind == "LSTM" else (after,)))


def build(kind: str, between: Between, of_layers: bool = False) -> Loop:
    return fill(Loop(kind, between, of_layers).double(), scale=1.5)


def each(change: Callable[[int, Tensor], Tensor]) -> Between:
    return lambda t, state: tuple(change(t, part) for part in state)


def going(t: int) -> Tensor:
    """Which sequences do not begin anew: at steps 4 and 8 the first does, at 6 all do."""
    return torch.tensor([[t not in (4, 6, 8)], [t != 6], [t not in (6, 7)]])


def factors(t: int) -> Tensor:
    return (normal(B, H, seed=40 + t) > -0.3).double() / 0.7


SAME: dict[str, Between] = {
    "halved by a mask": each(lambda t, part: part * (0.5 if t == 5 else 1.0)),
    "dropout": each(lambda t, part: part * factors(t)),
    "tripled": each(lambda _, part: 3 * part),
    "gradient halved by a detached twin": each(lambda _, part: part / 2 + part.detach() / 2),
    "gradient halved by a function": each(lambda _, part: Halved.apply(part)),
    "one unit set to zero in place": each(
        lambda _, part: part.clone().index_fill_(1, torch.tensor([1]), 0.0)
    ),
}
DETACHED: dict[str, Between] = {
    "h": lambda _, state: (state[0].detach(), *state[1:]),
    "c": lambda _, state: (state[0], state[1].detach()),
    "half of the units": each(lambda _, p: torch.cat([p[:, :2].detach(), p[:, 2:]], -1)),
}
RESET: dict[str, Between] = {
    "by a mask": each(lambda t, part: part * going(t)),
    "by where": each(lambda t, part: torch.where(going(t), part, torch.zeros_like(part))),
    "really": each(lambda t, part: torch.zeros_like(part) if t in (5, 9) else part),
}


def captured(model: Loop) -> LayerTrace:
    with tt.capture(model) as run:
        model(normal(T, B, I)).backward()
    (layer,) = run.trace
    return layer


def autograds(model: Loop) -> np.ndarray:
    """log10 norms of what the last step's loss sends to every state (T B)."""
    model.states.clear()
    loss = model(normal(T, B, I))
    ends = [part for part in model.states[-1] if part.requires_grad]
    sources = torch.autograd.grad(loss, ends, retain_graph=True)

    def norms() -> Iterator[Tensor]:
        for state in model.states:
            found = torch.autograd.grad(
                ends, state, sources, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            yield torch.cat(found, -1).norm(dim=-1)

    with np.errstate(divide="ignore"):
        return np.log10(torch.stack(list(norms())).numpy())


def measured(layer: LayerTrace) -> np.ndarray:
    return LagSweep.run(layer, anchors=[T - 1], parts=("s",)).norms[0, 0]


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=EXACT)


@pytest.mark.parametrize("of_layers", [False, True], ids=["cell", "layer"])
@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("kind", CELLS)
def test_a_factor_between_the_steps(kind: str, name: str, of_layers: bool) -> None:
    layer = captured(build(kind, SAME[name], of_layers))
    assert layer.steps == T
    assert layer.starts is None
    assert not layer.spoilt
    assert layer.verified is not None
    assert layer.verified < EXACT
    assert_close(measured(layer), autograds(build(kind, SAME[name], of_layers)))


@pytest.mark.parametrize("of_layers", [False, True], ids=["cell", "layer"])
@pytest.mark.parametrize("name", RESET)
@pytest.mark.parametrize("kind", CELLS)
def test_a_reset_begins_a_new_episode(kind: str, name: str, of_layers: bool) -> None:
    layer = captured(build(kind, RESET[name], of_layers))
    assert layer.steps == T
    wanted = autograds(build(kind, RESET[name], of_layers))
    wanted[np.isneginf(wanted)] = np.nan
    assert np.isnan(wanted).any()
    assert_close(measured(layer), wanted)


def learned_anew(model: Loop) -> Between:
    return each(lambda t, part: torch.where(going(t), part, model.start.expand_as(part)))


@pytest.mark.parametrize("kind", CELLS)
def test_a_reset_to_a_learned_state(kind: str) -> None:
    model, twin = (build(kind, lambda _, state: state) for _ in range(2))
    model.between, twin.between = learned_anew(model), learned_anew(twin)
    layer, wanted = captured(model), autograds(twin)
    wanted[np.isneginf(wanted)] = np.nan
    assert layer.steps == T
    assert_close(measured(layer), wanted)


@pytest.mark.parametrize("of_layers", [False, True], ids=["cell", "layer"])
@pytest.mark.parametrize("name", DETACHED)
def test_a_part_of_the_state_detached(name: str, of_layers: bool) -> None:
    layer = captured(build("LSTM", DETACHED[name], of_layers))
    assert layer.detached == {"half of the units": ("h", "c")}.get(name, (name,))
    assert not layer.walls
    assert_close(measured(layer), autograds(build("LSTM", DETACHED[name], of_layers)))
    (finding,) = [
        one
        for one in tt.diagnose(tt.Trace((layer,)), 5).findings
        if one.disease == "partly detached"
    ]
    assert finding.evidence["parts"] == layer.detached


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_a_part_of_the_units_detached(kind: str) -> None:
    between = DETACHED["half of the units"]
    layer = captured(build(kind, between))
    assert layer.detached == ("h",)
    assert_close(measured(layer), autograds(build(kind, between)))
