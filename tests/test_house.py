"""The rules of the house: how long, how documented, what an import may bring, what is locked."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import throughtime

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "throughtime"
FOLDERS = [ROOT / name for name in ("src", "tests", "benchmarks", "examples")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def names(requirements: list[str]) -> set[str]:
    """``torch`` of ``torch>=2.10``."""
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


DEPENDENCIES = names(PROJECT["project"]["dependencies"])
# By the names that they are imported by.
EXTRAS = {"sklearn", "dask", "distributed", "pyarrow"}


def sources(*places: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of each of these files, and of every Python file in these folders."""
    for place in places:
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def test_no_file_is_too_long() -> None:
    lengths = {name: len(text.splitlines()) for name, text in sources(*FOLDERS)}
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE}
    assert not too_long, f"files of more than {LONGEST_FILE} lines"


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{name}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, text in sources(*FOLDERS)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}
    assert not too_long, f"functions of more than {LONGEST_FUNCTION} lines"


def public_methods() -> Iterator[tuple[str, object]]:
    found = {module.name for module in pkgutil.walk_packages(throughtime.__path__, "throughtime.")}
    members = [
        member
        for name in found - {"throughtime.__main__"}  # to import it is to run it
        for member in vars(importlib.import_module(name)).values()
    ]
    kinds = (FunctionType, classmethod, staticmethod, property)
    for owner in filter(inspect.isclass, members):
        if owner.__module__ in found and not owner.__name__.startswith("_"):
            for name, member in vars(owner).items():
                if isinstance(member, kinds) and not name.startswith("_"):
                    yield f"{owner.__module__}.{owner.__qualname__}.{name}", getattr(owner, name)


def test_every_public_method_has_a_docstring_of_its_own_or_inherits_one() -> None:
    undocumented = {name for name, method in public_methods() if not inspect.getdoc(method)}
    assert not undocumented


def imports(text: str) -> Iterator[str]:
    """The top-level packages that a source text names in its imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "throughtime" if node.level else str(node.module).partition(".")[0]


@pytest.mark.parametrize(
    ("part", "packages"),
    [
        ("errors.py", set()),
        ("findings.py", set()),
        ("textbook", {"numpy", "rich"}),
        ("", DEPENDENCIES | EXTRAS),
    ],
    ids=["errors", "findings", "textbook", "all"],
)
def test_beyond_the_standard_library_only_these_are_imported(part: str, packages: set[str]) -> None:
    known = {*sys.stdlib_module_names, "throughtime", *packages}
    imported = {
        (name, package) for name, text in sources(SOURCE / part) for package in imports(text)
    }
    strangers = {(name, package) for name, package in imported if package not in known}
    assert not strangers


def test_every_name_that_is_promised_is_there() -> None:
    missing = [name for name in throughtime.__all__ if not hasattr(throughtime, name)]
    assert not missing


def loaded_by(*arguments: str) -> set[str]:
    """The packages of others that ``python ARGUMENTS`` imports."""
    command = [sys.executable, "-X", "importtime", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr.splitlines()[-1]
    modules = (line.rpartition("|")[2].strip() for line in ran.stderr.splitlines())
    return {module.partition(".")[0] for module in modules} - {*sys.stdlib_module_names}


def test_all_public_names_together_load_little_beyond_torch() -> None:
    expected = loaded_by("-c", "import torch, jaxtyping, safetensors.torch, rich, joblib") | {
        "throughtime"
    }
    assert loaded_by("-c", "from throughtime import *") <= expected


def test_help_does_not_wait_for_torch() -> None:
    slow = {"torch", "numpy", "matplotlib", "jinja2"}
    assert not loaded_by("-m", "throughtime", "--help") & slow


def test_every_package_that_the_project_needs_is_locked() -> None:
    development = PROJECT["project"]["optional-dependencies"]["dev"]
    needed = DEPENDENCIES | names(PROJECT["build-system"]["requires"] + development)
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().splitlines()
    unlocked = needed - {line.partition("==")[0] for line in lock if "==" in line}
    assert not unlocked


def test_every_locked_package_has_its_hashes_but_torch() -> None:
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    pinned = {line for line in lock.splitlines() if "==" in line and not line.startswith("torch==")}
    blocks = (ROOT / "hashes.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    hashed = {line.split()[0] for line in blocks if "--hash=sha256:" in line}
    assert (hashed ^ pinned, len(hashed)) == (set(), len(pinned))


def test_public_models_are_pinned_with_hashes_and_bring_nothing_that_is_locked() -> None:
    text = (ROOT / "libraries.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.match(r"[\w.-]+==[\d.]+ .*--hash=sha256:", block) for block in blocks)
    names_of = {block.partition("==")[0] for block in blocks}
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    assert not names_of & {line.partition("==")[0] for line in lock.splitlines()}


def test_the_lock_pins_exactly_and_fits_every_build_of_torch() -> None:
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    loose = [line for line in lock if not re.fullmatch(r"#.*|[\w.-]+==[\d.]+", line)]
    assert not loose
