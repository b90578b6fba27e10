"""A page as plain data: formulas, a table, pictures, and what to see in them."""

import math
from dataclasses import dataclass
from typing import Any

Cell = str | int | float


@dataclass(frozen=True)
class Picture:
    """log10 of a size along `axis`: values[i] belongs to start + i, and a true zero is -inf."""

    label: str
    axis: str
    start: int
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"picture {self.label!r} has no values")


@dataclass(frozen=True)
class Page:
    """One page. `quantity` names what its pictures show; they share one vertical scale."""

    name: str
    title: str
    formulas: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    quantity: str
    pictures: tuple[Picture, ...]
    see: str

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"page {self.name!r}: {len(row)} cells in a row of {len(self.columns)} columns"
                )


def to_dict(page: Page) -> dict[str, Any]:
    """The page for `json.dumps`, in plain types; NaN and infinities are "nan", "inf" and "-inf".

    Those three strings are valid JSON, and `float()` reads each of them back.
    """
    return {
        "name": page.name,
        "title": page.title,
        "formulas": list(page.formulas),
        "columns": list(page.columns),
        "rows": [[plain(cell) for cell in row] for row in page.rows],
        "quantity": page.quantity,
        "pictures": [
            {
                "label": picture.label,
                "axis": picture.axis,
                "start": picture.start,
                "values": [plain(value) for value in picture.values],
            }
            for picture in page.pictures
        ],
        "see": page.see,
    }


def plain(cell: Cell) -> Cell:
    """The cell as a str, int or float that JSON can hold; NumPy's numbers become Python's."""
    if isinstance(cell, str):
        return str(cell)
    if isinstance(cell, float):  # np.float64 is one
        return float(cell) if math.isfinite(cell) else str(float(cell))
    return int(cell)
