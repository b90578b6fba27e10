"""``results.jsonl`` and ``forgetting.jsonl``: a JSON line for each cell that was finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CELLS = Path(__file__).parent / "results.jsonl"
FORGETTING = Path(__file__).parent / "forgetting.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    """All of it; half a last line, left by a run that was interrupted, is no record."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def append(record: dict[str, Any], path: Path) -> None:
    """After cutting off half a last line, if there is one."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
