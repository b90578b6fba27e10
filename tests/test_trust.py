"""Programs that people write, each with one fault: what must be said of it, and what must not."""

from __future__ import annotations

from collections.abc import Iterator, Set
from importlib import import_module
from typing import NamedTuple

import pytest
import torch
from trust.series import BETWEEN

import throughtime as tt


class Right(NamedTuple):
    """The right answer: one of the verdicts, diseases that are found, the others that are not."""

    verdicts: Set[str]
    found: Set[str] = frozenset()
    absent: Set[str] = frozenset()
    first: str = ""
    says: str = ""


SEED = 0
ANY = {"healthy", "vanishing", "exploding", "unknown"}
RIGHT = {
    "zero_gradient_is_healthy:build": Right({"unknown"}, {"no gradient"}),
    "nan_in_a_parameter:build": Right({"non-finite"}, {"non-finite"}, says="'scale'"),
    "marked_nan_weight:build": Right({"non-finite"}, {"non-finite"}, says="'w'"),
    "nan_between_the_calls:build": Right({"non-finite"}, {"non-finite"}, says="between"),
    "episodes:build": Right({"healthy"}, set(), {"vanishing"}, first="episodes"),
    "episodes:masked": Right({"healthy"}, set(), {"vanishing"}, first="episodes"),
    "c_detached:build": Right({"vanishing", "unknown"}, {"partly detached"}),
    "reverse_is_chaotic:build": Right({"healthy"}, set(), {"chaotic"}),
    "reverse_is_chaotic:same_as_forward": Right({"healthy"}, set(), {"chaotic"}),
    "reverse_reads_one_step:build": Right(ANY - {"healthy"}, set(), first="partial loss"),
    "every_call_from_the_same_state:build": Right(
        {"unknown"}, {"state not handed on"}, first="state not handed on"
    ),
    "one_sequence_of_twelve:build": Right(ANY, {"axes swapped"}, first="axes swapped"),
    # The loop is measured whole, the way through the input included: each step passes nearly all.
    "output_fed_back:build": Right({"healthy"}, set(), {"vanishing"}),
    "layer_in_a_list:build": Right(ANY, {"dead parameters"}, first="dead parameters"),
    "nan_of_the_models_own:build": Right({"non-finite"}, {"non-finite"}, says="model"),
    "cell_with_a_mask_unmarked:build": Right({"vanishing"}, {"vanishing"}),
    "weights_changed_in_forward:build": Right(ANY, {"weights changed"}, first="weights changed"),
    "dropout_between_steps:build": Right({"vanishing"}, {"vanishing"}),
    "series:two_stacks": Right({"healthy", "unknown"}, set(), {"vanishing"}),
}


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    """The programs draw from torch's own generator, as their authors do: each test alike."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        yield


def diagnosed(name: str, *arguments: str, span: int | None = None) -> tt.Diagnosis:
    module, _, function = name.partition(":")
    made = getattr(import_module(f"trust.{module}"), function)(*arguments)
    return tt.diagnose(*made, span=span)


@pytest.mark.parametrize("name", RIGHT)
def test_the_fault_is_found(name: str) -> None:
    right, found = RIGHT[name], diagnosed(name)
    causes = [cause.disease for cause in found.causes if cause.disease != "budget"]
    assert found.verdict in right.verdicts, found
    assert right.found <= set(found.diseases), found
    assert not right.absent & set(found.diseases), found
    assert causes[:1] == [right.first or causes[0]] if right.first else True, found
    assert right.says in found.sentence


@pytest.mark.parametrize(
    "name", ["every_call_from_the_same_state:build", "cell_with_a_mask_unmarked:build"]
)
def test_fragments_of_one_step_are_one_row(name: str) -> None:
    assert len(diagnosed(name).layers) == 1


def test_an_output_that_is_fed_back_is_not_called_lost() -> None:
    assert "nothing" not in diagnosed("output_fed_back:build").sentence


@pytest.mark.parametrize("between", BETWEEN)
def test_layers_in_series_reach_at_least_as_far_as_the_best(between: str) -> None:
    found = diagnosed("series:build", between, span=50)
    assert (found.verdict, found.horizon) == ("healthy", 59), found


SILENT = [name for name, right in RIGHT.items() if right.verdicts <= {"unknown", "non-finite"}]


@pytest.mark.parametrize("name", SILENT)
def test_an_assertion_does_not_pass(name: str) -> None:
    module, _, function = name.partition(":")
    made = getattr(import_module(f"trust.{module}"), function)()
    with pytest.raises(tt.ReachError):
        tt.assert_reaches(*made, span=4)
