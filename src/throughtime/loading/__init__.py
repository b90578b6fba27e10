"""What the command line names becomes objects: ``FILE.py:FUNCTION``, called, and its errors told.

Naming a file is consent to run it. Nothing else is ever imported or executed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from throughtime.errors import LoadError, plain, unknown
from throughtime.loading.guarding import UserFile, users_code
from throughtime.loading.returned import EXAMPLE, advice, described
from throughtime.problem import Problem, checked_pair
from throughtime.randomness import randomness

_NAMELESS = "_throughtime_user_file"
_END = object()
_OBJECTS = ("model", "clip", "backward")  # called as well, but remembering something
_WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".h5", ".onnx", ".pkl")


@dataclass(frozen=True)
class Loaded:
    """A model and a closure that gives its loss.

    Attributes:
        model: the module to diagnose.
        closure: runs it on one batch and returns the loss.
        span: how many steps back the task needs to see, if it said so.
        lengths: the length of each sequence of a padded batch, if it said so.
        trivial_loss: the loss of the best answer that never looks at its input, if it said so.
    """

    model: nn.Module
    closure: Callable[[], Tensor]
    span: int | None
    lengths: tuple[int, ...] | None = None
    trivial_loss: float | None = None


def load(target: str, seed: int | None = None) -> Loaded:
    """Run ``FILE.py:FUNCTION``, which returns ``(model, closure)`` or a ``Problem``.

    The lengths of a padded batch are a third element, or an attribute of the closure.
    Errors in the closure, whenever it is called, become a ``LoadError`` as well.

    Args:
        target: as the command line names it.
        seed: given to the function where it takes an argument ``seed``; None for none.

    Raises:
        LoadError: no such file or function, an error while it ran (with file and line), or
            something else returned.
        MemoryError: the user's code ran out of it.
    """
    file, name = _split(target)
    return _checked(_called(file, name, seed), file, target)


def load_problem(target: str, seed: int | None = None) -> Problem:
    """Run ``FILE.py:FUNCTION``, which returns a ``Problem``: what can be trained.

    Errors in its functions, whenever they are called, become a ``LoadError`` as well.

    Args:
        target: as the command line names it.
        seed: given to the function where it takes an argument ``seed``; None for none.

    Raises:
        LoadError: as ``load``.
        MemoryError: as ``load``.
    """
    return _problem(*_split(target), seed)


def load_either(target: str, seed: int | None = None) -> Loaded | Problem:
    """Run ``FILE.py:FUNCTION`` once: a ``Problem``, or the pair that it returned.

    Args:
        target: as the command line names it.
        seed: as for ``load``.

    Raises:
        LoadError: as ``load``.
        MemoryError: as ``load``.
    """
    file, name = _split(target)
    made = _called(file, name, seed)
    return (
        _guarded_problem(made, file) if isinstance(made, Problem) else _checked(made, file, target)
    )


@dataclass(frozen=True)
class FromFile:
    """Makes the problem of ``FILE.py:FUNCTION`` anew, in any process, for any seed.

    Attributes:
        file: the user's.
        function: in it.
        digest: of what stands in the file: another text is another problem.
    """

    file: UserFile = field(repr=False)
    function: str
    digest: str

    @classmethod
    def of(cls, target: str) -> FromFile:
        """The maker of what the command line names. Raises ``LoadError`` if there is no file."""
        file, function = _split(target)
        try:
            content = file.real.read_bytes()
        except OSError as error:
            raise LoadError(f"{plain(file.named)} cannot be read: {plain(error)}") from error
        return cls(file, function, hashlib.sha256(content).hexdigest()[:16])

    def __call__(self, seed: int) -> Problem:
        """The problem of a seed: an argument of the function, or drawn from all around it.

        Raises ``LoadError`` as ``load_problem``.
        """
        with randomness(seed):
            return _problem(self.file, self.function, seed)


def _problem(file: UserFile, name: str, seed: int | None) -> Problem:
    """What the function returned, its functions guarded."""
    made = _called(file, name, seed)
    if not isinstance(made, Problem):
        raise LoadError(
            f"{plain(file.named)}:{plain(name)} must return a throughtime.Problem to be trained; "
            f"it returned {described(made)}: return Problem(name, model, batches, loss, span), "
            "where batches(seed) gives batches without end, and loss(model, batch) the loss of one"
        )
    return _guarded_problem(made, file)


def _guarded_problem(made: Problem, file: UserFile) -> Problem:
    """The same problem, the errors of its functions told."""
    functions = {one.name: getattr(made, one.name) for one in fields(made)}
    guarded: dict[str, Any] = {
        name: _guarded(function, file)
        for name, function in functions.items()
        if callable(function) and name not in _OBJECTS
    }
    batches = guarded.pop("batches")
    return replace(made, batches=lambda seed: _Guarded(batches(seed), file), **guarded)


def _called(file: UserFile, name: str, seed: int | None = None) -> Any:
    """What the function of the file returned."""
    with users_code(file):
        module = _module(file)
    function = getattr(module, name, None)
    if not callable(function):
        raise LoadError(f"{plain(file.named)}: {unknown('function', name, _functions(module))}")
    given = {} if seed is None or not _takes_seed(function) else {"seed": seed}
    with users_code(file):
        return function(**given)


def _takes_seed(function: Callable[..., Any]) -> bool:
    with suppress(TypeError, ValueError):  # one that cannot tell what it takes
        named = inspect.signature(function).parameters.get("seed")
        return named is not None and named.kind in (named.KEYWORD_ONLY, named.POSITIONAL_OR_KEYWORD)
    return False


def _guarded(function: Callable[..., Any], file: UserFile) -> Callable[..., Any]:
    """The same function, its errors told."""

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        with users_code(file):
            return function(*arguments, **keywords)

    return call


class _Guarded(Iterator[Any]):
    """The same batches, their errors told; what else they can do, they still can."""

    def __init__(self, batches: Iterable[Any], file: UserFile) -> None:
        self._file = file
        with users_code(file):
            self._batches = iter(batches)

    def __next__(self) -> Any:
        with users_code(self._file):
            found = next(self._batches, _END)
        if found is _END:
            raise StopIteration
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


def _split(target: str) -> tuple[UserFile, str]:
    """The file and the name of the function; the last colon parts them."""
    file, _, name = target.rpartition(":")
    path = Path(file or target)
    try:
        is_there, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:  # a name too long, a NUL in it
        raise LoadError(f"{plain(path)} cannot be read ({plain(error)}): check the path") from error
    if target and (hint := _of_another_kind(path, is_folder)):
        raise LoadError(f"{plain(path)} {hint}")
    if not file or not name:
        raise LoadError(f"{plain(target)!r} names no function: write FILE.py:FUNCTION")
    if not is_there:
        raise LoadError(f"there is no file {plain(file)}: {_where(path, name)}")
    if not is_file or path.suffix != ".py":
        raise LoadError(f"{plain(file)} is not a Python file: name one that ends in .py")
    return UserFile(path, path.resolve()), name


def _of_another_kind(path: Path, is_folder: bool) -> str:
    """What is named instead of a Python file, and what to do; empty for what may be one."""
    if is_folder:
        return "is a directory: name a Python file in it, and its function: FILE.py:FUNCTION"
    if path.suffix == ".ipynb":
        return (
            "is a notebook: call throughtime.diagnose(model, closure) in one of its cells, or save "
            "its code to a FILE.py (jupyter nbconvert --to script) and name FILE.py:FUNCTION"
        )
    if path.suffix in _WEIGHTS:
        return (
            "holds weights, and the gradient needs the code of the model too: write a FILE.py with "
            "def build(): model = MyModel(); load the weights into it; "
            f"{EXAMPLE}, and name FILE.py:build"
        )
    return ""


def _where(path: Path, name: str) -> str:
    """What to do about a file that is not there; its place where the name is that of a module."""
    parts = path.name.split(".")
    if (
        path.parent == Path()
        and path.suffix != ".py"
        and all(part.isidentifier() for part in parts)
    ):
        return f"name a file, not a module: {plain(Path(*parts))}.py:{plain(name)}"
    if not path.suffix and path.with_suffix(".py").is_file():
        return f"did you mean {plain(path)}.py:{plain(name)}?"
    return "check the path"


def _module(file: UserFile) -> ModuleType:
    """The file as a module, run as ``python FILE.py`` runs it: what lies beside it can be imported.

    Under its own name where that is free, so that a worker process can find what it defines.
    """
    sys.path.insert(0, str(file.real.parent))
    importlib.invalidate_caches()
    name = file.real.stem
    if name.isidentifier() and name not in sys.modules:
        own = importlib.util.find_spec(name)
        if own is not None and own.origin == str(file.real):
            return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(_NAMELESS, file.real)
    if spec is None or spec.loader is None:
        raise LoadError(f"{plain(file.named)} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAMELESS] = module
    spec.loader.exec_module(module)
    return module


def _functions(module: ModuleType) -> list[str]:
    """The public functions that the module itself defines."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]


def _checked(made: Any, file: UserFile, target: str) -> Loaded:
    span = made.span if isinstance(made, Problem) else None
    given = (made.model, made.closure) if isinstance(made, Problem) else made
    given = given if isinstance(given, tuple) and len(given) in (2, 3) else (None, None)
    model, closure, *more = given
    if not isinstance(model, nn.Module) or not callable(closure):
        raise LoadError(
            f"{plain(target)} must return (model, closure) or (model, closure, lengths), a torch "
            "module and a function that returns the loss, or a throughtime.Problem; it returned "
            f"{described(made)}{advice(made)}"
        )
    checked_pair(f"the pair of {plain(target)}", model, closure, EXAMPLE)
    lengths = _lengths(more[0] if more else getattr(closure, "lengths", None), target)

    trivial = made.trivial_loss if isinstance(made, Problem) else None
    return Loaded(model, _guarded(closure, file), span, lengths, trivial)


def _lengths(given: Any, target: str) -> tuple[int, ...] | None:
    """The lengths of a padded batch as plain numbers; what they must fit, the capture knows."""
    if given is None:
        return None
    values = given.tolist() if isinstance(given, Tensor) else given
    if not isinstance(values, (list, tuple)) or not all(type(one) is int for one in values):
        kind = type(given).__name__
        shape = f" of shape {tuple(given.shape)}" if isinstance(given, Tensor) else ""
        raise LoadError(
            f"{plain(target)} gives lengths as something of type {plain(kind)}{shape}: give one "
            "whole number for each sequence of the batch, as a list or a tensor"
        )
    return tuple(values)
