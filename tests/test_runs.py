"""Run directories: made, opened, listed and refused."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_states import OWN_FILES, assert_same, names, numbered

from throughtime.errors import InputError, RunError
from throughtime.runs import RunDirectory
from throughtime.runs.sealed import seal

CHECKPOINT = f"checkpoint-{1:012d}-{0:016x}.safetensors"
RUN = "0" * 32
FACTS = {"task": "adding", "lr": 1e-3, "loss": math.inf, "seed": 2**64, "grid": [1, {"a": None}]}


def test_what_is_trained_and_how_comes_back(tmp_path: Path) -> None:
    made = RunDirectory.create(tmp_path / "run", FACTS)
    found = RunDirectory.open(str(tmp_path / "run"))
    assert_same(found.manifest, {"status": "created", **FACTS})
    assert_same(made.manifest, found.manifest)
    found.manifest["grid"].append("changed")
    assert_same(found.manifest, made.manifest)


def test_facts_are_set_and_the_others_stay(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", FACTS)
    with run.lock():
        run.save(numbered(1), 1)
        run.update(status="done", steps=7)
    found = RunDirectory.open(run.path)
    assert found.manifest == {**FACTS, "status": "done", "steps": 7}
    assert [one.step for one in found.checkpoints] == [1]


def test_a_run_without_a_checkpoint_has_nothing_to_load(tmp_path: Path) -> None:
    assert RunDirectory.create(tmp_path / "run").load() is None


def test_the_last_two_checkpoints_are_kept_and_the_last_is_loaded(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    with run.lock():
        for step in (0, 5, 10):
            run.save(numbered(step), step)
    assert names(run.path) == {"manifest.json", "step 5", "step 10"}
    for asked, step in ((None, 10), (10, 10), (5, 5)):
        assert_same(RunDirectory.open(run.path).load(asked), (step, numbered(step)))
    with pytest.raises(RunError, match=r"no checkpoint of step 0; the manifest names steps: 5, 10"):
        run.load(0)


@pytest.mark.parametrize(
    ("steps", "kept"), [([1, 2, 3, 2], [2]), ([1, 2, 2], [1, 2]), ([5, 6, 3], [3])]
)
def test_a_checkpoint_supersedes_those_of_its_step_and_after(
    tmp_path: Path, steps: list[int], kept: list[int]
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    with run.lock():
        for number, step in enumerate(steps):
            run.save({"number": number}, step)
    found = RunDirectory.open(run.path)
    assert [one.step for one in found.checkpoints] == kept
    assert found.load() == (steps[-1], {"number": len(steps) - 1})


@pytest.mark.parametrize("step", [-1, 1.0, True, None, "1"])
def test_a_step_is_a_whole_number(tmp_path: Path, step: Any) -> None:
    run = RunDirectory.create(tmp_path / "run")
    with run.lock(), pytest.raises(RunError, match=f"step is {step!r}, and must be"):
        run.save({}, step)


NAMES = [
    "with spaces ",
    "line\nfeed",
    "-rf",
    "--help",
    "한글",
    "\x1b[31mred",
    "*?[a]",
    ".hidden",
    b"not utf-8 \xff\xfe",
    "n" * 255,
    "a/b/c/../d",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_odd_names_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path: Any = os.fsdecode(name)
    run = RunDirectory.create(path)
    monkeypatch.chdir("/")  # a training may do that
    with run.lock():
        run.append({"step": 1})
        run.save(numbered(1), 1)
    monkeypatch.chdir(tmp_path)
    assert RunDirectory.is_at(path)
    assert names(Path(path)) == {*OWN_FILES, "step 1"}
    with pytest.raises(RunError, match="already holds a run") as raised:
        RunDirectory.create(path)
    assert str(raised.value).replace("\udcff", "").replace("\udcfe", "").isprintable()


def missing(_: Path) -> None:
    pass


def plain_file(path: Path) -> None:
    path.write_text("mine")


def link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def other_folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def with_manifest(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "manifest.json").write_bytes(content)

    return make


def special_manifest(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def made(path: Path) -> None:
        path.mkdir()
        make(path / "manifest.json")

    return made


def manifest(**entries: Any) -> Callable[[Path], None]:
    """A manifest whose seal is right."""
    return with_manifest(seal({"schema": 2, "run": RUN, **entries}, "the manifest").encode())


def entry(**change: Any) -> Callable[[Path], None]:
    whole = {"file": CHECKPOINT, "step": 1, "size": 1, "sha256": "0" * 64, "journal": "0" * 16}
    return manifest(checkpoints=[{**whole, **change}])


NO_RUN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (missing, "there is no run directory"),
    "a file": (plain_file, "run is not a directory: name another"),
    "a pipe": (os.mkfifo, "run is not a directory: name another"),
    "a link to nowhere": (link_to_nowhere, "run is not a directory: name another"),
    "an empty folder": (os.mkdir, "is not a run directory: it has no manifest.json"),
    "another folder": (other_folder, "is not a run directory: it has no manifest.json"),
    "empty": (with_manifest(b""), "is not a manifest"),
    "half": (with_manifest(b'{"schema": 1, "che'), "is not a manifest"),
    "no object": (with_manifest(b"[]"), "is not a manifest: not a JSON object"),
    "deep": (with_manifest(b"[" * 100_000), "is not a manifest: nested too deep"),
    "binary": (with_manifest(b"\x80\x04\x95"), "is not a manifest"),
    "no schema": (with_manifest(b"{}"), "is not a manifest: its schema is None"),
    "no number": (with_manifest(b'{"schema": "1"}'), "is not a manifest: its schema is '1'"),
    "newer": (
        with_manifest(b'{"schema": 3}'),
        "has schema 3, .* reads up to 2: use a newer version",
    ),
    "older": (
        with_manifest(b'{"schema": 1, "checkpoints": []}'),
        "has schema 1, of an older version .* cannot be checked: train again",
    ),
    "no seal": (with_manifest(b'{"schema": 2}'), "does not end with its sha256"),
    "no run": (manifest(run=None, checkpoints=[]), "does not say which run it is of"),
    "no list": (manifest(), "its list of checkpoints is broken"),
    "a text for a list": (manifest(checkpoints=""), "its list of checkpoints is broken"),
    "an object for a list": (manifest(checkpoints={}), "its list of checkpoints is broken"),
    "a path": (entry(file="../../model.pt"), "list of checkpoints is broken"),
    "absolute": (entry(file="/etc/passwd"), "list of checkpoints is broken"),
    "a line feed": (entry(file=f"{CHECKPOINT}\n"), "list of checkpoints is broken"),
    "text": (entry(step="1"), "list of checkpoints is broken"),
    "another step": (entry(step=2), "list of checkpoints is broken"),
    "another digest": (entry(sha256="1" * 64), "list of checkpoints is broken"),
    "unknown": (entry(code="rm"), "list of checkpoints is broken"),
    "pipe": (special_manifest(os.mkfifo), "manifest.json is a named pipe"),
    "folder": (special_manifest(os.mkdir), "manifest.json is a directory"),
    "link": (special_manifest(link_to_nowhere), "manifest.json is a symbolic link"),
}


@pytest.mark.parametrize(("make", "reason"), NO_RUN.values(), ids=NO_RUN)
@pytest.mark.parametrize("for_writing", [False, True])
def test_what_is_no_run_is_refused_in_one_line_and_left_alone(
    tmp_path: Path, make: Callable[[Path], object], reason: str, for_writing: bool
) -> None:
    make(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=reason) as raised:
        RunDirectory.open(tmp_path / "run", for_writing=for_writing)
    assert str(raised.value).isprintable()
    assert sorted(tmp_path.rglob("*")) == before


NO_PLACE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file": (plain_file, "run is not a directory: name another"),
    "a pipe": (os.mkfifo, "run is not a directory: name another"),
    "a link to nowhere": (link_to_nowhere, "run is not a directory: name another"),
    "another folder": (other_folder, "run holds other files: name a new directory"),
    "a newer run": (with_manifest(b'{"schema": 3}'), "already holds a run"),
}


@pytest.mark.parametrize(("make", "reason"), NO_PLACE.values(), ids=NO_PLACE)
def test_no_run_is_made_where_something_is(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=reason):
        RunDirectory.create(tmp_path / "run")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("path", ["file/run", "n" * 256, "nul\0"])
@pytest.mark.parametrize("use", [RunDirectory.create, RunDirectory.open])
def test_what_can_be_no_path_is_refused(
    tmp_path: Path, use: Callable[[Path], object], path: str
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match=r"(cannot be a run directory|no run directory)") as raised:
        use(tmp_path / path)
    assert str(raised.value).isprintable()
    assert not RunDirectory.is_at(tmp_path / path)


def test_a_link_to_a_directory_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    with RunDirectory.create(tmp_path / "run").lock() as run:
        run.save(numbered(1), 1)
    assert names(tmp_path / "disk") == {"manifest.json", "step 1"}


@pytest.mark.parametrize("name", ["schema", "checkpoints", "run", "sha256"])
def test_what_the_manifest_keeps_itself_is_not_overwritten(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match=f"keeps {name} itself"):
        RunDirectory.create(tmp_path / "made", {name: 1})
    run = RunDirectory.create(tmp_path / "run")
    with run.lock(), pytest.raises(RunError, match=f"keeps {name} itself"):
        run.update(**{name: 1})


def test_a_fact_that_json_cannot_hold_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", FACTS)
    with run.lock(), pytest.raises(RunError, match=r"the manifest\['model'\] is of type Linear"):
        run.update(status="done", model=torch.nn.Linear(1, 1))
    assert RunDirectory.open(run.path).manifest == run.manifest == {"status": "created", **FACTS}


def test_a_manifest_that_became_a_link_is_not_replaced(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    with run.lock():
        (run.path / "manifest.json").rename(tmp_path / "kept")
        (run.path / "manifest.json").symlink_to(tmp_path / "kept")
        before = (tmp_path / "kept").read_bytes()
        with pytest.raises(InputError, match="is a symbolic link"):
            run.update(status="done")
        (run.path / "manifest.json").unlink()
    assert (tmp_path / "kept").read_bytes() == before


def test_a_reader_sees_what_a_writer_saved_meanwhile(tmp_path: Path) -> None:
    writer = RunDirectory.create(tmp_path / "run")
    reader = RunDirectory.open(writer.path)
    with writer.lock():
        for step in range(4):
            writer.save(numbered(step), step)
            assert_same(reader.load(), (step, numbered(step)))
