"""The patch to apply: a unified diff of the user's file that puts a remedy into its function.

``return Problem(...)`` becomes ``problem = Problem(...)``, the remedy, ``return problem``. Where
the function is too unusual for that, the lines are told with the reason, for its author to place.
"""

from __future__ import annotations

import ast
import difflib
import io
import shlex
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from throughtime.errors import plain
from throughtime.files import read_plainly
from throughtime.prescription import TREATMENTS

FILE = "remedy.patch"
"""What the diff is called in the directory of a treatment."""

_MODULE, _VERB = "throughtime.prescription", "treated"
_IMPORT = f"from {_MODULE} import {_VERB}"
_HARMLESS = ("cache", "lru_cache", "no_grad")  # decorators that return what the function returns
_PROBLEM = "problem"
_WIDTH = 80  # letters of a comment, without its margin

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Patch:
    """What to change in a file so that its function returns the treated problem.

    Attributes:
        file: the file as the diff names it, to be found from ``folder``.
        folder: where ``patch`` or ``git apply`` must run: the working directory, or the file's own.
        diff: a unified diff, for ``patch -p0`` or ``git apply -p0``; None where the function is too
            unusual to be changed by a program.
        lines: an import, and what to do with the problem before it is returned.
        reason: why there is no diff; empty where there is one.
    """

    file: str
    folder: str
    diff: str | None
    lines: tuple[str, ...]
    reason: str = ""

    def command(self, saved: str) -> str:
        """What applies the diff, saved under this name; ``git apply -p0`` does so as well."""
        where = "" if self.folder == "." else f" -d {shlex.quote(self.folder)}"
        return f"patch -p0{where} < {shlex.quote(saved)}"


class _UnusualError(Exception):
    """The function cannot be changed by a program; the message says why."""


def patch_for(target: str, remedy: str, span: int, seed: int, here: Path) -> Patch:
    """The patch that puts a remedy into ``FILE.py:FUNCTION``.

    The patched function gives bit for bit the problem of the treated trial: of every seed where it
    takes an argument ``seed``, else of this one.

    Args:
        target: as the command line names it; the file is there.
        remedy: a name in ``TREATMENTS``, or several joined by ``+``.
        span: how many steps back the task needs to see.
        seed: of what the remedy draws, where the function takes none.
        here: the directory from which ``target`` is named.
    """
    path, _, function = target.rpartition(":")
    file = (here / path).resolve()  # patch follows no link
    inside = _below(here, file)
    name, folder = (inside, ".") if inside else (file.name, str(file.parent))
    argument, told = str(seed), [_IMPORT, *_remedy(remedy, span, str(seed), _PROBLEM)]
    try:
        source = _text(read_plainly(file))
        found = _function(source, function)
        argument = "seed" if _takes_seed(found) else str(seed)
        told = [_IMPORT, *_remedy(remedy, span, argument, _PROBLEM)]
        after = _patched(source, found, lambda name: _remedy(remedy, span, argument, name))
    except (_UnusualError, SyntaxError) as error:
        return Patch(name, folder, None, tuple(told), plain(error))
    return Patch(name, folder, _diff(source, after, name), tuple(told))


def _text(content: bytes) -> str:
    """The file as letters, a byte order mark among them."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise _UnusualError("the file is not written in UTF-8") from None


def _parsed(source: str) -> ast.Module:
    return ast.parse(source.removeprefix("\ufeff"))


def _remedy(remedy: str, span: int, seed: str, problem: str) -> list[str]:
    """What each part is, and the line that applies all."""
    told: list[str] = []
    for one in (TREATMENTS[part] for part in remedy.split("+")):
        said = f"{one.name}: {one.sentence} ({one.paper})"
        told += textwrap.wrap(said, _WIDTH, initial_indent="# ", subsequent_indent="#   ")
    return [*told, f'{problem} = {_VERB}({problem}, "{remedy}", span={span}, seed={seed})']


def _function(source: str, name: str) -> _Function:
    """The function of that name, at the top of the file, defined once and in an ordinary way."""
    tree = _parsed(source)
    bound = [node for node in tree.body if name in _binds(node)]
    if len(bound) != 1:
        raise _UnusualError(f"{name} is not defined exactly once at the top of the file")
    (found,) = bound
    if not isinstance(found, ast.FunctionDef):
        raise _UnusualError(f"{name} is no function that is defined by def")
    for decorator in found.decorator_list:
        if _last_name(decorator) not in _HARMLESS:
            raise _UnusualError(f"{name} is decorated by {ast.unparse(decorator)}")
    return found


def _patched(source: str, function: _Function, remedy: Callable[[str], list[str]]) -> str:
    """The source with the remedy before the one return of the function, and with the import."""
    returned = _the_return(function)
    lines = io.StringIO(source, newline="").readlines()
    end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    first, last = returned.lineno - 1, (returned.end_lineno or returned.lineno) - 1
    start = _column(lines[first], returned.col_offset)
    margin = lines[first][:start]
    behind = lines[last][_column(lines[last], returned.end_col_offset or 0) :]
    if margin.strip() or not _is_comment(behind):
        raise _UnusualError(f"the return of {function.name} shares its line with something else")
    name = _own_variable(returned.value, function)
    made: list[str] = []
    if name is None:
        name = _free_name(function)
        made = lines[first : last + 1]
        made[0] = f"{margin}{name} = {lines[first][start + len('return') :].lstrip()}"
        made[-1] = made[-1].rstrip("\r\n") + end
        behind = behind[len(behind.rstrip("\r\n")) :]
    added = [f"{margin}{line}{end}" for line in remedy(name)]
    lines[first : last + 1] = [*made, *added, f"{margin}return {name}{behind}"]
    _add_import(lines, source, function, end)
    return "".join(lines)


def _own_variable(value: ast.expr | None, function: _Function) -> str | None:
    """The name of the variable of the function that is returned; None for all else."""
    if not isinstance(value, ast.Name):
        return None
    nodes = _own_nodes(function)
    shared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    return value.id if value.id in _stored(nodes) - shared else None


def _stored(nodes: Iterable[ast.AST]) -> set[str]:
    """The variables that some of the nodes give a value to."""
    names = (node for node in nodes if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _the_return(function: _Function) -> ast.Return:
    """The only return of the function itself, not of one that is defined in it."""
    found = [node for node in _own_nodes(function) if isinstance(node, ast.Return)]
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(function)):
        raise _UnusualError(f"{function.name} is a generator")
    rebound = _stored(_own_nodes(function)) & {_VERB, "seed"}
    if rebound and (_VERB in rebound or _takes_seed(function)):
        raise _UnusualError(f"{function.name} gives {' and '.join(rebound)} another value")
    if len(found) != 1:
        raise _UnusualError(f"{function.name} returns from {len(found)} places")
    return found[0]


def _own_nodes(function: _Function) -> list[ast.AST]:
    """All nodes of the body, but for those of functions and classes that are defined in it."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, _Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return found


def _free_name(function: _Function) -> str:
    """A name for the problem that the function does not use yet."""
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    used |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    name = _PROBLEM
    while name in used:
        name = f"the_{name}"
    return name


def _takes_seed(function: _Function) -> bool:
    arguments = function.args
    return "seed" in {one.arg for one in (*arguments.args, *arguments.kwonlyargs)}


def _add_import(lines: list[str], source: str, function: _Function, end: str) -> None:
    """Add the import behind the last one above the function, where it is missing."""
    body = _parsed(source).body
    if any(_imports_verb(node) for node in body):
        return
    if any(_VERB in _binds(node) for node in body):
        raise _UnusualError(f"the file calls something else {_VERB}")
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    above = [node.end_lineno or 0 for node in imports if node.lineno < function.lineno]
    if not above:
        raise _UnusualError("the file has no import at its top, beside which another could stand")
    lines.insert(max(above), f"{_IMPORT}{end}")


def _imports_verb(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == _MODULE
        and any(alias.name == _VERB and alias.asname is None for alias in node.names)
    )


def _binds(node: ast.stmt) -> set[str]:
    """The names that a statement at the top of a file gives a meaning to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    inside = list(ast.walk(node))
    return _stored(inside) | {
        one.name for one in inside if isinstance(one, _Function | ast.ClassDef)
    }


def _last_name(decorator: ast.expr) -> str:
    """``lru_cache`` of ``functools.lru_cache(maxsize=1)``."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def _column(line: str, offset: int) -> int:
    """The letter of a line at so many bytes of UTF-8, which is how syntax trees count."""
    return len(line.encode()[:offset].decode())


def _below(folder: Path, file: Path) -> str:
    """The path of the file from the folder, where it is below it; else empty."""
    try:
        return file.relative_to(folder.resolve()).as_posix()
    except ValueError:
        return ""


def _is_comment(behind: str) -> bool:
    return not behind.strip() or behind.lstrip().startswith("#")


def _diff(before: str, after: str, name: str) -> str:
    """A unified diff that ``patch`` and ``git apply`` take, also without a newline at the end."""
    old, new = (io.StringIO(text, newline="\n").readlines() for text in (before, after))
    shown = f"{name}\t" if " " in name else name  # the tab says where the name ends
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(old, new, shown, shown)
    )
