"""The command line in this process, in a folder of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from user_files import leaving_no_trace

from throughtime.cli import main

Ran = Callable[..., SimpleNamespace]


def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    with leaving_no_trace(tmp_path), torch.random.fork_rng():
        yield tmp_path


def running(capfd: pytest.CaptureFixture[str]) -> Ran:
    """``throughtime ARGUMENTS``, after writing ``model.py`` if a text for it is given."""

    def ran(*arguments: str, file: str | None = None) -> SimpleNamespace:
        if file is not None:
            Path("model.py").write_text(file, encoding="utf-8")
        code = main(arguments)
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return ran
