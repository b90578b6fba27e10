"""What is checked by its type: values read from JSON, and the numbers that a user gives.

``build`` makes a dataclass from plain JSON values, each checked against its field. The types are
read from the annotations, so that a field which is added later is checked as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from numbers import Integral
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from throughtime.errors import InputError, plain

T = TypeVar("T")

WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""How JSON writes a number that is not finite."""

_COUNTED = 2**63  # beyond what a user's whole number may be
_DEEPEST = 64  # levels of nesting: no diagnosis has more than ten
_LARGEST = 10**300  # of a whole number: beyond lies no floating-point number


def build(cls: type[T], data: object) -> T:
    """An instance of a dataclass from what ``json.loads`` gave; fields that it lacks are ignored.

    Lists become tuples, and the words for numbers that are not finite become those numbers.

    Raises ``ValueError`` with the place of the first value that does not fit its field.
    """
    found: T = _read(cls, data, cls.__name__)
    return found


def checked_count(value: object, name: str, who: str) -> int:
    """The whole number that a user gave for ``name`` of ``who``, from 1.

    Raises ``InputError``, in one line, for everything else: 0, nan, 1.5, "8", True.
    """
    if isinstance(value, Integral) and not isinstance(value, bool) and 1 <= int(value) < _COUNTED:
        return int(value)
    raise InputError(f"{who}: {name} is {_shown(value)}: give a whole number of steps, from 1")


def checked_span(span: object, who: str) -> int:
    """How many steps back a task needs to see, as ``who`` was given it. See ``checked_count``."""
    return checked_count(span, "span", who)


def refuse_ragged(
    values: Any, axes: Sequence[str], coords: Mapping[str, Sequence[Any]], axis: int = 0
) -> None:
    """Raise ``ValueError`` unless these are numbers in as many axes, as long as their labels."""
    if axis == len(axes):
        if type(values) not in (int, float):
            raise ValueError(f"{_shown(values)} is not a number in {len(axes)} axes")
        return
    if not isinstance(values, tuple):
        raise ValueError(f"{_shown(values)} lies where the axis {plain(axes[axis])} is")
    labels = coords.get(axes[axis])
    if labels is not None and len(labels) != len(values):
        raise ValueError(
            f"the axis {plain(axes[axis])} has {len(values)} entries and {len(labels)} labels"
        )
    for one in values:
        refuse_ragged(one, axes, coords, axis + 1)
    if len({len(one) if isinstance(one, tuple) else 0 for one in values}) > 1:
        raise ValueError(f"the entries along {plain(axes[axis])} are not of one length")


def _read(hint: Any, value: Any, where: str) -> Any:
    """The value as a field of this type holds it."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return _anything(value, where, _DEEPEST)
    if origin in (Union, UnionType):
        return _one_of(inner, value, where)
    if origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
    elif origin is tuple or origin in (list, Sequence):
        if isinstance(value, list):
            return _tuple(inner, value, where)
    elif origin in (dict, Mapping):
        if isinstance(value, dict):
            return {key: _read(inner[1], one, f"{where}.{key}") for key, one in value.items()}
    elif is_dataclass(hint):
        if isinstance(value, dict):
            return _instance(hint, value, where)
    elif hint in _FIT:
        if _FIT[hint](value):
            return WORDS.get(value, value) if hint is float else value
    else:
        raise TypeError(f"{where}: no rule for a field of type {hint}")
    raise ValueError(f"{plain(where)} is {_shown(value)}: {_named(hint)} is needed")


def _instance(cls: Any, data: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    values = {}
    for one in fields(cls):
        if one.name in data:
            values[one.name] = _read(hints[one.name], data[one.name], f"{where}.{one.name}")
        elif one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(f"{plain(where)} has no {one.name!r}")
    found = cls(**values)
    if hasattr(found, "check_read"):
        try:
            found.check_read()
        except ValueError as error:
            raise ValueError(f"{plain(where)}: {error}") from None
    return found


def _tuple(inner: tuple[Any, ...], values: list[Any], where: str) -> tuple[Any, ...]:
    hints = [inner[0]] * len(values) if len(inner) == 1 or inner[1:] == (...,) else list(inner)
    if len(hints) != len(values):
        raise ValueError(f"{plain(where)} has {len(values)} entries: {len(hints)} are needed")
    pairs = zip(hints, values, strict=True)
    return tuple(_read(hint, one, f"{where}[{n}]") for n, (hint, one) in enumerate(pairs))


def _one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    """As the first of several types that it fits; the last one tells why it fits none."""
    if value is None and NoneType in hints:
        return None
    *others, last = [hint for hint in hints if hint is not NoneType]
    for hint in others:
        try:
            return _read(hint, value, where)
        except ValueError:
            continue
    return _read(last, value, where)


def _anything(value: Any, where: str, levels: int) -> Any:
    """Any plain value; dictionaries keep their text keys."""
    if levels == 0:
        raise ValueError(f"{plain(where)} is nested too deep")
    if isinstance(value, list):
        return tuple(_anything(one, where, levels - 1) for one in value)
    if isinstance(value, dict):
        return {key: _anything(one, where, levels - 1) for key, one in value.items()}
    if isinstance(value, str):
        return WORDS.get(value, value)
    if type(value) is int and abs(value) >= _LARGEST:
        raise ValueError(f"{plain(where)} is too large a number")
    return math.nan if isinstance(value, float) and math.isnan(value) else value


def _is_whole(value: object) -> bool:
    return type(value) is int and abs(value) < _LARGEST


def _is_number(value: object) -> bool:
    return type(value) is float or _is_whole(value) or (isinstance(value, str) and value in WORDS)


_FIT: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: _is_whole,
    float: _is_number,
    NoneType: lambda value: value is None,
}


def _shown(value: object) -> str:
    text = plain(repr(value))
    return text if len(text) <= 40 else f"{text[:40]} …"


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    known = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    if hint in known:
        return known[hint]
    return "an object" if is_dataclass(hint) or get_origin(hint) in (dict, Mapping) else "a list"
