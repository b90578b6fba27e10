"""A network of very many layers: its page and its text stay short, and say what they leave out."""

import io
from dataclasses import replace

import pytest
import report_samples as samples
from rich.console import Console

from throughtime.findings import Finding
from throughtime.report import abridged
from throughtime.report.html import render_html
from throughtime.report.text import render_text

LAYERS = 500
LONG = "The input weights of this layer take away far more of the gradient than all others do, "


def deep(extra: str = "") -> samples.Diagnosis:
    """500 layers, of which only ``extra`` explodes; each with findings and pictures of its own."""
    one = samples.layer()
    layers = [
        replace(
            one,
            name=f"encoder.layers.{n}.rnn",
            verdict="exploding" if f"{n}" == extra else "vanishing",
            findings=(Finding("saturation", f"encoder.layers.{n}.rnn", f"{LONG * 3} {n}.", {}),),
        )
        for n in range(LAYERS)
    ]
    return samples.diagnosis(*layers)


def printed(diagnosis: samples.Diagnosis, width: int) -> str:
    stream = io.StringIO()
    render_text(diagnosis, Console(file=stream, width=width))
    return stream.getvalue()


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_of_five_hundred_layers_stays_under_a_megabyte(language: str) -> None:
    page = render_html(deep(), language=language)
    assert len(page.encode()) < 1_000_000


def test_the_page_says_how_many_layers_and_findings_it_leaves_out() -> None:
    page = render_html(deep())
    assert "300 more layers: the JSON has them all." in page
    assert f"Saturation: {LAYERS - abridged.MOST} more, all in the JSON." in page


@pytest.mark.parametrize("width", [60, 100])
def test_the_text_says_how_many_layers_and_findings_it_leaves_out(width: int) -> None:
    text = " ".join(printed(deep(), width).split())
    assert "440 more layers: the JSON has them all." in text
    assert f"Saturation: {LAYERS - abridged.MOST} more, all in the JSON." in text
    assert len(text) < 25_000


def test_the_one_layer_with_another_verdict_is_among_those_that_are_shown() -> None:
    shown, _ = abridged.rows(deep("480").layers, 60)
    assert [one.name for one in shown if one.verdict == "exploding"] == ["encoder.layers.480.rnn"]
    assert [one.name for one in shown] == sorted(
        (one.name for one in shown), key=lambda name: int(name.split(".")[2])
    )


def test_a_finding_that_a_sentence_tells_already_is_not_told_again() -> None:
    one, other = (Finding("saturation", "rnn", sentence) for sentence in ("It is so.", "No."))
    assert abridged.untold([one, other, other], ["Well. It is so."]) == [other]
