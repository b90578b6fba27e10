"""The public reports: their structure, their truth, and the arithmetic of their page."""

import copy
import re
import warnings
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from benchmarks.reports import __main__ as command
from benchmarks.reports import judge, page
from benchmarks.reports.judge import MADE, VERDICTS, Answer
from benchmarks.reports.report import CARRIED, HEALTHY, Report
from benchmarks.reports.scale import SCALE
from benchmarks.reports.suite import SUITE
from throughtime import errors

ENOUGH, ENOUGH_HEALTHY = 40, 8
NAMES = {
    *MADE,
    *VERDICTS,
    "chaotic",
    "gates closed",
    "saturated",
    "transient growth",
    "bottleneck",
    "other routes",
    *(name for name in vars(errors) if name.endswith("Error")),
}
MEASURED = (
    "relu language model before its loss is nan",
    "LSTM with projections",
    "standard normal weights",
    "forget gate without a bias",
    "loss summed over the sequence",
    "stored states reshaped",
    "optimizer without the rnn",
    "windows shuffled apart",
    "initial state of zeros",
    "policy without resets",
    "series mixed by view",
    "session recommender without resets",
)
"""Reports whose recurrence is one layer of torch, in one direction, and whose span is known."""
DEAD_ELSEWHERE = ("cells in a python list", "output from the candidate")
"""Not registered in the model; rows of a weight."""
BY_NAME = {report.name: report for report in SUITE}


@pytest.fixture(autouse=True)
def _torchs_own_warnings() -> Iterator[None]:
    """An LSTM with projections warns that oneDNN does not know it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections", UserWarning)
        yield


def test_there_are_enough_reports_and_each_is_of_a_thread_of_its_own() -> None:
    repeated = [name for name, count in Counter(r.source for r in SUITE).items() if count > 1]
    assert (len(SUITE) >= ENOUGH, repeated, len(BY_NAME)) == (True, [], len(SUITE))
    assert sum(HEALTHY in report.right for report in SUITE) >= ENOUGH_HEALTHY


@pytest.mark.parametrize("report", SUITE, ids=lambda report: report.name)
def test_a_report_is_complete(report: Report) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+#\d+|https://\S+", report.source)
    assert report.saw.endswith((".", "?"))
    assert report.cause.endswith(".")
    assert report.right
    assert report.right | report.also <= NAMES
    assert report.address.startswith("https://")


@pytest.mark.parametrize("report", SUITE, ids=lambda report: report.name)
def test_a_report_builds_the_same_scalar_loss_from_the_same_seed(report: Report) -> None:
    losses = []
    for _ in range(2):
        model, closure = report.build(3)
        torch.manual_seed(0)  # what the closure draws
        loss = closure()
        assert isinstance(model, nn.Module)
        losses.append(loss.detach())
    assert losses[0].shape == ()
    torch.testing.assert_close(losses[0], losses[1], equal_nan=True, rtol=0, atol=0)


def gain(report: Report) -> float:
    """log10 ‖∂s_T/∂s_(T−span)‖₂ of the first sequence, by autograd in float64."""
    model, closure = report.build(5)
    rnn, read = model.get_submodule("rnn"), []
    assert isinstance(rnn, nn.RNNBase)
    assert report.span
    handle = rnn.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0].detach()))
    closure()
    handle.remove()
    inputs = read[0].transpose(0, 1) if rnn.batch_first else read[0]
    rnn = copy.deepcopy(rnn).double()
    rnn.batch_first = False
    before, after = inputs[:, :1].double().tensor_split([len(inputs) - report.span])
    with torch.no_grad():
        state = rnn(before)[1]
    parts = state if isinstance(state, tuple) else (state,)

    def end(flat: Tensor) -> Tensor:
        pieces = flat.split([part.numel() for part in parts])
        start = [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
        final = rnn(after, tuple(start) if len(start) > 1 else start[0])[1]
        return torch.cat([part.flatten() for part in (final if len(start) > 1 else (final,))])

    flat = torch.cat([part.flatten() for part in parts])
    jacobian = torch.autograd.functional.jacobian(end, flat)
    return float(torch.linalg.matrix_norm(jacobian, 2).log10())


@pytest.mark.parametrize("name", MEASURED)
def test_the_recurrence_of_a_report_is_what_its_answer_needs(name: str) -> None:
    """Healthy within a factor of 100; vanishing and exploding beyond it."""
    measured = gain(BY_NAME[name])
    word = HEALTHY if abs(measured) <= 2 else "vanishing" if measured < 0 else "exploding"
    assert word in BY_NAME[name].right


@pytest.mark.parametrize("report", SUITE, ids=lambda report: report.name)
def test_a_report_names_its_dead_parameters_and_no_others(report: Report) -> None:
    model, closure = report.build(5)
    try:
        closure().backward()
    except RuntimeError:
        assert report.right == set(CARRIED)
        return
    gradients = [parameter.grad for parameter in model.parameters()]
    dead = any(gradient is None or not gradient.any() for gradient in gradients)
    named = "dead parameters" in report.right | report.also
    assert dead == named or report.name in DEAD_ELSEWHERE


@pytest.mark.parametrize(
    ("first", "verdict", "found", "right", "also", "expected"),
    [
        ("partial loss", "unknown", {"partial loss"}, {"partial loss"}, set(), (True, set())),
        ("vanishing", "vanishing", set(), {"partial loss"}, set(), (False, {"vanishing"})),
        ("vanishing", "vanishing", set(), {"too short"}, {"vanishing"}, (False, set())),
        ("healthy", "healthy", {"episodes"}, {"healthy"}, set(), (True, {"episodes"})),
        ("healthy", "healthy", {"gates closed"}, {"healthy"}, set(), (True, set())),
        ("unknown", "unknown", set(), {"healthy"}, set(), (False, set())),
        ("TypeError", "", set(), {"healthy"}, set(), (False, set())),
    ],
)
def test_an_answer_is_right_and_a_cause_is_false(
    first: str,
    verdict: str,
    found: set[str],
    right: set[str],
    also: set[str],
    expected: tuple[bool, set[str]],
) -> None:
    report = Report("r", "a/b#1", "s.", "c.", frozenset(right), SUITE[0].make, frozenset(also))
    answer = Answer(report, first, verdict, frozenset(found), "")
    assert (answer.right, set(answer.false_causes)) == expected


def test_the_page_counts_what_is_right_and_what_is_false() -> None:
    answers = [
        Answer(BY_NAME["loss summed over the sequence"], HEALTHY, HEALTHY, frozenset(), "ok"),
        Answer(SUITE[0], "vanishing", "vanishing", frozenset({"episodes"}), "It fades."),
    ]
    assert (page.share_right(answers), page.false_causes(answers)) == (0.5, 2)
    reports, confusion = page.tables(answers)
    assert [row[4:] for row in reports.rows] == [("yes", ""), ("no", "episodes, vanishing")]
    assert confusion.header[1:] == (HEALTHY, "vanishing")
    assert [row[0] for row in confusion.rows] == [HEALTHY, "partial loss"]
    assert "It fades." in page.errors(answers)
    assert "ok" not in page.errors(answers).split()


def test_an_answer_says_what_is_first_or_which_error_was_raised() -> None:
    exploding, carried = (
        judge.ask(BY_NAME[name], 0)
        for name in ("standard normal weights", "state of one run given to the next")
    )
    assert exploding.first in exploding.report.right
    assert exploding.sentence
    assert (carried.first, carried.verdict) == ("StateCarriedError", "")


def test_the_command_asks_about_named_reports_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PAGE", None)  # nothing may be written
    command.main([SCALE[3].name])
    assert "1 public reports" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["no such report"])
