"""Every example runs as a script, and gives a diagnosis through the command line."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from throughtime.findings import SCHEMA, Diagnosis

ROOT = Path(__file__).parent.parent


class Example(NamedTuple):
    """What the file shows: its layers, the verdict on the whole, the packages that it needs."""

    name: str
    layers: dict[str, str]
    verdict: str
    packages: set[str]


EXAMPLES = [
    Example(
        "language_model",
        {"lstm.l0": "LSTM", "lstm.l1": "LSTM", "all layers": "stack"},
        "vanishing",
        {"torch"},
    ),
    Example("sequence_classifier", {"gru": "GRU", "gru.reverse": "GRU"}, "vanishing", {"torch"}),
    Example("handwritten_cell", {"cell": "marked"}, "healthy", {"torch", "throughtime"}),
    Example("name_recall", {"rnn": "RNN"}, "vanishing", {"torch", "throughtime"}),
]
EXIT_CODES = {"healthy": 0, "vanishing": 1}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_file_is_among_them() -> None:
    assert {file.stem for file in (ROOT / "examples").glob("*.py")} == {e.name for e in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_command_line_diagnoses_it(example: Example) -> None:
    ran = python("-m", "throughtime", "diagnose", f"examples/{example.name}.py:build", "--json")
    assert (ran.returncode, ran.stderr) == (EXIT_CODES[example.verdict], "")
    assert json.loads(ran.stdout)["schema"] == SCHEMA
    found = Diagnosis.from_json(ran.stdout)
    assert found.verdict == example.verdict
    assert {layer.name: layer.kind for layer in found.layers} == example.layers
    assert max(layer.verified for layer in found.layers if layer.verified is not None) < 1e-5
    assert not [layer for layer in found.layers if layer.verified is None]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_it_runs_as_a_script(example: Example) -> None:
    ran = python("-W", "error", f"examples/{example.name}.py")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_it_needs_nothing_but(example: Example) -> None:
    tree = ast.parse((ROOT / "examples" / f"{example.name}.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {
        name.partition(".")[0]
        for node in imports
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
        )
    }
    assert named - sys.stdlib_module_names == example.packages
