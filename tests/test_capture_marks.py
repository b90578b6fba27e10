"""A recurrence of the user's own, shown by its states, against the unrolled loops and autograd."""

from collections.abc import Callable

import pytest
import torch
from cases import B, H, I, T, fill, normal, weighed
from reference import Walk, Walks, Watched, unrolled
from torch import Tensor, nn

import throughtime as tt
from throughtime.sweeps import lag_norms
from throughtime.trace import LayerTrace, Trace, relative_difference

EXACT = 1e-10


class Loop(nn.Module):
    """A torch cell in a loop, with a read-out; ``cut``: before which step the state is detached."""

    def __init__(self, kind: str, cut: int | None = None) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(I, H) if kind == "LSTM" else nn.RNNCell(I, H)
        self.read, self.cut, self.kind = nn.Linear(H, 2), cut, kind

    def forward(self, x: Tensor) -> Tensor:
        state = tuple(normal(*x.shape[1:-1], H, seed=5 + n) for n in range(2))
        out = []
        for t, step in enumerate(x):
            if t == self.cut:
                state = tuple(part.detach() for part in state)
            state = self.step(step, *state)
            out.append(self.read(state[0]))
        return torch.stack(out)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return self.cell(x, (h, c)) if self.kind == "LSTM" else (self.cell(x, h), c)


class Marked(Loop):
    """The same by hand-written equations, the state shown once a step."""

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        w = self.cell
        a = x @ w.weight_ih.T + w.bias_ih + h @ w.weight_hh.T + w.bias_hh
        if self.kind == "RNN":
            h = torch.tanh(a)
            tt.mark(h, "mine")
            return h, c
        i, f, g, o = a.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        tt.mark((h, c), "mine")
        return h, c


KINDS = {"RNN": {"h": slice(0, H)}, "LSTM": {"h": slice(0, H), "c": slice(H, 2 * H)}}
LOSSES: dict[str, Callable[[Tensor], None]] = {
    "all": lambda out: weighed(out, 3).backward(),
    "last": lambda out: weighed(out[-1], 3).backward(),
    "vector": lambda out: out.backward(normal(*out.shape, seed=4)),
    "two passes": lambda out: [weighed(out[n], n).backward(retain_graph=True) for n in (1, 4)],
    "autograd.backward": lambda out: torch.autograd.backward([out], [normal(*out.shape, seed=4)]),
}


def build(kind: str, cls: type[Loop], **settings: int) -> Loop:
    return fill(cls(kind, **settings).double(), scale=1.5)


def captured(model: nn.Module, loss: Callable[[Tensor], None], *shape: int) -> Trace:
    with tt.capture(model) as run:
        loss(model(normal(*(shape or (T, B, I)))))
    return run.trace


def expected(kind: str, loss: Callable[[Tensor], None], *shape: int, **settings: int) -> Walk:
    loops, walks = unrolled(build(kind, Loop, **settings))
    loss(loops(normal(*(shape or (T, B, I)))))
    return joined(walks)


def joined(walks: Walks) -> Walk:
    first, *rest = walks["cell"]
    for walk in rest:
        first = first.then(walk)
    return first


def assert_agrees(layer: LayerTrace, loop: Walk) -> None:
    assert relative_difference(layer.states, loop.states()) < EXACT
    assert relative_difference(layer.gradients, loop.total()) < EXACT
    assert relative_difference(layer.direct, loop.direct()) < EXACT
    assert layer.verified is not None
    assert layer.verified < EXACT


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_marked_recurrence(kind: str, loss: str) -> None:
    layer = captured(build(kind, Marked), LOSSES[loss])["mine"]
    assert layer.parts == KINDS[kind]
    assert_agrees(layer, expected(kind, LOSSES[loss]))


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_batch(kind: str) -> None:
    layer = captured(build(kind, Marked), LOSSES["all"], T, I)["mine"]
    assert_agrees(layer, expected(kind, LOSSES["all"], T, I))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_passes_a_detached_state(kind: str) -> None:
    layer = captured(build(kind, Marked, cut=2), LOSSES["all"])["mine"]
    assert_agrees(layer, expected(kind, LOSSES["all"], cut=2))
    assert not layer.linear.vjp(2, layer.gradients[2]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_lag_matrix_is_that_of_torchs_cell(kind: str) -> None:
    marked = captured(build(kind, Marked), LOSSES["all"])["mine"]
    cell = captured(build(kind, Loop), LOSSES["all"])["cell"]
    norms = [
        lag_norms(layer.linear, layer.direct, range(T), list(KINDS[kind].values()))
        for layer in (marked, cell)
    ]
    torch.testing.assert_close(*norms, rtol=0, atol=1e-9, equal_nan=True)


Show = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]


class Threefold(nn.Module):
    """A state of three parts, each of which is made from the one before it in the same step."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.empty(H, H) for _ in range(4))

    def forward(self, x: Tensor, show: Show) -> Tensor:
        a, b, c = (normal(B, H, seed=5 + n) for n in range(3))
        w = self.weights
        total = x.new_zeros(())
        for step in x:
            a = torch.tanh(a @ w[0] + step)
            b = torch.tanh(b @ w[1] + a @ w[2])
            c = torch.sigmoid(b) * c + torch.tanh(a @ w[3]) * b
            a, b, c = show((a, b, c))
            total = total + weighed(a, 1) + weighed(c, 2)
        return total


def test_parts_that_are_made_from_each_other_are_coordinates_of_one_state() -> None:
    model = fill(Threefold().double(), scale=1.5)

    def mark(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tt.mark(parts, "threefold")
        return parts

    watched: list[Watched] = []

    def watch(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        watched.append(Watched(parts))
        return watched[-1].parts

    with tt.capture(model) as run:
        model(normal(T, B, H), mark).backward()
    model(normal(T, B, H), watch).backward()
    layer = run.trace["threefold"]
    total = torch.stack([one.gradient for one in watched])
    assert relative_difference(layer.gradients, total) < EXACT
    assert layer.verified is not None
    assert layer.verified < EXACT


def test_a_state_that_depends_on_more_than_the_one_before_it_is_not_verified() -> None:
    class TwoBack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(H, H), nn.Linear(H, H)

        def forward(self, x: Tensor) -> Tensor:
            before, h = torch.zeros_like(x[0]), torch.zeros_like(x[0])
            for step in x:
                before, h = h, torch.tanh(step + self.one(h) + self.two(before))
                tt.mark(h, "two back")
            return h

    model = fill(TwoBack().double(), scale=1.5)
    layer = captured(model, LOSSES["all"], T, B, H)[0]
    assert layer.verified is not None
    assert layer.verified > 1e-2


def test_nothing_is_left_on_the_states() -> None:
    states = []
    model = build("RNN", Marked)
    with tt.capture(model) as run:
        out = model(normal(T, B, I))
        states = [state for (state,) in run._marks["mine"].states]
        weighed(out, 3).backward()
    assert [(state.grad_fn is None, state.retains_grad) for state in states] == [(False, False)] * T
    assert not any(state._backward_hooks for state in states)


def test_a_learned_start_with_an_old_gradient_may_be_marked() -> None:
    start = nn.Parameter(normal(B, H))
    start.grad = torch.ones_like(start)
    cell = fill(nn.RNNCell(I, H).double())
    with tt.capture(cell) as run:
        run.mark(start, "mine")
        h = torch.tanh(start @ cell.weight_hh.T)
        run.mark(h, "mine")
        weighed(h, 3).backward()
    layer = run.trace["mine"]
    assert relative_difference(layer.gradients[0], start.grad - 1) < EXACT


def test_a_start_at_zero_may_be_marked() -> None:
    cell = fill(nn.RNNCell(I, H).double())
    with tt.capture(cell) as run:
        h = torch.zeros(B, H, dtype=torch.float64)
        run.mark(h, "mine")
        for x in normal(T, B, I):
            h = torch.tanh(x @ cell.weight_ih.T + h @ cell.weight_hh.T)
            run.mark(h, "mine")
        weighed(h, 3).backward()
    layer = run.trace["mine"]
    assert layer.steps == T + 1
    assert layer.verified is not None
    assert layer.verified < EXACT


def test_parameters_that_are_used_elsewhere_too_cannot_verify() -> None:
    w = nn.Parameter(normal(H, H))
    model = nn.ParameterList([w])
    with tt.capture(model) as run:
        h = torch.zeros(B, H, dtype=torch.float64)
        for x in normal(T, B, H):
            h = torch.tanh(x + h @ w)
            run.mark(h, "tied")
        weighed(h @ w, 3).backward()
    layer = run.trace["tied"]
    assert layer.verified is None
    assert "also used outside" in layer.unverified_because


BAD_STATES = {
    "a number": (3.0, "a state is a tensor"),
    "nothing": ((), "a state is a tensor"),
    "two batches": ((torch.ones(B, H), torch.ones(B + 1, H)), "the same batch axis"),
    "one without": ((torch.ones(B, H), torch.ones(H)), "the same batch axis"),
    "a scalar": (torch.ones(()), "the same batch axis"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_state_of_another_kind_is_refused(name: str) -> None:
    state, sentence = BAD_STATES[name]
    with tt.capture(nn.Linear(1, 1)) as run, pytest.raises(tt.InputError, match=sentence):
        run.mark(state, "mine")


def test_a_state_of_another_shape_than_the_first_is_refused() -> None:
    with tt.capture(nn.Linear(1, 1)) as run:
        run.mark(torch.ones(B, H), "mine")
        with pytest.raises(tt.InputError, match="step 1 has shape"):
            run.mark(torch.ones(B, H + 1), "mine")


def test_a_mark_outside_of_the_block_is_refused() -> None:
    with tt.capture(nn.Linear(1, 1)) as run:
        pass
    with pytest.raises(tt.InputError, match="outside of the capture"):
        run.mark(torch.ones(B, H), "mine")


def test_a_marked_recurrence_under_no_grad_says_so() -> None:
    model = build("RNN", Marked)
    with tt.capture(model) as run, torch.no_grad():
        model(normal(T, B, I))
    with pytest.raises(tt.NoGradientError, match=r"'mine'.*no_grad"):
        _ = run.trace


@pytest.mark.parametrize("kind", KINDS)
def test_weights_may_move_before_the_trace_is_read(kind: str) -> None:
    model, still = build(kind, Marked), captured(build(kind, Marked), LOSSES["all"])["mine"]
    with tt.capture(model) as run:
        weighed(model(normal(T, B, I)), 3).backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    layer = run.trace["mine"]
    assert_agrees(layer, expected(kind, LOSSES["all"]))
    pairs = [lag_norms(one.linear, one.direct, range(T)) for one in (layer, still)]
    torch.testing.assert_close(*pairs, rtol=0, atol=1e-12, equal_nan=True)


def test_weights_may_move_within_the_block() -> None:
    model = build("RNN", Marked)
    with tt.capture(model) as run:
        weighed(model(normal(T, B, I)), 3).backward()
        torch.optim.SGD(model.parameters(), 0.1).step()
    layer, loop = run.trace["mine"], expected("RNN", LOSSES["all"])
    assert relative_difference(layer.gradients, loop.total()) < EXACT
    assert relative_difference(layer.direct, loop.direct()) < EXACT
