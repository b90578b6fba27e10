"""The cores that are known: a ``Scan`` says which function it is, and puts its call into the form.

To add a core, add one file with a subclass of ``Scan`` to ``cores/``; a user's own subclass is
known as soon as its class exists.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.scans.form import Arguments, Steps

_KNOWN: dict[str, list[Scan]] = {}


class Scan(ABC):
    """A core whose calls are seen: a function by its name and parameters, or a method of a class.

    Attributes:
        names: of the function, or ``Class.method``.
        parameters: which the function must have; a tuple for one that goes by several names, of
            which the first is what ``Arguments`` calls it.
        package: where the function must come from, for a name that says little; empty for anywhere.
        probes: the arguments whose gradient can be compared with autograd's, best first.
        state: the argument that is the state before the first step, if there is one.
        reads_before: the output is read from the state before the step.
        at_most: the finest number format in which the core computes; None: that of its arguments.
    """

    names: ClassVar[Sequence[str]]
    parameters: ClassVar[Sequence[str | Sequence[str]]]
    package: ClassVar[str] = ""
    probes: ClassVar[Sequence[str]]
    state: ClassVar[str] = ""
    reads_before: ClassVar[bool] = False
    at_most: ClassVar[torch.dtype | None] = torch.float32

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls).get("names", ()):
            _KNOWN.setdefault(name, []).append(cls())

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: dict[str, Any],
        watched: dict[str, Tensor],
    ) -> tuple[Any, Any]:
        """Run the core; what it returned, and what the record is made from.

        A core inside of a method listens to the method's parts here, and adds to ``given``, and to
        the ``watched`` probes.
        """
        result = function(*args, **kwargs)
        return result, result

    def unpacked(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name; a core that takes some in one tuple names its parts here."""
        return given

    @abstractmethod
    def steps(self, of: Arguments) -> Steps:
        """The steps of ``of.part``, differentiable in the arguments."""

    def initial(self, of: Arguments) -> Float[Tensor, "B H K V"] | None:
        """The state before the first step; None for zeros."""
        state: Tensor | None = of.get(self.state)
        return None if state is None else self.as_state(state)

    def output(self, result: Any) -> Tensor:
        """The tensor that the core read from its states."""
        tensor: Tensor = result[0] if isinstance(result, (tuple, list)) else result
        return tensor

    def final(self, result: Any) -> Tensor | None:
        """The state after the last step, if the call returned it."""
        last = result[1] if isinstance(result, (tuple, list)) and len(result) > 1 else None
        return last if isinstance(last, Tensor) else None

    def as_state(self, final: Tensor) -> Float[Tensor, "B H K V"]:
        """The state that the call returned, or its gradient, in the axes of the form."""
        return final.double()

    def arrange(self, output: Tensor, of: Arguments) -> Float[Tensor, "T B H V"]:
        """The output, or its gradient, in the axes of the form; (B T H V) as it comes.

        (T B ·) is enough where ``read`` makes something else of ``Sᵀ q``.
        """
        return output.movedim(1, 0)

    def read(
        self, of: Arguments, steps: Steps, reads: Float[Tensor, "T B H V"]
    ) -> Float[Tensor, "T B H V"]:
        """What the core makes of ``Sᵀ q``: a skip, a gate, a quotient."""
        return reads

    def starts(self, of: Arguments) -> Tensor | None:
        """Where a sequence begins anew (T B), or None where none does."""
        return None

    def takes(self, of: Arguments) -> bool:
        """Whether this call is one that the form describes."""
        return True


def known() -> Iterator[tuple[str, list[Scan]]]:
    """The names under which cores are looked for."""
    return iter(_KNOWN.items())


def scan_of(function: Callable[..., Any], scans: list[Scan]) -> tuple[Scan, Binder] | None:
    """Which of the cores of one name this function is, by its parameters and its package."""
    for scan in reversed(scans):  # a user's own comes before ours
        binder = Binder.of(function, scan)
        if binder is not None:
            return scan, binder
    return None


class Binder:
    """Arguments as they are passed, by the names that a ``Scan`` knows them by."""

    def __init__(self, signature: inspect.Signature, names: dict[str, str]) -> None:
        self._signature, self._names = signature, names

    @classmethod
    def of(cls, function: Callable[..., Any], scan: Scan) -> Binder | None:
        """For this function; None if it lacks a parameter."""
        bound = getattr(
            function, "__self__", function
        )  # of an autograd function's apply, its class
        home = getattr(bound, "__module__", None) or ""
        if scan.package and home.partition(".")[0] != scan.package:
            return None
        known = [(one,) if isinstance(one, str) else one for one in scan.parameters]
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            signature = _positional([one[0] for one in known])
        names = {}
        anything = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if scan.package and all(one.kind in anything for one in signature.parameters.values()):
            signature = _positional([one[0] for one in known])
        for alternatives in known:
            here = next((one for one in alternatives if one in signature.parameters), None)
            if here is None:
                return None
            names[here] = alternatives[0]
        return cls(signature, names)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments by name, defaults too."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if self._signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                given |= value
            else:
                given[self._names.get(name, name)] = value
        return given


def _positional(names: list[str]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])
