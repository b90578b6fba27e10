"""Stand-ins for the known cores, wherever one is held, for as long as a capture is open.

A core is a plain function: nothing in torch tells that it runs. While a capture is open, the
modules and classes that hold it, and the attributes of the model that do, hold a stand-in, which
hands each call to the capture of its thread; without one it calls the function. Several captures
share the stand-ins, and the last to close puts the functions back. Modules are looked through once,
so that a capture of a model without scans pays for those alone that were imported since.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from throughtime.recording.scans.registry import Binder, Scan, known, scan_of

_Function = Callable[..., Any]


class Listener(Protocol):
    """A capture that records scans."""

    def hears(self) -> bool:
        """Whether the calls of the thread that asks are its own."""
        ...

    def run(self, scan: Scan, bind: Binder, function: _Function, args: Any, kwargs: Any) -> Any:
        """Run the core, and record it."""
        ...


@dataclass(eq=False)
class _Held:
    """A place that holds a core: the attribute of a module, a class or an instance."""

    holder: Any
    name: str
    original: Any
    stand_in: Any
    uses: int = 0

    def put(self, value: Any) -> None:
        if isinstance(self.holder, type):
            setattr(self.holder, self.name, value)
        else:
            vars(self.holder)[self.name] = value


_lock = threading.RLock()
_listeners: list[Listener] = []
_held: dict[tuple[int, str], _Held] = {}
_stand_ins: dict[int, tuple[_Function, _Function]] = {}
_Place = tuple[Any, str]


def open_for(listener: Listener, model: nn.Module) -> Callable[[], None]:
    """Put the stand-ins in place; what takes them away again is returned, and is safe to repeat."""
    with _lock:
        taken = [_take(holder, name, value) for holder, name, value in _found(model)]
        _listeners.append(listener)
    left = [held for held in taken if held is not None]

    def close() -> None:
        with _lock:
            if listener in _listeners:
                _listeners.remove(listener)
            while left:
                _leave(left.pop())

    return close


def listening() -> list[Listener]:
    """The captures that hear this thread."""
    return [listener for listener in list(_listeners) if listener.hears()]


def _take(holder: Any, name: str, value: Any) -> _Held | None:
    key = id(holder), name
    held = _held.get(key)
    if held is None:
        stand_in = _instead_of(value, name)
        if stand_in is None:
            return None
        held = _held[key] = _Held(holder, name, value, stand_in)
        held.put(stand_in)
    held.uses += 1
    return held


def _leave(held: _Held) -> None:
    held.uses -= 1
    if held.uses:
        return
    del _held[id(held.holder), held.name]
    if vars(held.holder).get(held.name) is held.stand_in:  # nobody put something else there
        held.put(held.original)


def _found(model: nn.Module) -> Iterator[tuple[Any, str, Any]]:
    """Every place that holds what may be a core: holder, attribute, value."""
    for holder, name in [*_imported.places(), *_in_classes_of(model)]:
        value = vars(holder).get(name)
        if value is not None:
            yield holder, name, value
    for module in model.modules():
        if type(module).__module__.startswith("torch.nn."):
            continue
        for name, value in list(vars(module).items()):
            if type(value) in (types.FunctionType, functools.partial):
                yield module, name, value


class _Imported:
    """The places in all modules; each module is looked through once, ``__main__`` every time."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._places: list[_Place] = []
        self._latest: tuple[int, str, object] | None = None

    def places(self) -> list[_Place]:
        functions, methods = wanted = _wanted()
        latest = len(sys.modules), next(reversed(sys.modules), ""), wanted
        if self._latest is None or self._latest[-1] is not wanted:  # a core was added
            self._seen.clear()
            self._places.clear()
        if latest != self._latest:
            self._latest = latest
            for name, module in list(sys.modules.items()):
                if self._seen.get(name) != id(module) and name != "__main__":
                    self._seen[name] = id(module)
                    self._places += _in_module(module, functions, methods)
        return [*self._places, *_in_module(sys.modules.get("__main__"), functions, methods)]


_imported = _Imported()


def _in_classes_of(model: nn.Module) -> list[_Place]:
    """In the modules that the model's classes come from, which may have changed since."""
    functions, methods = _wanted()
    homes = {kind.__module__ for module in model.modules() for kind in type(module).__mro__[:-2]}
    own = [sys.modules[home] for home in homes if home in sys.modules and home != "__main__"]
    found = [place for module in own for place in _in_module(module, functions, methods)]
    found += [  # imported under another name
        (module, name)
        for module in own
        if not module.__name__.startswith("torch.")
        for name, value in vars(module).items()
        if type(value) is types.FunctionType
        and value.__name__ in functions
        and name not in functions
    ]
    seen = {(id(holder), name) for holder, name in _imported.places()} if found else set()
    return [place for place in found if (id(place[0]), place[1]) not in seen]


def _in_module(
    module: Any, functions: set[str], methods: MutableMapping[str, list[str]]
) -> list[tuple[Any, str]]:
    held = getattr(module, "__dict__", None)
    if not isinstance(held, dict):
        return []
    found = [(module, name) for name in functions if name in held]
    for name in methods:
        if name not in held:
            continue
        if isinstance(held[name], type):
            found += [
                (held[name], method) for method in methods[name] if method in vars(held[name])
            ]
    return found


def _wanted() -> tuple[set[str], dict[str, list[str]]]:
    """The names of functions, and the methods by the name of their class."""
    return _split(tuple(name for name, _ in known()))


@functools.cache
def _split(names: tuple[str, ...]) -> tuple[set[str], dict[str, list[str]]]:
    functions: set[str] = set()
    methods: dict[str, list[str]] = {}
    for name in names:
        kind, dot, method = name.rpartition(".")
        if dot:
            methods.setdefault(kind, []).append(method)
        else:
            functions.add(name)
    return functions, methods


def _instead_of(value: Any, name: str = "") -> Any:
    """What stands in for a value that is a core, or a partial of one; None for any other."""
    if isinstance(value, functools.partial):
        parts = [value.func, *value.args, *value.keywords.values()]
        new = [_instead_of(part) if callable(part) else None for part in parts]
        if all(part is None for part in new):
            return None
        func, *rest = [old if part is None else part for old, part in zip(parts, new, strict=True)]
        args, values = rest[: len(value.args)], rest[len(value.args) :]
        return functools.partial(func, *args, **dict(zip(value.keywords, values, strict=True)))
    if not callable(value) or isinstance(value, (type, nn.Module)):
        return None
    if id(value) not in _stand_ins:
        matched = _matched(value, name)
        if matched is None:
            return None
        _stand_ins[id(value)] = value, _stand_in(value, *matched)
    return _stand_ins[id(value)][1]


def _matched(function: _Function, name: str) -> tuple[Scan, Binder] | None:
    """The core that a function is, by its own name, or by that of the place that holds it."""
    known_as = dict(known())
    qualified = ".".join(getattr(function, "__qualname__", "").split(".")[-2:])
    for called in (qualified, getattr(function, "__name__", ""), name):
        matched = scan_of(function, known_as.get(called, []))
        if matched is not None:
            return matched
    return None


def _stand_in(function: _Function, scan: Scan, bind: Binder) -> _Function:
    @functools.wraps(function)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        for listener in reversed(_listeners):
            if listener.hears():
                return listener.run(scan, bind, function, args, kwargs)
        return function(*args, **kwargs)

    return stand_in
