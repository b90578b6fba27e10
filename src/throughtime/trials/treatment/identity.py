"""What makes a problem, in a text that is the same in every process, and for no other function."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

from throughtime.errors import InputError

_DIGITS = 12
_OURS = "throughtime."


def described(make: object) -> str:
    """The name of a function with a digest of its code, and of the code and values that it uses.

    So an edited function of a script or a notebook is another one. What lies in other modules is
    not looked at.

    Raises:
        InputError: it has no such text: a lambda, an object whose ``repr`` tells its address.
    """
    if isinstance(make, functools.partial):
        more = [
            *map(repr, make.args),
            *(f"{name}={value!r}" for name, value in make.keywords.items()),
        ]
        told = f"{described(make.func)}({', '.join(more)})"
    elif is_dataclass(make) or not hasattr(make, "__qualname__"):
        told = repr(make)
    else:
        told = f"{make.__module__}.{make.__qualname__}"
        if isinstance(make, FunctionType) and not make.__module__.startswith(_OURS):
            told += f"#{digest(make)}"
    if " at 0x" in told or "<lambda>" in told:
        raise InputError(
            f"{told} is called otherwise in every process, so that its trials could not be found "
            "again: give a function that is made by def, a functools.partial of one, or a frozen "
            "dataclass"
        )
    return told


def weights_digest(model: nn.Module) -> str:
    """The same text for the same weights, and no other."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(_content(value) if isinstance(value, torch.Tensor) else repr(value).encode())
    return found.hexdigest()


def digest(value: object) -> str:
    """A short text that is the same for the same code and the same values, in any process."""
    found = hashlib.sha256()
    module = getattr(value, "__module__", None)
    for part in _parts(value, module, {}):
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:_DIGITS]


def _parts(value: Any, module: str | None, seen: dict[int, Any]) -> Iterator[bytes]:
    """All that a value is made of; of functions and classes those of this module alone."""
    yield type(value).__qualname__.encode()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield repr(value).encode()
    elif id(value) in seen:
        return
    elif isinstance(value, torch.Tensor):
        yield _content(value)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, nn.Module):
        yield weights_digest(value).encode()
    else:
        seen[id(value)] = value  # held, so that no other value gets its id
        for inner in _inside(value, module):
            yield from _parts(inner, module, seen)


def _inside(value: Any, module: str | None) -> Iterator[Any]:
    """What a value holds or, if it is code, uses."""
    if isinstance(value, CodeType):
        yield from (value.co_code, value.co_names, value.co_varnames, value.co_consts)
    elif isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, set | frozenset):
        yield sorted(map(repr, value))
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, FunctionType) and value.__module__ == module:
        yield from (value.__code__, value.__defaults__, value.__kwdefaults__)
        yield from (_of_cell(cell) for cell in value.__closure__ or ())
        used = sorted(_names(value.__code__))
        yield from ((name, value.__globals__[name]) for name in used if name in value.__globals__)
    elif isinstance(value, type) and value.__module__ == module:
        yield from value.__bases__
        plain = (staticmethod, classmethod)
        for name, member in sorted(vars(value).items()):
            if not (name.startswith("__") and not callable(member)):
                yield name, member.__func__ if isinstance(member, plain) else member
    elif hasattr(value, "__qualname__"):
        yield f"{value.__module__}.{value.__qualname__}"
    elif type(value).__module__ == module:
        yield from (type(value), vars(value) if hasattr(value, "__dict__") else None)


def _of_cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that was not set yet
        return None


def _names(code: CodeType) -> set[str]:
    """The global names, and attributes, that code uses, in functions within it as well."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return {*code.co_names}.union(*map(_names, inner))


def _content(tensor: torch.Tensor) -> bytes:
    found = tensor.detach().cpu().contiguous()
    return bytes(found.flatten().view(torch.uint8).numpy())
