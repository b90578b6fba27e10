"""Clipping inside the recurrence, against loops of single steps with a hook on every state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import reference
import torch
from cases import LAYER_CASES, Case, Net, fill, normal, weighed
from clipped_layers import EXACT, PROJECTIONS, B, H, I, T, gradients, lstm, ours, run_once
from reference import unrolled
from test_cells_capture import OURS, Loops
from torch import Tensor, nn

from throughtime.cells import layer
from throughtime.errors import InputError
from throughtime.remedies.clipping.states import Clip, clip_states_, clipped_state

pytestmark = pytest.mark.filterwarnings(PROJECTIONS)  # torch then takes its own kernel

BITES = {"norm": 0.5, "value": 0.2}


def by_norm(gradient: Tensor, bound: float) -> Tensor:
    return known(gradient, gradient * (bound / gradient.norm(dim=-1, keepdim=True)).clamp(max=1))


def by_value(gradient: Tensor, bound: float) -> Tensor:
    return known(gradient, gradient.clamp(-bound, bound))


def known(gradient: Tensor, clipped: Tensor) -> Tensor:
    """Nothing, where the gradient is not finite."""
    finite = gradient.isfinite().all(-1, keepdim=True)
    return torch.where(finite, clipped, torch.zeros_like(clipped))


CLIPS = {"norm": by_norm, "value": by_value}


@pytest.fixture
def clip_loops(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From here on every step of a reference loop makes a state with a hook that clips."""
    plain = reference.step

    def start(how: str) -> None:
        def step(*args: object) -> tuple[Tensor, ...]:
            parts = plain(*args)
            joint = torch.cat(parts, -1)
            if joint.requires_grad:
                joint.register_hook(lambda gradient: CLIPS[how](gradient, BITES[how]))
            return joint.split([part.shape[-1] for part in parts], -1)

        monkeypatch.setattr(reference, "step", step)

    return start


@pytest.mark.parametrize(
    ("case", "how"),
    [*((case, "norm") for case in LAYER_CASES), *((case, "value") for case in LAYER_CASES[::3])],
    ids=str,
)
def test_gradients_are_those_of_loops_with_a_hook_on_every_state(
    case: Case, how: str, clip_loops: Callable[[str], None]
) -> None:
    model, loops = Net(case), unrolled(Net(case))[0]
    clip_states_(model, BITES[how], how)
    clip_loops(how)
    run_once(case, model)
    run_once(case, loops)
    torch.testing.assert_close(gradients(model), gradients(loops), **EXACT)


@pytest.mark.parametrize("case", LAYER_CASES[::2], ids=str)
def test_a_bound_that_nothing_reaches_leaves_what_autograd_gives(case: Case) -> None:
    model, plain = Net(case), Net(case)
    with clip_states_(model, 1e9) as clipped:
        run_once(case, model)
    run_once(case, plain)
    torch.testing.assert_close(gradients(model), gradients(plain), **EXACT)
    assert clipped.share == 0


@pytest.mark.parametrize("case", [c for c in LAYER_CASES if not c.bidirectional], ids=str)
def test_the_layers_compute_bit_for_bit_what_they_computed(case: Case) -> None:
    model, plain = Net(case), Net(case)
    clip_states_(model, 0.1)
    for seen, value in zip(run_once(case, model), run_once(case, plain), strict=True):
        assert torch.equal(seen, value)


class ClippedLoops(Loops):
    """The loop of steps of a layer of ours, whose states have a hook that clips."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def __call__(self, kind, settings, *args) -> Tensor:
        how = self.how

        class Hooked(kind):
            def step(self, state: Tensor, x: Tensor) -> Tensor:
                after = super().step(state, x)
                after.register_hook(lambda gradient: CLIPS[how](gradient, BITES[how]))
                return after

        return super().__call__(Hooked, settings, *args)


@pytest.mark.parametrize("how", CLIPS)
@pytest.mark.parametrize("name", OURS)
def test_layers_of_ours_are_clipped_as_loops_of_their_steps(
    name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, loops = (ours(name, num_layers=2, bidirectional=True) for _ in range(2))
    x = normal(T, B, I)
    with clip_states_(model, BITES[how], how) as clipped:
        weighed(model(x)[0], 3).backward()
    monkeypatch.setattr(layer, "unroll", ClippedLoops(how))
    weighed(loops(x)[0], 3).backward()
    torch.testing.assert_close(gradients(model), gradients(loops), rtol=1e-9, atol=1e-10)
    assert clipped.share > 0


CELLS = {"RNNCell": nn.RNNCell, "LSTMCell": nn.LSTMCell, "GRUCell": nn.GRUCell}


class Looped(nn.Module):
    """A cell in a loop."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = None, []
        for row in x:
            state = self.cell(row, state)
            outputs.append(state if isinstance(state, Tensor) else state[0])
        return torch.stack(outputs)


@pytest.mark.parametrize("how", CLIPS)
@pytest.mark.parametrize("name", CELLS)
def test_cells_in_a_loop_are_clipped(
    name: str, how: str, clip_loops: Callable[[str], None]
) -> None:
    model, same = (fill(Looped(CELLS[name](I, H).double()), scale=2) for _ in range(2))
    loops = unrolled(same)[0]
    with clip_states_(model, BITES[how], how) as clipped:
        weighed(model(normal(T, B, I)), 3).backward()
    clip_loops(how)
    weighed(loops(normal(T, B, I)), 3).backward()
    torch.testing.assert_close(gradients(model), gradients(loops), **EXACT)
    assert clipped.share > 0


def test_a_state_of_ones_own_loop_is_clipped_as_one() -> None:
    h, c = (normal(B, H, seed=s).requires_grad_() for s in (1, 2))
    passed = clipped_state((h, c), 0.5)
    sent = normal(B, 2 * H, seed=3)
    (torch.cat(passed, -1) * sent).sum().backward()
    torch.testing.assert_close(torch.cat([h.grad, c.grad], -1), by_norm(sent, 0.5), **EXACT)


@pytest.mark.parametrize("how", CLIPS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_lost_for_its_own_step_and_sequence(
    bad: float, how: str, clip_loops: Callable[[str], None]
) -> None:
    x, weights = normal(T, B, I), normal(T, B, H, seed=4)
    weights[2, 0] = bad
    model, loops = lstm(), unrolled(lstm())[0]
    with clip_states_(model, BITES[how], how) as clipped:
        (model(x)[0] * weights).sum().backward()
    clip_loops(how)
    (loops(x)[0] * weights).sum().backward()
    assert clipped.lost == 1
    torch.testing.assert_close(gradients(model), gradients(loops), **EXACT)


def test_norms_beyond_what_float32_can_square_are_clipped_and_not_lost() -> None:
    rows = torch.tensor([[3e30, 4e30], [3e-30, 4e-30], [3e38, 3e38]])
    clip = Clip(5.0)
    clip.count(clip.clip_(rows))
    expected = torch.tensor([[3.0, 4.0], [3e-30, 4e-30], [12.5**0.5, 12.5**0.5]])
    torch.testing.assert_close(rows, expected)
    assert clip.counts == (3, 2, 0)


def test_the_handle_says_how_often_it_clipped() -> None:
    model = nn.RNN(1, 1, bias=False)
    with torch.no_grad():
        model.weight_ih_l0.fill_(0.0)
        model.weight_hh_l0.fill_(0.5)
    with clip_states_(model, 0.3) as clipped:
        model(torch.zeros(4, 1, 1))[0][-1].sum().backward()
    # δ_4 = 1 is clipped to 0.3; 0.15, 0.075, 0.0375 follow
    assert clipped.share == pytest.approx(1 / 4)
    assert model.weight_hh_l0.grad is not None


REFUSED: dict[str, Callable[[], object]] = {
    "no recurrent layer in this Linear": lambda: clip_states_(nn.Linear(2, 2), 1.0),
    "max_norm is 0, and must be above 0": lambda: clip_states_(lstm(), 0),
    "max_norm is nan": lambda: clip_states_(lstm(), float("nan")),
    "'norm' or 'value'": lambda: clip_states_(lstm(), 1.0, "both"),
    "clipped already": lambda: [clip_states_(model, 1.0) for model in [lstm()] * 2],
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_refused(sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        REFUSED[sentence]()
