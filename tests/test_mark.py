"""``mark``: a model shows its own recurrence to whatever capture is open, and to none otherwise."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.trace import relative_difference

T, B, I, H = 6, 3, 2, 4


class Leaky(nn.Module):
    """``h' = h/2 + tanh(W h + U x)/2``, marked by whatever it is given."""

    def __init__(self, mark: Callable[[Tensor, str], None] = tt.mark) -> None:
        super().__init__()
        private = torch.Generator().manual_seed(1)
        self.W = nn.Parameter(torch.randn(H, H, generator=private, dtype=torch.float64) / 2)
        self.U = nn.Parameter(torch.randn(H, I, generator=private, dtype=torch.float64))
        self.mark = mark

    def forward(self, inputs: Tensor) -> Tensor:
        state = inputs.new_zeros(inputs.shape[1], H)
        for x in inputs:
            state = (state + torch.tanh(state @ self.W.T + x @ self.U.T)) / 2
            self.mark(state, "leaky")
        return state.square().sum()


def inputs() -> Tensor:
    private = torch.Generator().manual_seed(2)
    return torch.randn(T, B, I, generator=private, dtype=torch.float64)


def marked_by(mark: Callable[[Tensor, str], None], run: tt.capture) -> tt.LayerTrace:
    with run:
        Leaky(mark)(inputs()).backward()
    return run.trace["leaky"]


def test_it_shows_what_the_mark_of_the_capture_itself_shows() -> None:
    one, other = tt.capture(nn.Identity()), tt.capture(nn.Identity())
    seen, wanted = marked_by(tt.mark, one), marked_by(other.mark, other)
    assert torch.equal(seen.states, wanted.states)
    assert torch.equal(seen.gradients, wanted.gradients)
    assert seen.verified is not None
    assert seen.verified < 1e-12


def test_the_gradients_are_those_of_autograd() -> None:
    states: list[Tensor] = []
    loss = Leaky(lambda state, _: states.append(state))(inputs())
    wanted = torch.stack(torch.autograd.grad(loss, states))
    seen = marked_by(tt.mark, tt.capture(nn.Identity()))
    assert relative_difference(seen.gradients, wanted) < 1e-12


def test_observe_and_diagnose_see_a_model_that_marks() -> None:
    model = Leaky()
    trace = tt.observe(model, lambda: model(inputs()))
    assert trace["leaky"].steps == T
    assert tt.diagnose(trace).decided_by == "leaky"


def test_every_open_capture_sees_it_and_none_that_is_closed() -> None:
    outer, inner, closed = (tt.capture(nn.Identity()) for _ in range(3))
    with closed:
        pass
    with outer, inner:
        Leaky()(inputs()).backward()
    assert [run.trace.names for run in (outer, inner)] == [("leaky",), ("leaky",)]
    with pytest.raises(tt.NothingRecordedError):
        _ = closed.trace


def closed(run: tt.capture) -> None:
    with run:
        pass


def left_by_an_error(run: tt.capture) -> None:
    with suppress(KeyError), run:
        raise KeyError


def removed_twice(run: tt.capture) -> None:
    run.start()
    run.remove()
    run.remove()


@pytest.mark.parametrize("leave", [tt.capture.remove, closed, left_by_an_error, removed_twice])
def test_outside_of_a_capture_it_does_nothing(leave: Callable[[tt.capture], None]) -> None:
    model = Leaky()
    leave(tt.capture(model))
    loss = model(inputs())
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()  # freed as ever: nobody holds the graph for a capture


def test_a_capture_of_another_thread_does_not_see_it() -> None:
    run = tt.capture(nn.Identity())
    with run, ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: Leaky()(inputs()).backward()).result()
    with pytest.raises(tt.NothingRecordedError):
        _ = run.trace


def test_a_state_that_is_none_is_refused_by_name() -> None:
    with tt.capture(nn.Identity()), pytest.raises(tt.InputError, match=r"mark\('leaky'\)"):
        tt.mark([], "leaky")


def test_a_model_that_marks_can_be_pickled_while_a_capture_is_open() -> None:
    model = Leaky()
    with tt.capture(model):
        again = pickle.loads(pickle.dumps(model))  # noqa: S301  — our own bytes
    assert torch.equal(again(inputs()), model(inputs()))


def test_a_model_that_marks_compiles_in_one_piece() -> None:
    model = Leaky()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(inputs()), model(inputs()))
