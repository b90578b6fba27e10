"""The documents keep their word: code runs, commands exist, links lead somewhere."""

import io
import math
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import throughtime
from throughtime.cli import app

ROOT = Path(__file__).parent.parent
ENGLISH, KOREAN, DESIGN = "README.md", "README.ko.md", "docs/design.md"
SCORES = "benchmarks/verdicts/results.md"
DISEASES = "benchmarks/diseases/results.md"
DOCUMENTS = [ENGLISH, KOREAN, DESIGN, "CHANGELOG.md", "CONTRIBUTING.md"]
EXAMPLES = [f"examples/{file.name}" for file in sorted((ROOT / "examples").glob("*.py"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r" *#.*$", re.MULTILINE)
COLUMNS = "88"


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return [text for name, text in FENCE.findall(read(document)) if name == language]


def paragraphs(document: str) -> Iterator[str]:
    """Those that speak of what is there: what is planned is said to be."""
    for paragraph in re.split(r"\n\s*\n", read(document)):
        if "planned" not in paragraph.lower():
            yield paragraph


# What a program prints, against what a document says that it prints.

PICTURE = re.compile(r"^.*[│└┊].*$", re.MULTILINE)
ROUNDING = re.compile(r"\d\.?\d*e-\d+|[\d.]+ × 10\S+")  # differs from one build of torch to another
NUMBER = re.compile(r"[-−+]?\d+(?:\.\d+)?")


def words(text: str) -> list[str]:
    """The words of a text, its numbers as ``0``; without pictures and sizes of rounding errors."""
    text = ROUNDING.sub("~", PICTURE.sub("", text))
    return NUMBER.sub("0", re.sub("[█░]+", "", text)).split()


def numbers(text: str) -> list[float]:
    found = NUMBER.findall(ROUNDING.sub("~", PICTURE.sub("", text)))
    return [float(number.replace("−", "-")) for number in found]


def assert_says(document: str, printed: str) -> None:
    """The same words, and the same numbers as far as another Python's manual lets them be."""
    shown, skipped = re.subn(r"\A\.\.\.\n", "", document)
    if skipped:
        start = printed.find(shown.split("\n", 1)[0].split(" ")[0])
        printed = printed[start:]
    assert words(shown) == words(printed)
    assert numbers(shown) == pytest.approx(numbers(printed), rel=0.25)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """The names that somebody has who types in every block, in the folder of the examples."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    with torch.random.fork_rng():
        yield {"__name__": "readme"}


def test_every_block_of_python_prints_what_stands_below_it(reader: dict[str, object]) -> None:
    fences = FENCE.findall(read(ENGLISH))
    for (language, code), (below, expected) in zip(fences, [*fences[1:], ("", "")], strict=True):
        if language != "python":
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(code, ENGLISH, "exec"), reader)  # noqa: S102  — our own README
        assert_says(expected if below == "text" else "", printed.getvalue())


def test_the_test_that_the_readme_recommends_passes(reader: dict[str, object]) -> None:
    recommended = next(code for code in blocks(ENGLISH, "python") if "def test_" in code)
    exec(compile(f"import throughtime as tt\n{recommended}", ENGLISH, "exec"), reader)  # noqa: S102  — our own
    checks = [value for name, value in reader.items() if name.startswith("test_")]
    assert len(checks) == 1
    checks[0]()


@pytest.mark.parametrize("block", blocks(ENGLISH, "console"), ids=lambda text: text.split("\n")[0])
def test_every_command_prints_what_stands_below_it(block: str) -> None:
    line, _, expected = block.partition("\n")
    assert line.startswith("$ throughtime ")
    ran = subprocess.run(
        [sys.executable, "-m", *line.removeprefix("$ ").split()],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": COLUMNS, "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.stderr == ""
    assert_says(expected, ran.stdout)


@pytest.mark.parametrize("document", [ENGLISH, KOREAN])
def test_the_scores_are_those_of_the_benchmark(document: str) -> None:
    score = re.compile(r"\d+ of 160")
    sums = next(row for row in read(SCORES).splitlines() if row.startswith("| in all"))
    assert score.findall(read(document)) == score.findall(sums)


@pytest.mark.parametrize("document", [ENGLISH, KOREAN])
def test_the_f1_scores_are_those_of_the_suite(document: str) -> None:
    score = re.compile(r"[01]\.\d{3}\b")
    rows = [row for row in read(DISEASES).splitlines() if row.startswith("| macro-F1")]
    said = [
        row for row in read(document).splitlines() if row.startswith("| ") and score.search(row)
    ]
    (every,), (ours, *others) = (score.findall(row) for row in rows)
    assert [one for row in said for one in score.findall(row)] == [ours, every, *others]


def shape(document: str) -> list[tuple[str, str]]:
    """The headings by their level, and the blocks of code without their comments, in order."""
    text = read(document)
    pieces = re.finditer(rf"{FENCE.pattern}|^(#+) ", text, re.DOTALL | re.MULTILINE)
    return [(m[3] or m[1], COMMENT.sub("", m[2] or "")) for m in pieces]


def test_the_korean_readme_is_the_same_page() -> None:
    assert shape(KOREAN) == shape(ENGLISH)
    assert links(KOREAN) ^ links(ENGLISH) == {KOREAN, ENGLISH}
    assert commands(KOREAN) == commands(ENGLISH)


def links(document: str) -> set[str]:
    found = set(re.findall(r"\]\(([^)#\s]+)", read(document)))
    return {link for link in found if "://" not in link}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    broken = {link for link in links(document) if not (folder / link).exists()}
    assert not broken


def commands(document: str) -> set[str]:
    """``throughtime …`` in code of either kind, with its options."""
    return {
        line.strip()
        for text in paragraphs(document)
        for line in re.findall(r"(?:[`$] ?|^ {4})(throughtime [^`\n]+)", text, re.MULTILINE)
    }


@pytest.mark.parametrize(
    ("document", "command"),
    [(page, command) for page in [*DOCUMENTS, *EXAMPLES] for command in sorted(commands(page))],
)
def test_every_command_exists(document: str, command: str) -> None:
    lists = re.sub(r"[·,]", " ", command).split()[1:]
    named = [word for word in lists if re.fullmatch(r"[a-z]+", word)]
    options = {word for word in lists if word.startswith("--")}
    several = "·" in command
    for name in named if several else named[:1]:
        missing = {option for option in options if option not in help_of(name)}
        assert not missing, f"{document}: throughtime {name}"


def help_of(*command: str) -> str:
    ran = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert ran.exit_code == 0, f"there is no command: throughtime {' '.join(command)}"
    return ran.output


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_exists(document: str) -> None:
    everything = (
        "".join(map(help_of, re.findall(r"^  (\w+)  ", help_of(), re.MULTILINE))) + help_of()
    )
    named = {option for text in paragraphs(document) for option in re.findall(r"`(--\w+)", text)}
    assert not {option for option in named if option not in everything}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_target_of_make_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:`|^ {4}|^)make ([a-z]+)", read(document), re.MULTILINE))
    assert named <= targets


def exists(name: str) -> bool:
    found: object = throughtime
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_public_name_exists(document: str) -> None:
    named = {
        name.rstrip(".")
        for text in paragraphs(document)
        for name in re.findall(r"\btt\.([\w.]+)", text)
    }
    assert not {name for name in named if not exists(name)}


def test_the_design_shows_all_that_is_public() -> None:
    names = [name for name in throughtime.__all__ if not name.endswith("Error")]
    assert not [name for name in names if not re.search(rf"\b{name}\b", read(DESIGN))]


def modules_of_the_design() -> list[str]:
    tree = next(text for text in paragraphs(DESIGN) if "src/throughtime/\n" in text)
    return re.findall(r"^ {6}([\w.]+)/? ", tree, re.MULTILINE)


def test_the_layout_of_the_design_is_that_of_the_code() -> None:
    source = ROOT / "src" / "throughtime"
    modules = {path.name for path in source.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(modules_of_the_design()) == modules - {"__pycache__"}


def test_the_layers_of_the_design_are_those_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]["layers"]
    height = {name.strip("() "): n for n, layer in enumerate(contract) for name in layer.split("|")}
    shown = [name.removesuffix(".py") for name in modules_of_the_design()]
    heights = [height.get(name, -math.inf) for name in shown]
    assert heights == sorted(heights)
