"""How the sentences write numbers."""

import pytest

from throughtime.diagnosis import words


@pytest.mark.parametrize(
    ("log10", "expected"),
    [
        (-5.23, "10^-5.2"), (9999.9, "10^9999.9"), (-31_000.4, "10^-31,000"),
        (-1.557e32, "10^-1.6e+32"),
    ],
)  # fmt: skip  # what belongs together, on one line
def test_a_power_of_ten_has_no_more_digits_than_it_means(log10: float, expected: str) -> None:
    assert words.ten_to(log10) == expected
