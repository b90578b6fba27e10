"""Where nothing is known: no bar, no span, no curve, and the mistake before all else."""

from dataclasses import replace
from io import StringIO

import pytest
import report_samples as samples
from rich.console import Console

from throughtime.diagnosis import diagnose
from throughtime.findings import Diagnosis, Finding
from throughtime.report import causes, curves, render_html
from throughtime.report.text import render_text

REASON = Finding("no gradient", "encoder.rnn", "Every gradient is exactly zero.", korean="모두 0.")
LAYER = replace(
    samples.layer(), verdict="unknown", rate=None, horizon=None, reaches_end=False,
    gain_at_span=None, sentence=REASON.sentence, findings=(REASON,), verified=0.0,
)  # fmt: skip  # what belongs together, on one line
UNKNOWN = replace(
    samples.diagnosis(LAYER), verdict="unknown", rate=None, horizon=None, sentence=REASON.sentence,
    findings=(REASON,),
)  # fmt: skip  # what belongs together, on one line
NO_LAYER = replace(UNKNOWN, layers=(), decided_by="the model", span=1)


def told(diagnosis: Diagnosis, width: int = 80, language: str = "en") -> str:
    console = Console(file=StringIO(), width=width)
    render_text(diagnosis, console, language)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("width", [50, 80, 120])
@pytest.mark.parametrize("diagnosis", [UNKNOWN, NO_LAYER], ids=["a layer", "no layer"])
def test_there_is_no_bar_of_a_horizon_that_is_not_known(
    diagnosis: Diagnosis, width: int, language: str
) -> None:
    shown = told(diagnosis, width, language)
    assert not set("█░●") & set(shown)
    assert not [word for word in ("rate none", "of 100", "of 1 step", "0e+00") if word in shown]


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("diagnosis", [UNKNOWN, NO_LAYER], ids=["a layer", "no layer"])
def test_the_page_has_none_either(diagnosis: Diagnosis, language: str) -> None:
    page = render_html(diagnosis, language=language).partition("</style>")[2]
    assert REASON.sentence in page or REASON.korean in page
    assert not [word for word in ('class="track"', "0e+00", "of 1 step") if word in page]


def test_nothing_is_drawn_or_explained_of_a_gain_that_is_not_known() -> None:
    assert (curves.gain(LAYER), curves.lag_matrix(LAYER), causes.explaining(UNKNOWN)) == (None,) * 3


def test_a_horizon_that_was_measured_is_still_shown() -> None:
    short = replace(LAYER, horizon=7, reaches_end=True)
    assert curves.gain(short) is not None
    assert "█" in told(replace(UNKNOWN, horizon=7, reaches_end=True, layers=(short,)))


MISTAKE = Finding("partial loss", "encoder.rnn", "The loss reads 1 of 12 sequences.", korean="1.")
SICK = replace(samples.explained(), findings=(*samples.explained().findings, MISTAKE))


def test_a_mistake_is_told_before_the_verdict() -> None:
    assert [one.sentence for one in causes.opening(SICK)] == [MISTAKE.sentence, SICK.sentence]
    for shown in (told(SICK), render_html(SICK), str(SICK)):
        assert -1 < shown.find(MISTAKE.sentence) < shown.find(SICK.sentence[:40])
        assert shown.count(MISTAKE.sentence) == 1


def test_without_a_mistake_the_verdict_comes_first() -> None:
    assert causes.opening(samples.explained()) == [samples.explained()]


def test_a_model_without_a_gradient_has_an_answer_in_both_languages() -> None:
    import torch
    from torch import nn

    rnn = nn.RNN(2, 3)
    found = diagnose(rnn, lambda: rnn(torch.ones(5, 1, 2))[0].detach().sum())
    assert (found.diseases, found.layers) == (("no gradient",), ())
    assert "detach()" in told(found, 80, "ko")
    assert "순환층" in render_html(found, language="ko")
    assert Diagnosis.from_json(found.to_json()) == found
