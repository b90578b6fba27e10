"""The diagnosis in a terminal: any width, any encoding, any name."""

import io
import re
from collections.abc import Callable, Mapping

import pytest
import report_samples as samples
from rich.cells import cell_len
from rich.console import Console

from throughtime.errors import InputError
from throughtime.findings import Diagnosis
from throughtime.report.text import render_text, side_by_side

WIDTHS = (60, 83, 84, 100, 140)


def printed(
    show: Callable[[Console], None],
    width: int = 100,
    encoding: str = "utf-8",
    colours: bool = False,
) -> str:
    """What reaches a terminal of that width and encoding; strict, as a pipe in the C locale is."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    show(Console(file=stream, width=width, force_terminal=colours))
    stream.flush()
    return raw.getvalue().decode(encoding)


def told(diagnosis: Diagnosis, width: int = 100, encoding: str = "utf-8") -> str:
    return printed(lambda console: render_text(diagnosis, console), width, encoding)


def compared(diagnoses: Mapping[str, Diagnosis], width: int = 100, encoding: str = "utf-8") -> str:
    return printed(lambda console: side_by_side(diagnoses, console), width, encoding)


def words(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("sample", samples.ALL.values(), ids=samples.ALL)
def test_no_line_is_wider_than_the_terminal(sample: Callable[[], Diagnosis], width: int) -> None:
    assert max(len(line) for line in told(sample(), width, "ascii").splitlines()) <= width


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "euc-kr", "utf-8"])
@pytest.mark.parametrize("sample", samples.ALL.values(), ids=samples.ALL)
def test_every_encoding_can_show_every_diagnosis(
    sample: Callable[[], Diagnosis], encoding: str
) -> None:
    name = samples.HOSTILE[4]
    text = told(sample(), encoding=encoding) + compared({name: sample()}, encoding=encoding)
    assert words(text)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "expected",
    [
        "↓ VANISHING",
        "After 9 steps back, less than 1 % of the gradient of encoder.rnn is left",
        "horizon 9 of 100 steps",
        "rate −0.220 decades per step: ten times smaller every 4.5 steps",
        "encoder.rnn (RNN)",
        "1.0 × 10⁻²²",
        "verified to 3e-07",
        "● median ░ 10 to 90 % ┈ 1 % ┊ span 100",
        "Notes - The last 12 steps are constant",
    ],
)
def test_a_reader_finds_verdict_reach_rate_check_and_notes(width: int, expected: str) -> None:
    assert expected in words(told(samples.vanishing(), width)).replace(
        "1.0 × 10⁻²²;", "1.0 × 10⁻²²"
    )


def test_the_verdict_comes_first() -> None:
    assert told(samples.exploding()).startswith("↑ EXPLODING")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "expected",
    [
        "Why 1 Vanishing (encoder.rnn, confidence 100 %) 2 Gates closed (encoder.rnn,",
        "confidence 94 %): The",
        "gates −0.148",
        "forget gate at 1 −0.004",
        "carousel 62 % █",
        "Less than 1 % of the update of the recurrent weights comes from more than 15 steps back",
        "Largest Lyapunov exponent: −0.210 nats per step, which is −0.091 decades.",
        "Stuck: i",
    ],
)
def test_a_reader_finds_why(width: int, expected: str) -> None:
    assert expected in words(told(samples.explained(), width))


def test_why_comes_before_how_far() -> None:
    text = told(samples.explained())
    assert text.index("Why") < text.index("encoder.rnn (LSTM)") < text.index("Gain by lag")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_in_korean_no_line_is_wider_than_the_terminal(width: int) -> None:
    for sample in (samples.explained, samples.broken, samples.explained_stack):
        text = printed(lambda console, one=sample: render_text(one(), console, "ko"), width)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "왜 그런가" in text or "다음에 할 일" in text


def test_a_broken_number_has_its_place_and_what_to_do_next() -> None:
    text = words(told(samples.broken(), encoding="ascii"))
    assert re.search(r"\.{10,}!#{10,} 0 99 Layer: encoder.rnn; Pass: forward; Time step: 37", text)
    assert "What to do next The state grows" in text


def test_ascii_has_a_letter_for_every_sign() -> None:
    text = words(told(samples.vanishing(), encoding="ascii"))
    assert "rate -0.220 decades per step" in text
    assert "1.0 x 10^-22" in text
    assert "* median : 10 to 90 % - 1 % | span 100" in text


def test_a_name_that_the_encoding_lacks_is_spelt_by_its_numbers() -> None:
    text = compared({"철수": samples.healthy()}, encoding="ascii")
    assert "\\ucca0\\uc218" in text


@pytest.mark.parametrize("colours", [True, False])
def test_names_are_text_and_neither_markup_nor_escapes(colours: bool) -> None:
    found = samples.hostile()

    def show(console: Console) -> None:
        render_text(found, console)
        side_by_side(dict.fromkeys(samples.HOSTILE, found), console)

    text = printed(show, 140, colours=colours)
    assert "\x1b[31mred" not in text
    assert "\u202e" not in text
    assert "[bold]bold[/bold] :smile:" in text


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(lambda console: render_text(samples.vanishing(), console), colours=True)
    assert "\x1b[34m" not in text
    assert ";34m" not in text


def chart_rows(text: str) -> list[str]:
    return [line.partition("│")[2] for line in text.splitlines() if "│" in line[:8]]


def test_the_picture_falls_from_the_top_left_to_the_bottom_right() -> None:
    rows = chart_rows(told(samples.vanishing()))
    first = [row.index("●") for row in rows if "●" in row]
    assert len(first) > 10
    assert first == sorted(first)


def test_the_picture_rises_where_the_gradient_explodes() -> None:
    rows = chart_rows(told(samples.exploding()))
    first = [row.index("●") for row in rows if "●" in row]
    assert first == sorted(first, reverse=True)


def test_a_wall_is_told_apart_from_a_small_gain() -> None:
    text = told(samples.truncated())
    assert "×" * 60 in chart_rows(text)[-1]
    assert "× exactly zero" in words(text)


def test_a_span_beyond_the_capture_does_not_crush_the_picture() -> None:
    text = told(samples.diagnosis(samples.layer(span=5000)))
    assert "┊" not in "".join(chart_rows(text))
    assert "span 5,000" in words(text)


@pytest.mark.parametrize("sample", [samples.empty, samples.no_layer], ids=["empty", "bare"])
def test_where_there_is_nothing_to_draw_there_is_no_picture(
    sample: Callable[[], Diagnosis],
) -> None:
    assert "Gain by lag" not in told(sample())


@pytest.mark.parametrize(("width", "beside"), [(60, False), (80, True), (140, True)])
def test_verdicts_stand_beside_each_other_where_there_is_room(width: int, beside: bool) -> None:
    text = compared({"RNN": samples.vanishing(), "LSTM": samples.healthy()}, width)
    line = next(line for line in text.splitlines() if "VANISHING" in line)
    assert ("HEALTHY" in line) == beside


def test_a_comparison_draws_each_network_with_its_own_sign() -> None:
    text = compared({"RNN": samples.vanishing(), "LSTM": samples.healthy()})
    assert "● RNN ▲ LSTM" in words(text)
    assert {"●", "▲"} <= set("".join(chart_rows(text)))


def test_a_comparison_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        side_by_side({})


def test_the_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    render_text(samples.vanishing())
    side_by_side({"RNN": samples.vanishing()})
    assert capsys.readouterr().out.count("VANISHING") == 3
