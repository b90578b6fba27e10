"""The recorded result of a trial, checked when it is read: whose it is, and that it is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from throughtime.errors import RunError, plain
from throughtime.runs import RunDirectory
from throughtime.runs.manifest import MANIFEST
from throughtime.trials.trial import digest_of

Result = Mapping[str, Any]
Check = Callable[[object], bool]

STATUSES = ("solved", "done", "diverged", "failed")
_LARGEST = 2**63  # what a column of a table holds


def read_result(path: Path) -> Result | None:
    """What a run directory says of its trial; None before there is a result.

    Raises ``RunError`` if the run cannot be read, is that of another trial, or if its result is of
    another form.
    """
    if not os.path.lexists(path / MANIFEST):
        return None
    manifest = RunDirectory.open(path).manifest
    settings = manifest.get("settings")
    trained = settings.get("setting") if isinstance(settings, dict) else None
    for facts in (manifest.get("setting"), trained):
        if facts is not None and not _is_of(facts, path.name):
            raise RunError(
                f"{plain(path)} holds the run of another trial: remove it or put it back"
            )
    if "result" not in manifest:
        return None
    if wrong := _wrong(manifest["result"]):
        raise RunError(f"{plain(path / MANIFEST)}: its result has {wrong}: remove this run")
    result: Result = manifest["result"]
    return result


def _is_of(facts: object, name: str) -> bool:
    """Whether these are the facts of the trial whose run directory has this name."""
    return isinstance(facts, dict) and name.endswith(f"-{digest_of(facts)}")


def _wrong(result: object) -> str:
    """What is wrong with a result, in words; empty where nothing is."""
    if not isinstance(result, dict):
        return f"the type {type(result).__name__}"
    status = result.get("status")
    required = _FORM.keys() - {"reason"} if status in ("solved", "done") else _REQUIRED
    missing = [name for name in _FORM if name in required and name not in result]
    if missing:
        return f"no {missing[0]!r}"
    wrong = [name for name, fits in _FORM.items() if name in result and not fits(result[name])]
    if wrong:
        return f"{wrong[0]!r} = {plain(repr(result[wrong[0]]))[:60]}"
    criterion, scores = result.get("criterion"), result.get("scores")
    judged = criterion and scores is not None and criterion.rsplit(" ", 2)[0] not in scores
    return f"no score for {plain(criterion)!r}" if judged else ""


def _text(value: object) -> bool:
    return isinstance(value, str)


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < _LARGEST)


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _scores(value: object) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


def _curve(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and _count(point[0]) and _number(point[1])
        for point in value
    )


_REQUIRED = {"status", "updates", "loss", "curve"}  # of one that came to no good end
_FORM: dict[str, Check] = {
    "status": lambda value: value in STATUSES,
    "reason": _text,
    "updates": _count,
    "loss": _optional(_number),
    "scores": _scores,
    "solved_at": _optional(_count),
    "solved": lambda value: value is None or isinstance(value, bool),
    "span": _optional(_count),
    "horizon": _optional(_count),
    "trivial_loss": _optional(_number),
    "closing_loss": _optional(_number),
    "criterion": _optional(_text),
    "clipped": _optional(_number),
    "seconds": _number,
    "curve": _curve,
}
