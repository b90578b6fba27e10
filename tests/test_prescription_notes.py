"""What a prescription says beside its ranking, and of what does not fit."""

from dataclasses import replace
from typing import Any

import pytest
from prescribed_problems import ByHand, T, loss, reading
from torch import Tensor, nn

import throughtime as tt
from throughtime.prescription import Prescription
from throughtime.problem import Problem


def notes(problem: Problem, span: int | None = None, **how: Any) -> str:
    few = {"updates": 2, "remedies": ["chrono"]} | how
    return "\n".join(tt.prescribe(problem, span, **few).notes)


def undefined(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """A loss that is NaN, with a gradient that is not: the logarithm of a negative number."""
    return (loss(model, batch) - 1e6).log()


SHORT = f"the batch reaches {T - 1} steps back: what is said of 50 is extrapolated"
NO_LOSS = "within the first updates the loss is no longer finite, though the gradient vanishes"


@pytest.mark.parametrize(
    ("changed", "span", "said"),
    [
        ({}, 50, {SHORT: True, NO_LOSS: False}),
        ({}, T - 1, {"is extrapolated": False}),
    ],
    ids=["sequences shorter than the span", "of its length"],
)
def test_a_reader_is_told_what_the_ranking_does_not_say(
    changed: dict[str, Any], span: int, said: dict[str, bool]
) -> None:
    told = notes(replace(reading("lstm"), **changed), span)
    assert {sentence: sentence in told for sentence in said} == said


def test_a_loss_that_is_no_number_is_told_first() -> None:
    found = tt.prescribe(replace(reading("lstm"), loss=undefined), T - 1, updates=2)
    shown = found.before.verdict, found.before.sentence.startswith("The loss is nan, while")
    assert shown == ("non-finite", True)


def test_what_to_do_for_a_recurrence_by_hand_is_said() -> None:
    told = notes(replace(reading("lstm"), model=ByHand()), remedies=["orthogonal"])
    assert "not which matrix multiplies them: a remedy changes every square one" in told


def test_a_reason_is_given_once_for_all_that_it_holds_for() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTMCell(3, 8), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for step in x:
                state = self.cell(step, state)
            assert state is not None
            return self.head(state[0]).squeeze(-1)

    names = ["gru", "chrono", "lru"]
    found = tt.prescribe(replace(reading("lstm"), model=Loop()), updates=2, remedies=names)
    assert [together for together, _ in found.refusals] == ["gru, lru"]
    assert str(found).count("does not fit: gru, lru: no recurrent layer in this Loop") == 1
    assert Prescription.from_json(found.to_json()).refusals == found.refusals


def test_one_remedy_alone_is_not_counted() -> None:
    found = tt.prescribe(reading("lstm"), updates=2, remedies=["chrono"])
    assert found.sentence == f"chrono brings a useful gradient over {T - 1} steps: try it."
