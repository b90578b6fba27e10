"""The page in a real browser: nothing runs, nothing is fetched, nothing overflows."""

import shutil
from collections.abc import Iterator

import pytest
import report_samples as samples

from throughtime.report import Section, write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

LONG = "철수의_기억" * 30
EXTRA = Section(LONG, "\n\n".join(samples.HOSTILE), samples.HOSTILE, (samples.HOSTILE, (LONG,) * 7))
REPORTS = {
    "vanishing": samples.vanishing(),
    "stack": samples.stack(),
    "hostile": samples.hostile(),
    "explained": samples.explained(),
    "explained stack": samples.explained_stack(),
    "broken": samples.broken(),
    "hostile causes": samples.ALL["hostile causes"](),
    "compared": {"RNN": samples.vanishing(), "LSTM": samples.healthy(), LONG: samples.empty()},
    "hostile compared": {
        samples.HOSTILE[0]: samples.hostile(),
        samples.HOSTILE[1]: samples.empty(),
    },
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of each report."""
    folder = tmp_path_factory.mktemp("reports")
    written = {
        name: write_report(found, folder / f"{number}.html", [EXTRA])
        for number, (name, found) in enumerate(REPORTS.items())
    }
    return {name: path.as_uri() for name, path in written.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", REPORTS)
def test_nothing_runs_nothing_is_fetched_nothing_is_complained_about(
    browser: "sync_api.Browser", pages: dict[str, str], name: str, scheme: str
) -> None:
    page = browser.new_page(color_scheme=scheme)
    heard: list[str] = []
    page.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("console", lambda message: heard.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("request", lambda request: heard.append(f"request: {request.url[:80]}"))
    page.goto(pages[name], wait_until="networkidle")
    page.mouse.move(200, 200)
    fetched = [line for line in heard if not line.startswith("request: data:")]
    assert fetched == [f"request: {pages[name]}"]
    assert page.evaluate("[document.scripts.length, document.querySelectorAll('img').length]") == [
        0,
        0,
    ]
    page.close()


@pytest.mark.parametrize("width", [380, 768, 1280])
@pytest.mark.parametrize("name", REPORTS)
def test_nothing_is_wider_than_the_window(
    browser: "sync_api.Browser", pages: dict[str, str], name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(pages[name])
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_type_in_pictures_is_large_enough_to_read(
    browser: "sync_api.Browser", pages: dict[str, str], width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(pages["explained"])
    heights = page.evaluate(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
        ".filter(height => height > 0)"
    )
    assert len(heights) > 50
    assert min(heights) >= 9
    page.close()


CONTRAST = """
() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b };
  const behind = light(getComputedStyle(document.body).backgroundColor);
  const ratio = c => { const a = light(c);
    return (Math.max(a, behind) + .05) / (Math.min(a, behind) + .05) };
  const written = [...document.querySelectorAll('main *')].filter(e =>
    [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  return Math.min(...written.map(e => ratio(
    e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color)));
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_page(
    browser: "sync_api.Browser", pages: dict[str, str], scheme: str
) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(pages["explained"])
    assert page.evaluate(CONTRAST) >= 4.5
    page.close()


@pytest.mark.parametrize("where", ["svg text", "main p"])
def test_korean_has_letters_and_not_boxes(
    browser: "sync_api.Browser", pages: dict[str, str], where: str
) -> None:
    """Two different syllables look different: a font that lacked them would draw the same box."""
    page = browser.new_page()

    def looks(place: str, letters: str) -> bytes:
        page.evaluate(
            "([place, text]) => { document.querySelector(place).textContent = text }",
            [place, letters],
        )
        return page.locator(place).first.screenshot()

    page.set_content("<p>")
    if looks("p", "철철") == looks("p", "수수"):
        pytest.skip("this machine has no font for Korean")
    page.goto(pages["vanishing"])
    assert looks(where, "철철") != looks(where, "수수")
    page.close()


def test_a_printed_report_is_light_and_keeps_its_pictures(
    browser: "sync_api.Browser", pages: dict[str, str]
) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(pages["vanishing"])
    page.emulate_media(media="print", color_scheme="dark")
    shown = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor,"
        " document.querySelector('.wide').offsetHeight > 0]"
    )
    page.close()
    assert shown == ["rgb(255, 255, 255)", True]
