"""A page in the terminal: table and pictures as text, no wider than the console."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from .page import Cell, Page
from .picture import ASCII, UNICODE, Strokes, draw

GAP = "  "

#: How the symbols of the formulas are spelled where the terminal's encoding lacks them.
SPELLED = {
    "∂": "d", "δ": "delta", "λ": "lambda", "ρ": "rho", "σ": "sigma", "α": "alpha", "Δ": "D",
    "Π": "prod", "Σ": "sum", "√": "sqrt", "‖": "||", "⊙": "*", "·": "*", "−": "-", "ŷ": "y^",
    "ᵀ": "^T", "²": "^2", "ⁿ": "^n", "⁻": "^-", "¹": "1", "½": "1/2", "≤": "<=", "≥": ">=",
    "←": "<-", "→": "->", "…": "...",
}  # fmt: skip  # rows of a table


def render(page: Page, console: Console) -> None:
    """Print the page, no line wider than the console; none of its text is taken for markup."""
    title, *rest = lines(page, console.width, console.encoding)
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(Text("\n".join(rest)), soft_wrap=True)


def lines(page: Page, width: int, encoding: str = "utf-8") -> list[str]:
    """The page as lines that `encoding` can hold, none wider than `width` (20 columns or more)."""
    strokes = UNICODE if holds(encoding, "".join(vars(UNICODE).values())) else ASCII
    page = spelled(page, encoding)
    text = wrap(page.title, width)
    for formula in page.formulas:
        text += wrap("  " + formula, width, "      ")
    text += ["", *table(page.columns, page.rows, width, strokes), "", *wrap(page.quantity, width)]
    text += [*draw(page.pictures, width, strokes=strokes), ""]
    return text + wrap("See: " + page.see, width, "     ")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], width: int, strokes: Strokes
) -> list[str]:
    """Header, rule and rows; numbers to the right. Columns that do not fit are named below."""
    texts = [list(columns), *([show(cell) for cell in row] for row in rows)]
    sizes = [max(cell_len(text[i]) for text in texts) for i in range(len(columns))]
    fit = len(columns)
    while fit > 1 and sum(sizes[:fit]) + len(GAP) * (fit - 1) > width:
        fit -= 1
    words = [all(isinstance(row[i], str) for row in rows) for i in range(fit)]
    out = [GAP.join(map(align, text, sizes, words)).rstrip() for text in texts]
    out.insert(1, GAP.join(strokes.rule * size for size in sizes[:fit]))
    out = [set_cell_size(line, width).rstrip() for line in out]
    if fit < len(columns):
        out += wrap("too narrow to show: " + ", ".join(columns[fit:]), width)
    return out


def align(text: str, size: int, word: bool) -> str:
    """`text` padded to `size` columns: words to the left, numbers to the right."""
    padding = " " * (size - cell_len(text))
    return text + padding if word else padding + text


def show(cell: Cell) -> str:
    """Floats with four significant digits, everything else as it is."""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """`text` in lines of at most `width`, continued after `indent`."""
    return textwrap.wrap(text, width, subsequent_indent=indent, replace_whitespace=False)


def spelled(page: Page, encoding: str) -> Page:
    """The page with every symbol that `encoding` lacks spelled out."""
    return replace(
        page,
        title=spell(page.title, encoding),
        formulas=tuple(spell(formula, encoding) for formula in page.formulas),
        columns=tuple(spell(column, encoding) for column in page.columns),
        rows=tuple(
            tuple(spell(cell, encoding) if isinstance(cell, str) else cell for cell in row)
            for row in page.rows
        ),
        quantity=spell(page.quantity, encoding),
        pictures=tuple(
            replace(p, label=spell(p.label, encoding), axis=spell(p.axis, encoding))
            for p in page.pictures
        ),
        see=spell(page.see, encoding),
    )


def spell(text: str, encoding: str) -> str:
    """`text` with each symbol that `encoding` lacks in ASCII words, or `?` where it has none."""
    return "".join(c if holds(encoding, c) else SPELLED.get(c, "?") for c in text)


def holds(encoding: str, text: str) -> bool:
    """Whether `encoding` can write `text`."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
