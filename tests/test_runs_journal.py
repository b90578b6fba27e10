"""The journal: every line comes back, half a last line is skipped, and a broken one is told."""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_states import assert_same

from throughtime.errors import InputError, RunError
from throughtime.runs import RunDirectory
from throughtime.runs.plain_json import from_json, to_json


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    made = RunDirectory.create(tmp_path / "run")
    with made.lock():
        yield made


def journal(run: RunDirectory) -> Path:
    return run.path / "journal.jsonl"


def written(run: RunDirectory, *steps: int) -> bytes:
    """The journal after a record of each of these steps."""
    with run.lock():
        for step in steps:
            run.append({"step": step})
    return journal(run).read_bytes()


VALUES = st.recursive(
    st.one_of(st.text(), st.integers(), st.integers(min_value=2**60), st.floats(), st.booleans()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), VALUES))
def test_any_record_comes_back_from_strict_json_of_one_line(record: dict[str, Any]) -> None:
    line = to_json(record, "the record")
    assert line.isascii()
    assert "\n" not in line
    assert_same(from_json(line), record)
    json.loads(line, parse_constant=pytest.fail)  # no NaN, no Infinity: any reader takes it


def test_records_are_there_for_other_readers_at_once(run: RunDirectory) -> None:
    run.append({"step": 1, "loss": math.nan, "parts": (1, 2**60)})
    start, _, end = journal(run).read_text().rpartition(', "digest": "')
    assert start == (
        '{"step": 1, "loss": {"float": "nan"}, "parts": [1, {"int": "0x1000000000000000"}]'
    )
    assert len(end) == len('0123456789abcdef"}\n')
    run.append({"step": 2, "note": "line\u2028break\n", "loss": -math.inf})
    assert RunDirectory.open(run.path).history()[1] == {
        "step": 2,
        "note": "line\u2028break\n",
        "loss": -math.inf,
    }


def test_a_run_without_a_journal_has_no_history(run: RunDirectory) -> None:
    assert run.history() == []


GOING_BACK: dict[str, tuple[list[Any], list[Any]]] = {
    "forward": ([1, 2, 3], [0, 1, 2]),
    "the same step": ([1, 2, 2, 3], [0, 2, 3]),
    "resumed": ([1, 2, 3, 4, 3, 4], [0, 1, 4, 5]),
    "resumed and stopped earlier": ([1, 2, 3, 4, 2], [0, 4]),
    "from the start": ([1, 2, 3, 0], [3]),
    "notes without a step": ([1, None, 2, None, 3, 2], [0, 1, 3, 5]),
    "a step that is no number": ([1, "2", True, 1.5, 1], [1, 2, 3, 4]),
}


@pytest.mark.parametrize(("steps", "kept"), GOING_BACK.values(), ids=GOING_BACK)
def test_a_later_record_supersedes_those_of_its_step_and_after(
    run: RunDirectory, steps: list[Any], kept: list[int]
) -> None:
    for number, step in enumerate(steps):
        run.append({"number": number} | ({} if step is None else {"step": step}))
    assert [record["number"] for record in run.history()] == kept


TAILS = {
    "half": b'{"step": 3, "lo',
    "one byte": b"{",
    "half a letter": '{"step": "한'.encode()[:-1],
    "zeros of a power cut": b"\0" * 4096,
    "half, and a line feed": b'{"step": 3, "lo\n',
    "no object": b"[3]\n",
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_half_a_last_line_is_skipped_and_removed_by_the_next_writer(
    tmp_path: Path, tail: bytes
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    whole = written(run, 1, 2)
    journal(run).write_bytes(whole + tail)
    assert [record["step"] for record in run.history()] == [1, 2]
    assert journal(run).read_bytes() == whole + tail
    assert written(run, 3).startswith(whole + b'{"step": 3, "digest"')
    assert [record["step"] for record in run.history()] == [1, 2, 3]


def test_a_last_line_that_lacks_its_line_feed_alone_is_kept(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    whole = written(run, 1, 2)
    journal(run).write_bytes(whole[:-1])
    assert written(run, 3).startswith(whole + b'{"step": 3, "digest"')
    assert [record["step"] for record in run.history()] == [1, 2, 3]


BROKEN = {
    "half": b'{"step": 1',
    "empty": b"",
    "two in one": b'{"step": 1}{"step": 2}',
    "no object": b'"step"',
    "NaN": b'{"loss": NaN}',
    "not UTF-8": b'{"step": "\xff"}',
    "deep": b"[" * 100_000,
    "escapes": b"\x1b[31m",
    "no number": b'{"loss": {"float": "7ff0"}}',
    "no nan": b'{"loss": {"float": "3ff0000000000000"}}',
    "no text": b'{"loss": {"int": 7}}',
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_in_the_middle_is_told_by_its_number(tmp_path: Path, line: bytes) -> None:
    run = RunDirectory.create(tmp_path / "run")
    whole = written(run, 1, 2)
    journal(run).write_bytes(whole + line + b"\n" + whole)
    with pytest.raises(RunError, match=r"journal\.jsonl, line 3: not a record") as raised:
        run.history()
    assert str(raised.value).isprintable()


def flipped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"step": 2', b'"step": 3'), lines[2]]


def without_digest(lines: list[bytes]) -> list[bytes]:
    return [*lines, b'{"step": 4}\n']


CHANGED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a changed number": (flipped, "line 2: its digest is not"),
    "a line taken out": (lambda lines: [lines[0], lines[2]], "line 2: its digest is not"),
    "the first line taken out": (lambda lines: lines[1:], "line 1: its digest is not"),
    "two lines exchanged": (lambda lines: [lines[1], lines[0], lines[2]], "line 1: its digest"),
    "a line twice": (lambda lines: [*lines, lines[2]], "line 4: its digest is not"),
    "a line without a digest": (without_digest, "line 4: not a record"),
    "lines lost at the end": (lambda lines: lines[:2], "ends at line 2, and a checkpoint was"),
    "all lines lost": (lambda _: [], "ends at line 0, and a checkpoint was saved after"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGED.values(), ids=CHANGED)
def test_a_changed_journal_is_refused_before_anything_is_changed(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], reason: str
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    written(run, 1, 2, 3)
    with run.lock():
        run.save({"step": 3}, 3)
    journal(run).write_bytes(b"".join(change(journal(run).read_bytes().splitlines(True))))
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(RunError, match=rf"journal\.jsonl.* {reason}"), run.lock():
        pass
    with pytest.raises(RunError, match=reason):
        run.load()
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before


def test_the_journal_of_another_run_is_refused(tmp_path: Path) -> None:
    one, other = (RunDirectory.create(tmp_path / name) for name in ("one", "other"))
    written(one, 1, 2)
    journal(other).write_bytes(journal(one).read_bytes())
    with pytest.raises(RunError, match=r"journal\.jsonl, line 1: its digest is not that of this"):
        other.history()


def test_a_record_has_no_digest_of_its_own(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="the journal keeps 'digest' itself"):
        run.append({"digest": 1})
    run.append({"of": {"digest": 1}})
    run.append({})
    assert run.history() == [{"of": {"digest": 1}}, {}]


REFUSED: dict[str, tuple[Any, str]] = {
    "object": ({"a": [object()]}, r"the record\['a'\]\[0\] is of type object"),
    "set": ({"a": {1}}, "is of type set"),
    "bytes": ({"a": b"x"}, "is of type bytes"),
    "key": ({"a": {1: 2}}, r"the record\['a'\] has the key 1"),
    "as a number is written": ({"a": {"float": "nan"}}, "which is how a number is written"),
}


@pytest.mark.parametrize(("record", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_json_cannot_hold_is_refused_with_its_place(
    run: RunDirectory, record: Any, reason: str
) -> None:
    with pytest.raises(RunError, match=reason):
        run.append(record)
    assert not journal(run).exists()


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to(os.devnull)],
    ids=["pipe", "dir", "link"],
)
@pytest.mark.parametrize(
    "use",
    [RunDirectory.history, lambda run: run.append({}), lambda run: run.lock().__enter__()],
    ids=["history", "append", "lock"],
)
def test_what_is_no_plain_file_is_neither_read_nor_written(
    tmp_path: Path, make: Callable[[Path], object], use: Callable[[RunDirectory], object]
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run._writing = True  # as if it became so while the lock is held
    make(journal(run))
    with pytest.raises(InputError, match=r"journal\.jsonl is a "):
        use(run)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_all_files_have_the_mode_that_the_umask_leaves(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        run = RunDirectory.create(tmp_path / "run")
        with run.lock():
            run.append({"step": 1})
            run.save({"a": 1}, 1)
            modes = {path.name: path.stat().st_mode & 0o777 for path in run.path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {mode}
    assert len(modes) == 4
