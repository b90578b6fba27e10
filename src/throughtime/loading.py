"""What the command line names becomes objects: ``FILE.py:FUNCTION``, called, and its errors told.

Naming a file is consent to run it. Nothing else is ever imported or executed.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from throughtime.errors import LoadError, ThroughtimeError, plain
from throughtime.problem import Problem

_MODULE = "_throughtime_user_file"


@dataclass(frozen=True)
class Loaded:
    """What a user's function returned: a model and a closure that gives the loss."""

    model: nn.Module
    closure: Callable[[], Tensor]
    span: int | None
    source: str


def load(spec: str) -> Loaded:
    """Run ``FILE.py:FUNCTION``, which returns ``(model, closure)`` or a ``Problem``.

    Raises:
        LoadError: no such file or function, an error while it ran (with file and line), or
            something else returned.
    """
    path, name = _split(spec)
    with users_code(path):
        module = _module(path)
    function = getattr(module, name, None)
    if not callable(function):
        offered = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        known = [n for n in offered if getattr(getattr(module, n), "__module__", "") == _MODULE]
        listed = f": it has {', '.join(known)}" if known else ""
        raise LoadError(f"{path} has no function {name!r}{listed}")
    with users_code(path):
        made = function()
    return _checked(made, path, spec)


def _split(spec: str) -> tuple[Path, str]:
    file, separator, name = spec.rpartition(":")
    if not separator or not file or not name:
        raise LoadError(f"{plain(spec)!r} names no function: write FILE.py:FUNCTION")
    path = Path(file)
    if path.is_dir():
        raise LoadError(f"{plain(file)} is a directory: name a Python file in it")
    if not path.is_file():
        raise LoadError(f"there is no file {plain(file)}")
    if path.suffix != ".py":
        raise LoadError(f"{plain(file)} is not a Python file: its name must end in .py")
    return path, name


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_MODULE, path.resolve())
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    # As `python FILE.py` does: what lies beside the file can be imported, and classes be pickled.
    sys.modules[_MODULE] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec.loader.exec_module(module)
    return module


def _checked(made: Any, path: Path, spec: str) -> Loaded:
    if isinstance(made, Problem):

        def problem_closure() -> Tensor:
            with users_code(path):
                return made.closure()

        return Loaded(made.model, problem_closure, made.span, spec)
    pair = made if isinstance(made, tuple) and len(made) == 2 else None
    if pair is None or not isinstance(pair[0], nn.Module) or not callable(pair[1]):
        raise LoadError(
            f"{plain(spec)} must return (model, closure), a torch module and a function that "
            f"returns the loss, or a throughtime.Problem; it returned {_described(made)}"
        )
    model, closure = pair

    def guarded() -> Tensor:
        with users_code(path):
            loss: Tensor = closure()
            return loss

    return Loaded(model, guarded, None, spec)


def _described(made: Any) -> str:
    if isinstance(made, tuple):
        return "(" + ", ".join(type(item).__name__ for item in made) + ")"
    return "nothing" if made is None else f"a {type(made).__name__}"


@contextmanager
def users_code(path: Path) -> Iterator[None]:
    """Errors of the user's own code as one line, with its file and line number."""
    try:
        yield
    except ThroughtimeError:
        raise
    except SyntaxError as error:
        place = f"{Path(error.filename or path).name}:{error.lineno}"
        raise LoadError(f"{place}: {type(error).__name__}: {plain(error.msg)}") from error
    except SystemExit as error:
        raise LoadError(f"{_place(error, path)}: it called exit({error.code!r})") from error
    except Exception as error:
        message = plain(error) or "no message"
        raise LoadError(f"{_place(error, path)}: {type(error).__name__}: {message}") from error


def _place(error: BaseException, path: Path) -> str:
    """The deepest line of the user's file on the way to the error."""
    file = str(path.resolve())
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f"{plain(path)}:{lines[-1]}" if lines else plain(path)
