"""docs/run-directory.md keeps its word: a reader made from that page alone finds everything."""

import hashlib
import json
import re
import struct
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from run_states import assert_same, numbered

from throughtime.errors import RunError
from throughtime.runs import RunDirectory
from throughtime.runs.checkpoint import decode

PAGE = (Path(__file__).parent.parent / "docs" / "run-directory.md").read_text(encoding="utf-8")
STATE = {
    **numbered(3),
    "complex": torch.tensor([1 + 2j], dtype=torch.complex128),
    "bytes": b"\x00\xff",
    "nan": float("nan"),
    "of its bits": struct.unpack(">d", bytes.fromhex("fff8000000000abc"))[0],
    "large": -(2**53),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with RunDirectory.create(tmp_path / "run", {"cell": "lstm"}).lock() as run:
        run.append({"step": 3, "loss": float("inf")})
        run.save(STATE, 3)
    return run.path


def number(tag: str, text: str) -> float:
    if tag == "int":
        return int(text, 16)
    if text in ("nan", "inf", "-inf"):
        return float(text)
    return float(struct.unpack(">d", bytes.fromhex(text))[0])


def read(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A skeleton, by the table of the page."""
    if isinstance(value, list):
        return [read(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, held),) = value.items()
    if tag == "tensor":
        return tensors[held]
    if tag == "complex":
        return torch.view_as_complex(tensors[held])
    if tag == "bytes":
        return bytes.fromhex(held)
    if tag in ("int", "float"):
        return number(tag, held)
    items = read(held, tensors)
    makers: dict[str, Any] = {"dict": dict, "ordered": OrderedDict, "tuple": tuple}
    return Counter(dict(items)) if tag == "counter" else makers[tag](items)


def test_a_checkpoint_is_what_the_page_says(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="ascii"))
    (entry,) = manifest["checkpoints"]
    content = (folder / entry["file"]).read_bytes()
    assert entry == {
        "file": f"checkpoint-000000000003-{entry['sha256'][:16]}.safetensors",
        "step": 3,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "journal": json.loads((folder / "journal.jsonl").read_bytes())["digest"],
    }
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    told = json.loads(header["__metadata__"]["throughtime"])
    assert (told["run"], told["step"]) == (manifest["run"], 3)
    assert_same(read(told["state"], safetensors.torch.load(content)), STATE)


def test_manifest_and_journal_are_what_the_page_says(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="ascii"))
    assert {name: manifest[name] for name in ("schema", "status", "cell")} == {
        "schema": 2,
        "status": "created",
        "cell": "lstm",
    }
    (line,) = (folder / "journal.jsonl").read_text(encoding="ascii").splitlines()
    record = json.loads(line)
    del record["digest"]
    assert record == {"step": 3, "loss": {"float": "inf"}}


def test_the_seal_of_a_manifest_is_what_the_page_says(folder: Path) -> None:
    content = (folder / "manifest.json").read_bytes()
    before, _, end = content.rpartition(b',\n  "sha256": "')
    assert end == hashlib.sha256(before).hexdigest().encode() + b'"\n}\n'


def test_the_digests_of_a_journal_are_what_the_page_says(folder: Path) -> None:
    with RunDirectory.open(folder).lock() as run:
        run.append({})
        run.append({"step": 4})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="ascii"))
    digest = hashlib.sha256(manifest["run"].encode()).hexdigest()[:16]
    for line in (folder / "journal.jsonl").read_bytes().splitlines():
        start, told = re.fullmatch(rb'(.*?)(?:, )?"digest": "(.{16})"}', line).groups()  # type: ignore[union-attr]  # it matches
        digest = hashlib.sha256(digest.encode() + start + b"}").hexdigest()[:16]
        assert digest == told.decode()


def test_the_code_of_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {}
    exec(compile(code, "docs/run-directory.md", "exec"), found)  # noqa: S102  — our own page
    assert found["step"] == 3
    assert_same(found["state"], STATE)


# A file of schema 2 as it was written once: what reads another one breaks everybody's runs.
GOLDEN = """
38010000000000007b225f5f6d657461646174615f5f223a7b227468726f75676874696d65223a227b5c2272756e5c22
3a205c2230313233343536373839616263646566303132333435363738396162636465665c222c205c22737465705c22
3a20372c205c2273746174655c223a207b5c22646963745c223a205b5b5c226d6f64656c5c222c207b5c22646963745c
223a205b5b5c22775c222c207b5c2274656e736f725c223a205c226d6f64656c2f775c227d5d5d7d5d2c205b5c226174
5c222c207b5c227475706c655c223a205b372c206e756c6c5d7d5d2c205b5c22626573745c222c207b5c22666c6f6174
5c223a205c22696e665c227d5d5d7d7d227d2c226d6f64656c2f77223a7b226474797065223a22463332222c22736861
7065223a5b325d2c22646174615f6f666673657473223a5b302c385d7d7d20200000c03f000000c0
"""


def test_a_checkpoint_of_schema_2_stays_readable() -> None:
    state = {"model": {"w": torch.tensor([1.5, -2.0])}, "at": (7, None), "best": float("inf")}
    assert_same(tuple(decode(bytes.fromhex(GOLDEN))), ("0123456789abcdef" * 2, 7, state))


def test_a_run_of_schema_1_is_refused_by_its_number(folder: Path) -> None:
    old = {"schema": 1, "status": "done", "checkpoints": []}
    (folder / "manifest.json").write_text(json.dumps(old))
    with pytest.raises(RunError, match=r"manifest\.json has schema 1, of an older version"):
        RunDirectory.open(folder)
