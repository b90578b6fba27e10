"""The pages: one screen, any width and encoding, valid JSON, markup that stays text."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console
from textbook_reference import same

from throughtime.textbook import growth, nilpotent
from throughtime.textbook.page import Page, Picture, to_dict
from throughtime.textbook.pages import PAGES, render
from throughtime.textbook.picture import ASCII, UNICODE, column, draw
from throughtime.textbook.rendering import lines

MADE = {name: make() for name, make in PAGES.items()}
pages = pytest.mark.parametrize("page", MADE.values(), ids=MADE)
RULER = Picture("ruler", "t", 1, (0.0, 1.0, 2.0, 3.0))


def page(**changes: object) -> Page:
    """A page of one row and one picture."""
    plain = {
        "name": "n",
        "title": "title",
        "formulas": ("y = x",),
        "columns": ("a", "b"),
        "rows": (("one", 2.0),),
        "quantity": "log10",
        "pictures": (RULER,),
        "see": "this",
    }
    return Page(**(plain | changes))


def printed(page: Page, width: int = 80, encoding: str = "utf-8") -> str:
    """What the page looks like on a terminal of that width and encoding."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    render(page, Console(file=terminal, width=width, force_terminal=False))
    terminal.flush()
    return terminal.buffer.getvalue().decode(encoding)


def test_the_names_of_the_pages() -> None:
    assert list(PAGES) == ["scalar", "node", "powers", "nilpotent", "lm", "clip", "lstm"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_called_by_its_name(name: str) -> None:
    assert MADE[name].name == name


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_the_same_every_time(name: str) -> None:
    assert to_dict(PAGES[name]()) == to_dict(MADE[name])


@pages
def test_a_page_fits_one_screen(page: Page) -> None:
    assert len(lines(page, 80)) <= 30


@pages
def test_at_eighty_columns_the_whole_table_is_shown(page: Page) -> None:
    assert "too narrow" not in printed(page)


@pages
@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(page: Page, width: int) -> None:
    assert max(map(len, printed(page, width).splitlines())) <= width


@pages
@pytest.mark.parametrize("encoding", ["ascii", "cp949", "cp437", "latin-1"])
def test_every_symbol_has_a_spelling_in_any_encoding(page: Page, encoding: str) -> None:
    assert "?" not in printed(page, encoding=encoding)


@pages
def test_the_page_says_what_to_see_in_words_and_in_lines(page: Page) -> None:
    assert printed(page).rstrip().replace("\n     ", " ").endswith("See: " + page.see)


@pages
def test_json_is_valid_and_comes_back(page: Page) -> None:
    assert json.loads(json.dumps(to_dict(page), allow_nan=False)) == to_dict(page)


@pages
def test_json_holds_plain_types(page: Page) -> None:
    cells = [cell for row in to_dict(page)["rows"] for cell in row]
    assert {type(cell) for cell in cells} <= {str, int, float}


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (math.nan, '"nan"'),
        (math.inf, '"inf"'),
        (-math.inf, '"-inf"'),
        (np.float64(0.5), "0.5"),
        (np.float64("nan"), '"nan"'),
        (np.int64(3), "3"),
    ],
    ids=["nan", "inf", "-inf", "NumPy's float", "NumPy's nan", "NumPy's integer"],
)
def test_every_number_has_a_place_in_json(cell: float, written: str) -> None:
    rows = to_dict(page(rows=(("one", cell),)))["rows"]
    assert json.dumps(rows, allow_nan=False) == f'[["one", {written}]]'


@pytest.mark.parametrize("field", ["title", "quantity", "see"])
def test_markup_in_a_page_stays_text(field: str) -> None:
    assert "[red]x[/red] :smile:" in printed(page(**{field: "[red]x[/red] :smile:"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"formulas": ("[bold]",)},
        {"columns": ("[bold]", "b")},
        {"rows": (("[bold]", 1.0),)},
        {"pictures": (Picture("[bold]", "t", 1, (1.0,)),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_markup_in_any_part_stays_text(changes: dict[str, object]) -> None:
    assert "[bold]" in printed(page(**changes))


def test_a_row_that_does_not_fit_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells in a row of 2 columns"):
        page(rows=(("one",),))


def test_a_picture_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="picture 'empty' has no values"):
        Picture("empty", "t", 1, ())


def test_columns_that_do_not_fit_are_named() -> None:
    assert "too narrow to show: far, away" in printed(
        page(columns=("a" * 20, "far", "away"), rows=(("x", 1.0, 2.0),)), width=24
    ).replace("\n", " ")


@pytest.mark.parametrize(
    ("value", "bar"),
    [
        (0.0, "▁  "),  # the smallest is still seen
        (1.0, "█  "),
        (1.5, "█▄ "),
        (3.0, "███"),
        (math.inf, "███"),
        (-math.inf, "   "),  # a true zero
        (math.nan, "?  "),
    ],
)
def test_a_bar_is_as_high_as_its_value(value: float, bar: str) -> None:
    assert "".join(reversed(column(value, 0.0, 3.0, 3, 1, UNICODE))) == bar


@pytest.mark.parametrize(("value", "bar"), [(0.0, ".  "), (1.0, "#  "), (1.4, "#. "), (3.0, "###")])
def test_plain_bars_are_as_high_as_their_value(value: float, bar: str) -> None:
    assert "".join(reversed(column(value, 0.0, 3.0, 3, 1, ASCII))) == bar


@pytest.mark.parametrize("values", [(-math.inf,) * 3, (math.nan,), (2.0, 2.0), (0.0,) * 500])
def test_a_picture_of_anything_can_be_drawn(values: tuple[float, ...]) -> None:
    assert max(map(len, draw([Picture("p", "t", 1, values)], 40))) <= 40


def test_a_picture_that_leaves_values_out_says_so() -> None:
    assert draw([Picture("p", "t", 1, (1.0,) * 90)], 40)[-1].strip() == "one value in 3 is drawn"


def test_the_last_value_is_always_drawn() -> None:
    drawn = draw([Picture("p", "t", 1, (0.0,) * 91 + (5.0,))], 40)
    assert drawn[1].endswith("█")


def test_pictures_stand_side_by_side_where_there_is_room() -> None:
    assert len(draw([RULER] * 3, 80)) == len(draw([RULER], 80))


@pytest.mark.parametrize(("n", "gain"), [(10, nilpotent.gain(10)), (30, nilpotent.gain(30))])
def test_the_page_powers_shows_the_counter_example(n: int, gain: float) -> None:
    shown = {row[0]: row[-1] for row in MADE["powers"].rows}
    assert shown[n] == gain


NILPOTENT = {row[0]: row[1:] for row in MADE["nilpotent"].rows}


@pytest.mark.parametrize(("n", "gain"), [(10, nilpotent.gain(10)), (30, nilpotent.gain(30))])
def test_the_page_nilpotent_measures_the_closed_form_along_its_run(n: int, gain: float) -> None:
    assert NILPOTENT[n][3] == pytest.approx(gain, rel=1e-4)


@pytest.mark.parametrize(("n", "radius", "sigma"), [(1, 0.0, 16.0), (10, 0.0, 16.0**10)])
def test_the_page_nilpotent_shows_both_conditions(n: int, radius: float, sigma: float) -> None:
    assert NILPOTENT[n][:2] == pytest.approx((radius, sigma))


@pytest.mark.parametrize(("n", "gain"), [(1, 1.02), (100, 1.02**100), (101, 0.0)])
def test_the_page_nilpotent_shows_a_chain_that_gains_and_then_ends(n: int, gain: float) -> None:
    assert NILPOTENT[n][4] == pytest.approx(gain)


@pytest.mark.parametrize("said", ["7240.8 after 10 steps", "7.59e+09 after 30", "7.2 in 100 steps"])
def test_the_page_nilpotent_says_what_was_measured(said: str) -> None:
    assert said in MADE["nilpotent"].see


@pytest.mark.parametrize(("number", "scale"), [(0, 1.0), (1, 0.5)])
def test_the_page_node_draws_the_books_norms(number: int, scale: float) -> None:
    norms = growth.norms_under_repeated_matmul(growth.book_matrix(scale))
    same(MADE["node"].pictures[number].values, np.log10(norms))


def test_the_page_lstm_shows_a_gradient_above_its_carousel() -> None:
    carousel, to_c, _ = MADE["lstm"].pictures
    assert to_c.values[-1] > carousel.values[-1] + 1.0


def test_the_page_clip_shows_that_no_applied_gradient_is_above_the_threshold() -> None:
    assert max(MADE["clip"].pictures[2].values) <= 1e-12
