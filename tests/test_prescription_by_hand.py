"""Remedies for a recurrence by hand, whose matrix no layer names."""

from dataclasses import replace

import pytest
import torch
from prescribed_problems import SPAN, ByHand, H, I, Reader, reading
from torch import nn

import throughtime as tt
from throughtime.prescription import TREATMENTS, treated
from throughtime.prescription.by_hand import own_matrices
from throughtime.problem import Problem, seeded


def by_hand(*, square_head: bool = False) -> Problem:
    with seeded(0):
        return replace(reading("rnn"), model=ByHand(square_head=square_head))


class Parts(nn.Module):
    """Square matrices of all sorts."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.ones(3, 3))
        self.linear, self.wide = nn.Linear(4, 4), nn.Linear(4, 5)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.kept = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))
        self.words, self.attention = nn.Embedding(4, 4), nn.MultiheadAttention(4, 1)
        self.one = nn.Linear(1, 1)


def test_the_matrices_are_those_of_linear_layers_and_of_the_users_modules() -> None:
    with_attentions = {"own", "linear.weight", "kept.weight", "attention.out_proj.weight"}
    assert set(own_matrices(Parts())) == with_attentions
    assert own_matrices(nn.Sequential(Reader("gru"), nn.Linear(I, I))) == {}


def error(weight: torch.Tensor) -> float:
    return float((weight @ weight.T - torch.eye(H)).abs().max().detach())


@pytest.mark.parametrize("name", ["orthogonal", "identity", "orthogonal-weights"])
def test_it_changes_the_matrix_and_its_line_does_the_same(name: str) -> None:
    problem = by_hand()
    found = treated(problem, name, SPAN).model
    assert error(found.recur.weight) < 1e-5
    assert torch.equal(found.read.weight, problem.model.read.weight)
    names = {"torch": torch, "model": problem.model}
    exec(TREATMENTS[name].code(problem, SPAN), names)  # noqa: S102  — our own
    assert error(problem.model.recur.weight) < 1e-5
    assert torch.equal(problem.model.recur.weight, torch.eye(H)) == (name == "identity")


def test_every_square_matrix_gets_it() -> None:
    found = treated(by_hand(square_head=True), "orthogonal", SPAN)
    assert max(error(found.model.recur.weight), error(found.model.head.weight)) < 1e-5
    code = TREATMENTS["orthogonal"].code(found, SPAN)
    lines = [f"torch.nn.init.orthogonal_(model.{name}.weight)" for name in ("recur", "head")]
    assert code.splitlines() == lines


def test_its_gain_is_tuned_until_the_gradient_arrives() -> None:
    found = tt.prescribe(by_hand(), updates=2, remedies=["critical", "orthogonal", "lru"])
    assert [option.name for option in found.options] == ["critical", "orthogonal"]
    assert (found.untreated.verdict, found.options[0].verdict) == ("vanishing", "healthy")
    own = "own={'own': model.recur.weight})"
    assert found.options[0].code.endswith(f"criterion(model(x), y), span={SPAN}, {own}")
    assert [names for names, _ in found.refusals] == ["lru"]


def test_which_of_several_is_tuned_is_not_guessed() -> None:
    with pytest.raises(tt.InputError, match=r"which of recur.weight, head.weight multiplies which"):
        treated(by_hand(square_head=True), "critical", SPAN)


def test_a_look_spoils_no_graph_that_a_buffer_is_in() -> None:
    problem = by_hand()
    trace = tt.observe(problem.model, problem.closure)
    assert tt.diagnose(trace, SPAN).verdict == "vanishing"
