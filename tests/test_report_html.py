"""The page as text: complete, small, well formed, deaf to markup in names."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import jinja2
import numpy as np
import pytest
import report_samples as samples
from report_measurements import causes, depths

from throughtime.errors import InputError
from throughtime.findings import Diagnosis, Measurement
from throughtime.report import Section, render_html

VOID = {"meta", "link", "img", "br", "image"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Page(HTMLParser):
    """What is on a page: its elements in order, its visible text; it must be well nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def compared() -> dict[str, Diagnosis]:
    return {"RNN": samples.vanishing(), "LSTM <b>": samples.healthy()}


def hostile_compared() -> dict[str, Diagnosis]:
    return {samples.HOSTILE[4]: samples.hostile(), samples.HOSTILE[2]: samples.empty()}


PAGES: dict[str, Callable[[], Diagnosis | dict[str, Diagnosis]]] = {
    **samples.ALL, "compared": compared, "hostile compared": hostile_compared,
}  # fmt: skip  # rows of a table
every_page = pytest.mark.parametrize("name", PAGES)


@cache
def rendered(name: str) -> str:
    return render_html(PAGES[name]())


@every_page
def test_a_page_is_small_and_needs_nothing_from_outside(name: str) -> None:
    text = rendered(name)
    page = Page(text)
    places = [element.get(name) for _, element in page.elements for name in ("src", "href")]
    assert len(text.encode()) < 1_000_000
    assert {place for place in places if place and not place.startswith(("data:", "#"))} == set()
    assert page.all("script", "iframe", "object", "embed", "form", "base") == []
    assert not any(name.startswith("on") for _, element in page.elements for name in element)


@every_page
def test_headings_never_skip_a_level_and_the_verdict_is_the_first(name: str) -> None:
    levels = [int(tag[1]) for tag, _ in Page(rendered(name)).elements if re.match(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@every_page
def test_every_picture_says_what_it_shows_and_every_id_is_unique(name: str) -> None:
    page = Page(rendered(name))
    assert all(one.get("role") == "img" and one.get("aria-label") for one in page.all("svg"))
    ids = [element["id"] for _, element in page.elements if "id" in element]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["healthy", "hostile compared"])
def test_the_page_is_the_same_every_time(name: str) -> None:
    assert render_html(PAGES[name]()) == rendered(name)


def test_the_head_names_language_letters_policy_and_width() -> None:
    page = Page(rendered("vanishing"))
    metas = {
        one.get("name") or one.get("http-equiv"): one.get("content") for one in page.all("meta")
    }
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta")[0] == {"charset": "utf-8"}
    assert metas["Content-Security-Policy"] == POLICY
    assert metas["viewport"] == "width=device-width, initial-scale=1"


def test_a_page_goes_from_the_verdict_to_how_it_was_obtained() -> None:
    text = Page(rendered("stack")).text
    order = [
        "Vanishing", "After 16 steps back", "Gain by lag of lstm (all layers)",
        "Inside lstm (all layers)", "Layers", "lstm.layers.1 LSTM", "not verified: dropout",
        "Findings", "How each number was obtained", "one reverse sweep from 32 anchors",
        "The run", "float32", "Words",
    ]  # fmt: skip  # rows of a table
    body = text.index("how far back")
    places = [text.find(part, body) for part in order]
    assert -1 not in places
    assert places == sorted(places)


def test_causes_come_first_and_pictures_before_tables() -> None:
    page = rendered("explained LSTM")
    order = [
        "Why</h2>", "Gates closed", "Where the decades go: each cause", "Paths: by which way",
        "Gain by lag of encoder.rnn</h2>", "A deeper look into encoder.rnn</h2>", "Layers</h2>",
        "Findings</h2>", "<summary>The numbers behind the pictures</summary>", "Budget of encoder",
    ]  # fmt: skip  # rows of a table
    places = [page.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)


def test_a_cause_has_its_confidence_and_says_nothing_twice() -> None:
    text = Page(rendered("explained LSTM")).text
    lead = samples.explained().sentence
    assert "Gates closed ( encoder.rnn , confidence 94 %) The forget gates are closed" in text
    assert text.count(lead) == 1


def test_a_page_of_a_broken_number_says_where_and_what_to_do_next() -> None:
    text = Page(rendered("broken forward")).text
    body = text.index("how far back")
    order = ["Time step 37 of 100", "Why", "Where it begins", "What to do next The state grows"]
    places = [text.find(part, body) for part in order]
    assert -1 not in places
    assert places == sorted(places)
    assert "Span needed" not in text


def test_a_stack_shows_why_of_the_layer_that_explains_it_once() -> None:
    page = rendered("explained stack")
    labels = [one["aria-label"] or "" for one in Page(page).all("svg")]
    assert sum("Decades per step of gru.l0" in label for label in labels) == 1
    assert page.index("Decades per step of gru.l0") < page.index("Gain by lag of all layers.")


def test_deep_pictures_of_a_wide_layer_stay_small() -> None:
    more = (*depths("LSTM", hidden=300), *causes("LSTM"))
    layer = replace(samples.layer("lstm", "LSTM"), measurements=more)
    layers = [replace(layer, name=f"lstm.l{number}") for number in range(12)]
    text = render_html(samples.diagnosis(*layers))
    assert len(text.encode()) < 1_000_000
    assert "More pictures are left out" in Page(text).text


def test_the_gain_can_be_read_as_numbers() -> None:
    text = Page(rendered("vanishing")).text
    assert re.search(
        r"Lag Lowest quantile Median Highest quantile 0 \S+ 1 \S+ 1 .*\b50\b.*\b99\b", text
    )


def test_notes_and_findings_are_on_the_page() -> None:
    layer = replace(samples.layer(), measurements=())
    found = samples.diagnosis(layer, notes=["The last 12 steps are constant."])
    text = Page(render_html(replace(found, sentence="Another."))).text
    assert "rate decades per step -0.22 horizon 9" in text
    assert "The last 12 steps are constant" in text


def test_a_comparison_shows_both_verdicts_before_any_detail() -> None:
    text = Page(rendered("compared")).text
    assert text.index("Vanishing") < text.index("Healthy") < text.index("RNN in detail")
    assert "RNN · LSTM <b>" in text


def test_what_a_caller_adds_stands_before_the_details() -> None:
    extra = Section(
        "Who said hi? <i>",
        "Mary said hi to [?]\n\n철수",
        ("Distance", "RNN", "LSTM"),
        ((20, "52 %", 1.0), (80, None, "<b>97 %</b>")),
    )
    text = Page(render_html({"RNN": samples.empty(), "LSTM": samples.empty()}, [extra])).text
    table = "Mary said hi to [?] 철수 Distance RNN LSTM 20 52 % 1 80 none <b>97 %</b>"
    assert f"Who said hi? <i> {table}" in text
    assert text.index("Who said hi?") < text.index("RNN in detail")
    assert table in Page(render_html(samples.empty(), [extra])).text


def test_a_row_that_does_not_fit_its_columns_is_refused() -> None:
    with pytest.raises(InputError, match="section 'recall': row 2 has 1 entries, and there are 2"):
        Section("recall", columns=("a", "b"), rows=((1, 2), (3,)))


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        render_html({})


def test_many_layers_stay_under_a_megabyte_and_the_page_says_what_it_left_out() -> None:
    noise = np.random.default_rng(0).normal(-5, 3, (128, 256))  # nothing that PNG could compress
    matrix = Measurement("lag matrix", noise, ("anchor", "time"), "log10", "by hand").plain()
    one = replace(samples.layer(), measurements=(matrix,))
    layers = [replace(one, name=f"layer {number}") for number in range(80)]
    text = render_html(samples.diagnosis(*layers))
    shown = Page(text).text
    assert len(text.encode()) < 1_000_000
    assert 5 < text.count("<svg") < 60
    assert "More pictures are left out" in shown
    assert "19 more layers have no section of their own" in shown
    assert "layer 79 RNN" in shown


def test_names_are_shown_as_they_are_and_never_as_markup() -> None:
    page = Page(rendered("hostile"))
    for name in ("</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "{{7*7}}"):
        assert name in page.text
    assert "49" not in page.text.split()
    assert page.all("img") == []


def test_no_control_or_direction_character_reaches_the_page() -> None:
    text = rendered("hostile compared")
    assert (
        re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
        == []
    )


def test_a_template_that_asks_for_what_is_not_there_fails() -> None:
    from throughtime.report import page

    environment = page._template("en").environment
    assert environment.autoescape is True
    assert environment.undefined is jinja2.StrictUndefined


def test_importing_the_report_loads_nothing_heavy_until_it_is_used() -> None:
    script = """
import sys
import throughtime.report as report
early = {"matplotlib", "jinja2", "rich"} & set(sys.modules)
assert report.figures.gain and report.text.render_text
print(sorted(early))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_package_has_no_other_attributes() -> None:
    import throughtime.report

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = throughtime.report.nothing
