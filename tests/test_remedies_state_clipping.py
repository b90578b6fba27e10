"""Clipping inside the recurrence, against loops of single steps with a hook on every state."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import reference
import torch
from cases import LAYER_CASES, Case, Net, fill, inputs_of, loss_of, normal, weighed
from reference import unrolled
from test_cells_capture import OURS, Loops
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import throughtime as tt
from throughtime.cells import layer, make_cell
from throughtime.errors import InputError
from throughtime.remedies.clipping.states import (
    Clip,
    clip_states_,
    clipped_state,
    unclip_states_,
)
from throughtime.remedies.regularisation import Omega
from throughtime.trace import relative_difference

# torch says so, once, with and without clipping.
PROJECTIONS = "ignore:LSTM with projections is not supported with oneDNN"
pytestmark = pytest.mark.filterwarnings(PROJECTIONS)  # torch then takes its own kernel

EXACT = {"rtol": 1e-10, "atol": 1e-12}
BITES = {"norm": 0.5, "value": 0.2}
T, B, I, H = 6, 3, 3, 4


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


def run_once(case: Case, model: nn.Module) -> list[Tensor]:
    """One seeded forward and backward pass: outputs and final state."""
    with torch.random.fork_rng():
        torch.manual_seed(20)
        outputs, final = model(inputs_of(case))
        loss_of(case, outputs, final).backward()
    return [outputs.detach(), *(part.detach() for part in final)]


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


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


def ours(name: str, **settings: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return make_cell(name, I, H, **settings).double()


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


def lstm(dtype: torch.dtype = torch.float64, **settings: object) -> nn.LSTM:
    return fill(nn.LSTM(I, H, **settings).to(dtype), scale=2)


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
