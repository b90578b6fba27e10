"""The two languages: every word has its Korean, none is stale, neither leaks into the other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
import report_samples as samples

import throughtime.report
from throughtime.errors import InputError
from throughtime.findings import DISEASES, REMARKS, Finding
from throughtime.report import render_html
from throughtime.report.glossary import GLOSSARY
from throughtime.report.korean import KOREAN
from throughtime.report.language import say, speaking, spoken, told

REPORT = Path(throughtime.report.__file__).parent
SOURCES = [file for file in REPORT.rglob("*.py") if "korean" not in file.parts]
TEMPLATES = list(REPORT.rglob("*.j2"))
HANGUL = re.compile("[가-힣]")


def said() -> Iterator[str]:
    """Every text that a source or a template says as it stands there."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))
    for file in TEMPLATES:
        yield from re.findall(r'"([^"]+)" \| say', file.read_text(encoding="utf-8"))


def constants() -> set[str]:
    """Every text in a source: what is said by way of a variable stands somewhere too."""
    found = set()
    for file in SOURCES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for file in TEMPLATES:
        found |= set(re.findall(r'"([^"]+)"', file.read_text(encoding="utf-8")))
    return {text for text in found if isinstance(text, str)}


def measured() -> set[str]:
    """The names, units and labels of everything that the samples measure."""
    layers = [one for sample in samples.ALL.values() for one in sample().layers]
    found = set(DISEASES)
    for one in (one for layer in layers for one in layer.measurements):
        labels = {str(label) for labels in one.coords.values() for label in labels}
        found |= {one.name, one.unit, *one.axes, *labels}
    return found


def test_every_text_has_its_korean() -> None:
    assert {*said(), *GLOSSARY, *GLOSSARY.values(), *DISEASES, *REMARKS} - set(KOREAN) == set()


# What other measurements than those of the samples are labelled with.
ELSEWHERE = {
    "nonlinearity",
    "projection",
    "reset",
    "update gate at 1",
    "no squashing",
    "step",
    "between the steps",
    "decay",
    "delta",
    "no erasing",
}
RUN = {"batch", "dtype", "device", "thresholds"}


def test_no_korean_is_stale() -> None:
    parts = {part.partition(",")[0] for part in measured()}
    assert set(KOREAN) - constants() - {*REMARKS} - measured() - parts - ELSEWHERE - RUN == set()


@pytest.mark.parametrize(("english", "korean"), KOREAN.items(), ids=range(len(KOREAN)))
def test_the_korean_has_the_same_gaps_to_fill(english: str, korean: str) -> None:
    gaps = [{name for _, name, _, _ in Formatter().parse(text)} for text in (english, korean)]
    assert gaps[0] - {None} == gaps[1] - {None}


def test_a_language_ends_where_it_ends() -> None:
    with speaking("ko"):
        within = spoken(), say("Why")
    assert (within, spoken(), say("Why")) == (("ko", "왜 그런가"), "en", "Why")


def test_another_language_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="unknown language 'fr'; choose from: en, ko"):
        render_html(samples.vanishing(), language="fr")


@pytest.mark.parametrize(("korean", "shown"), [("사라집니다.", "사라집니다."), ("", "It fades.")])
def test_a_sentence_without_korean_is_told_in_english(korean: str, shown: str) -> None:
    with speaking("ko"):
        assert told(Finding("vanishing", "rnn", "It fades.", korean=korean)) == shown


def test_a_page_in_english_after_one_in_korean_is_in_english() -> None:
    render_html(samples.explained(), language="ko")
    assert not HANGUL.search(render_html(samples.explained()))


def test_a_page_in_korean_leaves_only_names_and_methods_in_english() -> None:
    page = render_html(samples.explained(), language="ko")
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    english = [text for text in re.findall(r">([^<>]+)<", body) if text in KOREAN]
    assert ('<html lang="ko">' in page, english) == (True, [])
