"""The fuzz of directories: a small part of it here, and it sees the faults that it looks for."""

from collections.abc import Callable

import pytest

from benchmarks.faults import mutations
from throughtime.errors import InputError


def test_a_few_mutations_are_refused_or_the_same() -> None:
    tally = mutations.run(seed=5, mutations=30)
    assert (tally.faults, sum(one.total() for one in tally.counts.values())) == ([], 30)


def leak() -> None:
    raise KeyError("settings")


def refuse() -> None:
    raise InputError("one line")


def escape() -> None:
    raise InputError("\x1b[31m")


def other() -> None:
    raise mutations._WrongError("other losses")


def hang() -> None:
    while True:
        pass


FATES: dict[str, Callable[[], None]] = {
    "same": lambda: None,
    "refused": refuse,
    "leaked": leak,
    "wrong": other,
    "hung": hang,
}


@pytest.mark.parametrize(("fate", "answer"), FATES.items(), ids=FATES)
def test_every_fate_is_seen(
    fate: str, answer: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutations, "PATIENCE", 1)
    assert mutations.judged(answer)[0] == fate
    assert mutations.judged(escape)[0] == "leaked"


def test_a_reader_without_a_seal_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the digests the same mutations give other numbers, or errors of another kind."""
    from throughtime.runs import journal, manifest
    from throughtime.runs.plain_json import from_json

    def unsealed(content: bytes) -> dict[str, object]:
        found = from_json(content)
        found.pop("sha256", None)
        return found

    monkeypatch.setattr(manifest, "unseal", unsealed)
    monkeypatch.setattr(journal, "_running", lambda _before, _body: "0" * 16)
    monkeypatch.setattr(mutations, "SHARES", {"run": 1.0})
    tally = mutations.run(seed=0, mutations=120)
    assert tally.faults
