"""Every colour of text on a page stands out from what is behind it, as WCAG 2.2 asks (AA)."""

import re
from importlib.resources import files

import pytest

from throughtime.report import style

ENOUGH = 4.5
TEMPLATES = files("throughtime.report") / "templates"
SHEETS = {
    sheet.name: sheet.read_text(encoding="utf-8")
    for sheet in TEMPLATES.iterdir()
    if sheet.name.endswith((".css", ".j2"))
}
LIGHT, DARK = re.findall(r":root \{(.*?)\n *\}", SHEETS["report.css"], re.DOTALL)
NEVER_TEXT = {"--tt-rule", "--track"}
BEHIND = ("--paper", "--card")


def variables(root: str) -> dict[str, str]:
    return dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{3,6})\b", root))


def luminance(colour: str) -> float:
    """Relative, of ``#rrggbb``, as WCAG defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#fff", 4.48), ("#9aa3ad", "#fbfaf8", 2.45)],
)
def test_the_contrast_is_that_of_the_standard(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("root", [LIGHT, DARK], ids=["light", "dark"])
def test_all_text_stands_out(root: str) -> None:
    colours = variables(root)
    ratios = {
        (name, behind): round(contrast(colour, colours[behind]), 2)
        for name, colour in colours.items()
        if name not in {*BEHIND, *NEVER_TEXT}
        for behind in BEHIND
    }
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < ENOUGH} == {}


def test_no_sheet_has_text_of_another_colour() -> None:
    """So that the test above looks at all of them: text has a variable's colour, never a rule's."""
    said = [
        colour.strip()
        for text in SHEETS.values()
        for colour in re.findall(r"(?:^|[;{ \"])(?:color|fill): *([^;}\"]+)", text)
    ]
    known = {f"var({name})" for name in variables(LIGHT).keys() - NEVER_TEXT}
    assert len(said) > 20
    assert {*said} - known - {"inherit", "var(--tone, var(--tt-ink))"} == set()


def test_the_pictures_have_the_colours_of_the_light_page() -> None:
    page = variables(LIGHT)
    assert {name: page[name] for name in style.VARIABLES.values()} == {
        name: colour for colour, name in style.VARIABLES.items()
    }
