"""A full disk and a read-only one: told with the path and the bytes, and all is as it was."""

import errno
import os
import pickle
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from run_states import assert_whole, names, numbered

from throughtime.errors import RunError, StorageError, ThroughtimeError
from throughtime.runs import RunDirectory

LARGE = {"weight": torch.zeros(200_000)}
LONG = {"step": 2, "note": "x" * 10_000}  # more than what is left of a file's last page


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", os.fspath(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    yield place
    subprocess.run(["umount", "-l", os.fspath(place)], check=True)


def started(folder: Path) -> RunDirectory:
    run = RunDirectory.create(folder)
    with run.lock():
        run.append({"step": 1})
        run.save(numbered(1), 1)
    return run


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


WRITES: dict[str, tuple[Callable[[RunDirectory], object], str]] = {
    "save": (lambda run: run.save(LARGE, 2), "checkpoint-000000000002-"),
    "append": (lambda run: run.append(LONG), "journal.jsonl"),
    "update": (lambda run: run.update(note="x" * 10_000), "manifest.json"),
}


def assert_refused(run: RunDirectory, write: Callable[[RunDirectory], object], file: str) -> None:
    """``write`` raises a ``StorageError`` that names ``file``, and nothing has changed."""
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(StorageError, match=r"not written \([\d,]+ bytes\)") as raised:
        write(run)
    assert file in raised.value.path
    assert str(run.path) in str(raised.value)
    assert raised.value.needed > 10_000
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before


@pytest.mark.parametrize(("write", "file"), WRITES.values(), ids=WRITES)
def test_a_full_disk_changes_nothing_and_what_follows_is_written_again(
    disk: Path, write: Callable[[RunDirectory], object], file: str
) -> None:
    run = started(disk / "run")
    with run.lock():
        filler = fill(disk)
        assert_refused(run, write, file)
        assert_refused(run, write, file)
        filler.unlink()
        run.append(LONG)
        run.save(numbered(2), 2)
    assert run.history() == [{"step": 1}, LONG]
    assert_whole(RunDirectory.open(disk / "run"), {2})


def test_a_full_disk_lets_nobody_begin_and_leaves_nothing_half_made(disk: Path) -> None:
    (disk / "new").mkdir()
    run = started(disk / "run")
    fill(disk)
    for begin in (lambda: RunDirectory.create(disk / "new"), lambda: run.lock().__enter__()):
        with pytest.raises(StorageError, match="No space left on device: not written"):
            begin()
    assert (names(disk / "new"), names(run.path)) == (
        set(),
        {"manifest.json", "journal.jsonl", "step 1"},
    )


@pytest.mark.parametrize(("write", "file"), WRITES.values(), ids=WRITES)
def test_a_file_that_may_not_grow_so_large_changes_nothing(
    tmp_path: Path, write: Callable[[RunDirectory], object], file: str
) -> None:
    run = started(tmp_path / "run")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with run.lock():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
        try:
            assert_refused(run, write, file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("write", "file", "call"),
    [
        (*WRITES[name], call)
        for name in WRITES
        for call in ("open", "write", *(("fsync", "replace") if name != "append" else ()))
    ],
)
def test_a_disk_that_fails_half_way_changes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[RunDirectory], object],
    file: str,
    call: str,
) -> None:
    run = started(tmp_path / "run")
    real = getattr(os, call)

    def failing(*args: object) -> object:
        if call == "open" and not args[1] & os.O_WRONLY:
            return real(*args)
        if call == "write" and len(args[1]) > 5000:
            return real(args[0], args[1][:5000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with run.lock():
        before = {path: path.read_bytes() for path in run.path.iterdir()}
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            with pytest.raises(StorageError, match="No space left on device") as raised:
                write(run)
        assert file in raised.value.path
        assert {path: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_manifest_that_cannot_be_written_takes_its_checkpoint_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(tmp_path / "run")
    real = os.replace

    def failing(source: Path, target: Path) -> None:
        if target.name == "manifest.json":
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real(source, target)

    with run.lock():
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            with pytest.raises(StorageError, match=r"manifest\.json: Disk quota exceeded"):
                run.save(numbered(2), 2)
        assert names(run.path) == {"manifest.json", "journal.jsonl", "lock", "step 1"}
        assert_whole(run, {1})
        run.save(numbered(3), 3)
    assert_whole(run, {3})


def test_a_folder_for_which_there_is_no_room_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(StorageError, match="run: No space left on device: not written"):
        RunDirectory.create(tmp_path / "run")


@pytest.mark.parametrize(("write", "file"), WRITES.values(), ids=WRITES)
def test_a_folder_that_has_gone_is_a_lost_disk(
    tmp_path: Path, write: Callable[[RunDirectory], object], file: str
) -> None:
    run = started(tmp_path / "run")
    with run.lock():
        run.path.rename(tmp_path / "elsewhere")
        with pytest.raises(StorageError, match=f"{file}.*No such file or directory: not written"):
            write(run)
    assert not run.path.exists()


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run that nobody can write to: on a read-only disk, or by its permissions."""
    place = tmp_path / "disk"
    place.mkdir()
    run = started(place / "run")
    if os.geteuid():
        run.path.chmod(0o555)
        yield run
        run.path.chmod(0o755)
        return
    folder = os.fspath(place)
    for options in (["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
        if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            pytest.skip("this system has no read-only disk to offer")
    yield run
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_read_only_run_can_be_read_and_says_that_it_cannot_be_written(
    sealed: RunDirectory,
) -> None:
    assert_whole(RunDirectory.open(sealed.path), {1})
    assert sealed.history() == [{"step": 1}]
    with pytest.raises(RunError, match="run cannot be written: allow it, or name another"):
        RunDirectory.open(sealed.path, for_writing=True)
    with pytest.raises(RunError, match="cannot be"):
        RunDirectory.create(sealed.path / "new")
    with pytest.raises(ThroughtimeError, match=r"lock: .*: not written"):
        sealed.lock().__enter__()


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 3), (errno.EROFS, 3), (errno.EACCES, 2)]
)
def test_the_error_is_one_line_with_an_exit_code_and_can_be_sent(number: int, code: int) -> None:
    error = StorageError(OSError(number, os.strerror(number)), "a\x1b[31m\nb", 1234)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  — as a worker process sends it
    assert str(again) == str(error)
    assert str(error) == (
        f"a [31m b: {os.strerror(number)}: not written (1,234 bytes), nothing was changed"
    )
    assert (again.exit_code, again.needed, again.errno) == (code, 1234, number)
