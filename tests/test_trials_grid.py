"""A grid of TOML: its settings, their keys, and one line for whatever is wrong with it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from throughtime.errors import InputError, LoadError
from throughtime.remedies import INITIALISATIONS
from throughtime.trials import REMEDIES, make_grid, read_grid
from throughtime.trials.grid import AXES, CHECKS
from throughtime.trials.remedy import canonical

ROOT = Path(__file__).parent.parent
SMALL: dict[str, Any] = {
    "task": "adding",
    "cells": ["lstm", "gru"],
    "remedies": ["none", "clip", "chrono+clip"],
    "lengths": [10, 20],
    "seeds": [0, 3],
    "steps": 40,
}


def test_a_grid_is_the_product_of_its_axes() -> None:
    settings = make_grid(SMALL).settings
    points = {(one.cell, one.remedy, one.length, one.seed) for one in settings}
    assert len(settings) == len(points) == 2 * 3 * 2 * 2


def test_the_axes_keep_their_order() -> None:
    settings = make_grid(SMALL).settings
    found = {
        axis: list(dict.fromkeys(getattr(one, name) for one in settings))
        for axis, name in AXES.items()
    }
    assert found == {axis: SMALL[axis] for axis in AXES}


def test_what_is_not_clipped_does_not_know_the_clip() -> None:
    clips = {one.remedy: one.clip for one in make_grid({**SMALL, "clip": 0.5}).settings}
    assert clips == {"none": None, "clip": 0.5, "chrono+clip": 0.5}


WRONG = [
    ({"cels": ["lstm"]}, "unknown key 'cels'; did you mean 'cells'"),
    ({"wibble": 1}, "unknown key 'wibble'; choose from: task, "),
    ({"task": None}, "the key 'task' is missing: write  task = \"adding\""),
    ({"seeds": None}, "the key 'seeds' is missing: write  seeds = [0, 1, 2]"),
    ({"task": "adding up"}, "task: unknown task 'adding up'; did you mean 'adding'"),
    ({"task": ["adding"]}, "task: ['adding'] is no name in quotation marks"),
    ({"cells": []}, "cells: the list is empty: name at least one"),
    ({"cells": "lstm"}, "cells: 'lstm' is no list: write it in brackets, [ ]"),
    ({"cells": ["lstn"]}, "cells: unknown cell 'lstn'; did you mean 'lstm'"),
    ({"cells": [1]}, "cells: 1 is no name in quotation marks"),
    (
        {"remedies": ["prayer"]},
        "remedies: unknown remedy 'prayer'; combine these with +: none, clip, ",
    ),
    ({"remedies": ["clip+none"]}, "remedies: 'clip+none': none stands alone"),
    ({"remedies": ["clip+clip"]}, "remedies: 'clip+clip' names a remedy twice"),
    ({"remedies": ["default"]}, "remedies: unknown remedy 'default'"),
    ({"remedies": [""]}, "remedies: '' is no name in quotation marks"),
    (
        {"remedies": ["identity+orthogonal"]},
        "remedies: 'identity+orthogonal': identity and orthogonal overwrite each other",
    ),
    (
        {"remedies": ["clip+chrono", "chrono+clip"]},
        "remedies: 'chrono+clip' is there twice",
    ),
    ({"lengths": [10, 0]}, "lengths: 0 is no whole number from 1"),
    ({"lengths": [10.0]}, "lengths: 10.0 is no whole number from 1"),
    ({"lengths": [True]}, "lengths: True is no whole number from 1"),
    ({"lengths": {"from": 10}}, "lengths: {'from': 10} is no list"),
    ({"seeds": [1, 1]}, "seeds: 1 is there twice"),
    ({"seeds": [-1]}, "seeds: -1 is no whole number from 0"),
    ({"seeds": [2**63]}, "seeds: 9223372036854775808 is no whole number from 0"),
    ({"steps": "many"}, "steps: 'many' is no whole number from 1"),
    ({"lr": 0}, "lr: 0 is no number above 0"),
    ({"lr": float("nan")}, "lr: nan is no number above 0"),
    ({"clip": float("inf")}, "clip: inf is no number above 0"),
    ({"schedule": "cosy"}, "schedule: unknown schedule 'cosy'; "),
    ({"until_solved": 1}, "until_solved: 1 is neither true nor false"),
    ({"task": "a\x1b[31m" * 40}, "task: unknown task 'a [31ma"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_what_is_wrong_is_told_by_its_key(change: dict[str, Any], said: str) -> None:
    changed = {key: value for key, value in {**SMALL, **change}.items() if value is not None}
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        make_grid(changed)


FILES: list[tuple[bytes, str]] = [
    (b"task = adding\n", "is no TOML: Invalid value (at line 1, column 8)"),
    (b'task = "adding"\ntask = "copy"\n', "is no TOML: Cannot overwrite a value"),
    (b"\xff\xfe\x00", "is no text in UTF-8: a grid is a file of TOML"),
    (b"", "the key 'task' is missing"),
    (b"[[[[", "is no TOML"),
    (b"lengths = " + b"[" * 5000, ""),
]


@pytest.mark.parametrize(("content", "said"), FILES, ids=[said[:30] for _, said in FILES])
def test_a_broken_file_is_told_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=rf"^{re.escape(str(path))}\b.*{re.escape(said)}") as caught:
        read_grid(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("nothing.toml", "No such file"), (".", "is a directory"), ("a\0b", "cannot be a file")],
)
def test_what_is_no_file_is_told(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(LoadError, match=said):
        read_grid(tmp_path / name)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (ROOT / "examples" / "grid.toml").read_bytes())
    assert read_grid(path).settings


def test_the_example_is_as_large_as_it_says() -> None:
    path = ROOT / "examples" / "grid.toml"
    said = re.search(r"(\d+) settings", path.read_text(encoding="utf-8"))
    assert said is not None
    assert len(read_grid(path).settings) == int(said[1])


def test_the_document_explains_every_key() -> None:
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8").partition("\nA remedy ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(CHECKS)


def test_the_grid_of_the_document_is_one() -> None:
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [len(make_grid(tomllib.loads(block)).settings) > 1 for block in blocks] == [True]


# Keys


def test_every_setting_has_a_key_of_its_own() -> None:
    settings = make_grid(SMALL).settings
    assert len({one.key for one in settings}) == len(settings)


def test_a_key_stays_what_it_was() -> None:
    """Run directories are found again by it: a change here orphans every sweep that there is."""
    first = make_grid(SMALL).settings[0]
    assert first.key == "adding-10-lstm-none-seed0-9e427a52"


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps", 41), ("hidden", 129), ("batch", 7), ("lr", 0.1), ("variant", "skip"),
     ("schedule", "cosine"), ("window", 5), ("until_solved", True), ("evaluate_every", 3)],
)  # fmt: skip  # what belongs together, on one line
def test_a_key_is_of_all_that_the_numbers_depend_on(key: str, value: object) -> None:
    before, after = make_grid(SMALL).settings[0], make_grid({**SMALL, key: value}).settings[0]
    assert before.key != after.key


def test_a_key_is_a_plain_name_of_a_folder() -> None:
    everything = {**SMALL, "remedies": ["orthogonal+chrono+clip"], "variant": "../../etc"}
    assert re.fullmatch(r"[a-z0-9+-]+", make_grid(everything).settings[0].key)


# Remedies


def test_every_initialisation_is_a_remedy() -> None:
    assert {*REMEDIES} == {"none", "clip", *INITIALISATIONS} - {"default"}


@pytest.mark.parametrize("name", ["chrono+orthogonal+clip", "clip+orthogonal+chrono"])
def test_the_order_of_parts_is_of_no_account(name: str) -> None:
    assert canonical(name) == "orthogonal+chrono+clip"
