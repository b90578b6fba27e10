"""Damaged and malicious checkpoints: refused by name, and nothing in them is ever executed."""

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from run_states import assert_same, numbered, resealed
from torch import nn

from throughtime.errors import RunError
from throughtime.runs import Checkpoint, RunDirectory, load_state
from throughtime.runs.checkpoint import encode


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Of two checkpoints, at steps 1 and 2."""
    made = RunDirectory.create(tmp_path / "run")
    with made.lock():
        for step in (1, 2):
            made.save(numbered(step), step)
    return made


def last(run: RunDirectory) -> Path:
    return run.path / run.checkpoints[-1].file


def vouch_for(run: RunDirectory, content: bytes) -> None:
    """Put ``content`` in the place of the last checkpoint; the manifest says that it is right."""
    first, entry = run.checkpoints
    vouched = Checkpoint.of(content, entry.step, entry.journal)
    last(run).unlink()
    (run.path / vouched.file).write_bytes(content)
    resealed(run.path, checkpoints=[asdict(first), asdict(vouched)])


class Malicious:
    """Unpickled, it leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.fspath(self.marker),)


def pickled(path: Path) -> bytes:
    return pickle.dumps(Malicious(path.with_name("marker")))


def torch_file(path: Path) -> bytes:
    spare = path.with_name("spare.pt")
    torch.save({"model": Malicious(path.with_name("marker"))}, spare)
    content = spare.read_bytes()
    spare.unlink()
    return content


def flipped(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    return bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "one flipped bit": (flipped, "is not what was saved: its sha256 is not that of the manifest"),
    "empty": (lambda _: b"", r"is not a complete checkpoint \(0 bytes, and [\d,]+ were saved\)"),
    "truncated": (lambda path: path.read_bytes()[:-1], "is not a complete checkpoint"),
    "longer": (lambda path: path.read_bytes() + b"\0", "is not a complete checkpoint"),
    "text": (lambda _: b"not a checkpoint\n", r"is not a complete checkpoint \(17 bytes"),
    "a pickle": (pickled, "is not a complete checkpoint"),
    "a .pt file": (torch_file, "is not a complete checkpoint"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_can_be_had(
    run: RunDirectory, damage: Callable[[Path], bytes], reason: str
) -> None:
    last(run).write_bytes(damage(last(run)))
    with pytest.raises(RunError, match=rf"{reason}.*: remove it to go on from step 1$") as raised:
        run.load()
    assert last(run).name in str(raised.value)
    assert_same(run.load(1), (1, numbered(1)))
    last(run).unlink()
    assert_same(RunDirectory.open(run.path).load(), (1, numbered(1)))
    assert not (run.path / "marker").exists()


def test_of_an_only_checkpoint_that_is_damaged_it_is_said_that_nothing_is_left(
    run: RunDirectory,
) -> None:
    for entry in run.checkpoints:
        (run.path / entry.file).write_bytes(b"")
    with pytest.raises(RunError, match=r"complete checkpoint .*: the run cannot be resumed"):
        run.load(1)


def test_checkpoints_that_are_gone_are_missed(run: RunDirectory) -> None:
    for entry in run.checkpoints:
        (run.path / entry.file).unlink()
    with pytest.raises(RunError, match="its checkpoints are gone; the manifest names steps: 1, 2"):
        run.load()


SPECIAL: dict[str, Callable[[Path], object]] = {
    "is a named pipe": os.mkfifo,
    "is a directory": os.mkdir,
    "is a symbolic link": lambda path: path.symlink_to("manifest.json"),
}


@pytest.mark.parametrize(("reason", "make"), SPECIAL.items(), ids=SPECIAL)
def test_what_is_no_plain_file_is_no_checkpoint(
    run: RunDirectory, reason: str, make: Callable[[Path], object]
) -> None:
    last(run).unlink()
    make(last(run))
    with pytest.raises(RunError, match=f"cannot be read: .*{reason}"):
        run.load()


def tensors_without_a_skeleton(_: Path) -> bytes:
    return safetensors.torch.save({"a": torch.ones(2)})


def with_skeleton(skeleton: str) -> Callable[[Path], bytes]:
    told = f'{{"run": "", "step": 2, "state": {skeleton}}}'
    content = safetensors.torch.save({"a": torch.ones(2, 3)}, {"throughtime": told})
    return lambda _: content


VOUCHED: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "seven bytes": lambda _: b"\0" * 7,
    "text": lambda _: b"a text of more than eight letters\n",
    "a pickle": pickled,
    "a .pt file": torch_file,
    "a header of 2**63 bytes": lambda _: struct.pack("<Q", 2**63) + b"{}",
    "half": lambda path: path.read_bytes()[:-9],
    "no skeleton": tensors_without_a_skeleton,
    "no JSON": with_skeleton("{"),
    "no such tensor": with_skeleton('{"tensor": "b"}'),
    "a list for a name": with_skeleton('{"tensor": ["a"]}'),
    "no pairs": with_skeleton('{"complex": "a"}'),
    "an unknown tag": with_skeleton('{"os.system": "rm"}'),
    "two tags": with_skeleton('{"tuple": [], "dict": []}'),
    "no pairs in a dictionary": with_skeleton('{"dict": [1]}'),
    "a key that cannot be one": with_skeleton('{"dict": [[[], 1]]}'),
    "no hexadecimal": with_skeleton('{"bytes": "zz"}'),
    "no number": with_skeleton('{"float": "1.5"}'),
    "nothing in a tuple": with_skeleton('{"tuple": null}'),
    "deep": with_skeleton("[" * 100_000),
    "a deep tuple": with_skeleton('{"tuple": [' * 900 + "]}" * 900),
}


@pytest.mark.parametrize("made", VOUCHED.values(), ids=VOUCHED)
def test_what_is_no_checkpoint_is_refused_though_its_digest_is_right(
    run: RunDirectory, made: Callable[[Path], bytes]
) -> None:
    vouch_for(run, made(last(run)))
    with pytest.raises(RunError, match=r"is not a checkpoint: .*: remove it to go on") as raised:
        run.load()
    assert str(raised.value).isprintable()
    assert not (run.path / "marker").exists()


@pytest.mark.parametrize(("run_id", "step"), [("0" * 32, 2), (None, 3), (1, 2)])
def test_a_checkpoint_says_whose_it_is(run: RunDirectory, run_id: Any, step: int) -> None:
    own = json.loads((run.path / "manifest.json").read_text())["run"]
    vouch_for(run, encode(numbered(9), own if run_id is None else run_id, step))
    with pytest.raises(RunError, match="is the checkpoint of another run or another step: remove"):
        run.load()


def test_the_malicious_files_of_these_tests_are_malicious(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):  # mkdir returns nothing, and that is no module
        pickle.loads(pickled(tmp_path / "x")).state_dict()  # noqa: S301  — that is the point
    assert (tmp_path / "marker").is_dir()


# Into a module: all, or nothing.


@pytest.fixture
def module() -> Iterator[nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield nn.Sequential(nn.LSTM(2, 3), nn.BatchNorm1d(3))


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "missing": (lambda state: state.pop("0.bias_hh_l0"), r"missing: 0\.bias_hh_l0;"),
    "unexpected": (lambda state: state.update(x=torch.ones(1)), "unexpected: x;"),
    "shape": (
        lambda state: state.update({"0.bias_ih_l0": torch.ones(16)}),
        r"mismatched: 0\.bias_ih_l0 \(float32 \(16,\) for float32 \(12,\)\);",
    ),
    "one number for many": (
        lambda state: state.update({"1.num_batches_tracked": torch.ones(1).long()}),
        r"mismatched: 1\.num_batches_tracked \(int64 \(1,\) for int64 \(\)\)",
    ),
    "dtype": (
        lambda state: state.update({"1.weight": torch.ones(3).double()}),
        r"mismatched: 1\.weight \(float64 \(3,\) for float32 \(3,\)\);",
    ),
    "no tensor": (
        lambda state: state.update({"1.weight": [1, 2, 3]}),
        r"mismatched: 1\.weight \(list for float32 \(3,\)\)",
    ),
    "all at once": (
        lambda state: state.update({"0.bias_ih_l0": 1, "x": state.pop("1.bias")}),
        r"missing: 1\.bias; unexpected: x; mismatched: 0\.bias_ih_l0",
    ),
    "very many": (
        lambda state: state.update({f"x{n}": 1 for n in range(100)}),
        "x7 and 92 more; make the module as it was",
    ),
    "escapes": (lambda state: state.update({"\x1b[31m\n": 1}), r"unexpected:  .31m ;"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_state_of_another_module_is_refused_whole(
    module: nn.Module, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state: dict[str, Any] = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(RunError, match=f"not of this Sequential: .*{reason}"):
        load_state(module, state)
    assert_same(dict(module.state_dict()), before)


def test_a_state_comes_into_its_module_through_a_file(run: RunDirectory, module: nn.Module) -> None:
    state = {name: value + 1 for name, value in module.state_dict().items()}
    with run.lock():
        run.save({"model": state}, 3)
    found = RunDirectory.open(run.path).load()
    assert found is not None
    load_state(module, found[1]["model"])
    assert_same(dict(module.state_dict()), state)


def test_a_lazy_module_takes_its_shape_from_the_state() -> None:
    lazy = nn.LazyLinear(3)
    load_state(lazy, {"weight": torch.ones(3, 2), "bias": torch.zeros(3)})
    assert lazy(torch.ones(1, 2)).tolist() == [[2.0, 2.0, 2.0]]
