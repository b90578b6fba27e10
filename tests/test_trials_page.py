"""The page of small multiples: what it shows, in a real browser, of any name and any number."""

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from sweep_runs import ran, setting
from test_report_browser import CONTRAST

from throughtime.errors import InputError
from throughtime.report.multiples import (
    Fate,
    Line,
    Listing,
    Multiples,
    Overview,
    Panel,
    PanelRow,
    render_multiples,
)
from throughtime.report.multiples_page import MOST
from throughtime.trials import table
from throughtime.trials.page import page as page_of

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

UPDATES = 5000
FATES: tuple[Fate, ...] = ("solved", "unsolved", "diverged", "unfinished")


def curve(number: int, fate: Fate) -> Line:
    """A loss that falls, stays, explodes or stops half way."""
    end = {"diverged": 0.3, "unfinished": 0.5}.get(fate, 1.0) * UPDATES
    falls = {"solved": 0.0014 + 0.0003 * number, "diverged": -0.002}.get(fate, 2e-5)
    waves = (math.sin(0.9 * step + number) for step in range(120))
    points = [
        (step * 42, 0.2 * math.exp(-falls * step * 42 + 0.25 * wave))
        for step, wave in enumerate(waves)
        if step * 42 <= end
    ]
    return Line(f"seed {number}", points, fate, 2600 - 200 * number if fate == "solved" else None)


def multiples(cells: int = 5, remedies: int = 2, lengths: int = 3, **more: Any) -> Multiples:
    """A page of ``cells · remedies · lengths`` panels."""
    names = ["rnn", "lstm", "gru", "antisymmetric", "janet", *map(str, range(cells))][:cells]
    arms = ["none", "orthogonal+clip", "chrono+clip", "identity", *map(str, range(remedies))]
    across = [(10, 50, 100, 200, 400, 750, 1000)[n % 7] for n in range(lengths)]
    rows = []
    for i, cell in enumerate(names):
        for j, arm in enumerate(arms[:remedies]):
            panels = [
                Panel(
                    f"length {length}",
                    "2 of 3 solved, horizon 34 of 99",
                    [curve(n, FATES[(i + j * k + (n == 2)) % 4]) for n in range(3)],
                    0.167,
                )
                for k, length in enumerate(across)
            ]
            rows.append(PanelRow(cell, arm, panels))
    overview = Overview(
        ("cell", "remedy"),
        [f"length {length}" for length in across],
        [(row.group, row.title) for row in rows],
        [["2/3" for _ in across] for _ in rows],
        "Seeds solved, by length.",
    )
    lead = "Solved means: loss below 0.01, on data kept apart from training."
    facts = [("Settings", "90: 60 solved, 30 done"), ("Updates", "5,000")]
    given: dict[str, Any] = {"facts": facts, "files": [("All results", "results.csv")], **more}
    return Multiples("adding", lead, UPDATES, rows, overview, **given)


def paired() -> Multiples:
    """Each curve beside another, notes, and a listing with long lines."""
    page = multiples(1, 2, 5)
    rows = [
        PanelRow(row.group, row.title, [with_another(panel) for panel in row.panels])
        for row in page.rows
    ]
    listing = Listing("The patch to apply", "patch -p0 < x", ["+    " + "word " * 60, "", "-\tx"])
    return replace(
        page,
        rows=rows,
        notes=["Not yet proof."] * 2,
        beside="the untreated model",
        listings=[listing],
    )


def with_another(panel: Panel) -> Panel:
    return replace(panel, lines=[curve(5, "unsolved")._replace(beside=True), panel.lines[0]])


def hostile() -> Multiples:
    """Every text is one that would like to be more than text."""
    bad = samples.HOSTILE
    line = Line(
        bad[0], [(1, math.nan), (2, math.inf), (3, 0.0), (4, -1.0), (5, 1e300)], "solved", 4
    )
    panels = [Panel(name, name, [line], math.nan if n else 0.1) for n, name in enumerate(bad)]
    rows = [PanelRow(name, name, panels) for name in bad[:3]]
    overview = Overview((bad[0],), bad[:2], [(bad[1],)], [bad[:2]], bad[2])
    pairs = list(zip(bad, reversed(bad), strict=True))
    return Multiples(
        bad[0], bad[1], 5, rows, overview, pairs, pairs, [(bad[0], "results.csv")],
        bad[0], bad, bad[1], [Listing(bad[0], bad[1], bad)],
    )  # fmt: skip  # what belongs together, on one line


PAGES = {
    "thirty": multiples(troubles=[("adding-10-rnn", "diverged: " + "a long reason " * 20)]),
    "many lengths": multiples(1, 2, 7),
    "one": multiples(1, 1, 1),
    "pairs": paired(),
    "hostile": hostile(),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("multiples")
    for number, page in enumerate(PAGES.values()):
        (folder / f"{number}.html").write_text(render_multiples(page), encoding="utf-8")
    return {name: (folder / f"{n}.html").as_uri() for n, name in enumerate(PAGES)}


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@in_browser
@pytest.mark.parametrize("name", PAGES)
def test_nothing_runs_and_nothing_is_fetched(
    browser: "sync_api.Browser", pages: dict[str, str], name: str
) -> None:
    page = browser.new_page()
    heard: list[str] = []
    page.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("console", lambda message: heard.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("request", lambda request: heard.append(request.url[:80]))
    page.goto(pages[name], wait_until="networkidle")
    assert [line for line in heard if not line.startswith("data:")] == [pages[name]]
    assert page.evaluate("document.scripts.length + document.images.length") == 0
    page.close()


@in_browser
@pytest.mark.parametrize("width", [380, 768, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window(
    browser: "sync_api.Browser", pages: dict[str, str], name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(pages[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@in_browser
@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("name", ["thirty", "many lengths"])
def test_the_type_in_panels_is_large_enough_to_read(
    browser: "sync_api.Browser", pages: dict[str, str], name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(pages[name])
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg text')]"
        ".map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)"
    )
    assert len(sizes) > 50
    assert min(sizes) >= 9
    page.close()


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_page(
    browser: "sync_api.Browser", pages: dict[str, str], scheme: str
) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(pages["thirty"])
    assert page.evaluate(CONTRAST) >= 4.5
    page.close()


# What is drawn


def test_there_is_a_panel_for_each_combination() -> None:
    assert render_multiples(PAGES["thirty"]).count("<svg") == 30


def test_more_panels_than_a_page_holds_are_counted() -> None:
    html = render_multiples(multiples(MOST // 6 + 1, 2, 3))
    assert (html.count("<svg"), "6 more panels are left out" in html) == (MOST, True)


def test_a_page_of_thirty_panels_is_small() -> None:
    assert len(render_multiples(PAGES["thirty"])) < 700_000


def test_every_panel_is_told_to_who_cannot_see_it() -> None:
    labels = re.findall(r'aria-label="([^"]+)"', render_multiples(multiples(1, 1, 1)))
    assert labels[-1] == ("length 10: 2 solved, 1 unsolved. 2 of 3 solved, horizon 34 of 99")


def test_what_stands_beside_is_not_counted() -> None:
    labels = re.findall(r'aria-label="([^"]+)"', render_multiples(PAGES["pairs"]))
    assert [label for label in labels if label.startswith("length 10: 1 solved.")]


def test_a_listing_keeps_its_lines() -> None:
    html = render_multiples(PAGES["pairs"])
    assert re.search(r"<pre[^>]*>\+    word[^\n]*\n\n- x\n</pre>", html)


LEVELS = [
    ([], (-1.0, 1.0)),
    ([math.nan, math.inf, 0.0], (-1.0, 1.0)),
    ([1.0, 0.1, 0.01], (-2.0, 0.0)),
    ([1.0, 0.1, 1e30], (-1.0, 1.0)),  # an explosion presses nothing together
    ([1.0, 1e-30], (-8.0, 0.0)),
    ([0.5, 0.5], (math.log10(0.5) - 0.1, math.log10(0.5) + 0.1)),
]


@pytest.mark.parametrize(("losses", "bounds"), LEVELS, ids=[str(losses) for losses, _ in LEVELS])
def test_the_axis_shows_what_matters(losses: list[float], bounds: tuple[float, float]) -> None:
    line = Line("seed 0", list(enumerate(losses, 1)), "unsolved")
    rows = [PanelRow("rnn", "none", [Panel("length 10", "", [line])])]
    page = Multiples("x", "", 9, rows, Overview((), [], [], []))
    assert page.bounds() == pytest.approx(bounds)


def test_an_axis_of_no_length_is_refused() -> None:
    with pytest.raises(InputError, match="updates is 0"):
        Multiples("x", "", 0, [], Overview((), [], [], []))


# The page of a sweep


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sweep")
    settings = [setting(), setting(remedies=["chrono"]), setting(lengths=[12], seeds=[1])]
    for one in settings:
        ran(Path(folder), one)
    rows = table.rows(settings, folder, {})
    return page_of(settings, folder, rows, [("All results", "results.csv")])


@pytest.mark.parametrize(
    "said",
    [
        "loss below 0.01",
        "0/1",
        "Seeds solved, by length",
        "0 of 1 solved",
        "no gate that keeps its state",
        "results.csv",
    ],
)
def test_the_page_of_a_sweep_says(swept: str, said: str) -> None:
    assert said in swept


def test_the_page_of_a_sweep_names_no_place_of_this_machine(
    swept: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert str(tmp_path_factory.getbasetemp()) not in swept
