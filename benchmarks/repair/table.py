"""The results: ``prescriptions.jsonl``, a line for each case, and ``trainings.jsonl``, one for each
training. What is there is never done again, so that a stop loses what was under way and no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PRESCRIPTIONS = Path(__file__).parent / "prescriptions.jsonl"
FIRST_RUN = Path(__file__).parent / "prescriptions_first.jsonl"  # before the ranking was changed
TRAININGS = Path(__file__).parent / "trainings.jsonl"

Record = Mapping[str, Any]


def read(path: Path) -> list[dict[str, Any]]:
    """All of it; half a last line, left by a run that was interrupted, is no record."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def append(record: Record, path: Path) -> None:
    """After cutting off half a last line, if there is one."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
