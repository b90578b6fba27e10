"""Remedies for recurrences that users write by hand: for the matrices that no layer names.

Which of the square matrices multiplies the state is not known: all of them get the remedy, and what
it does is measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor, nn
from torch.nn.utils import parametrizations

from throughtime.errors import InputError
from throughtime.prescription.places import expression, recurrent_modules
from throughtime.prescription.update import loss_on
from throughtime.problem import Problem
from throughtime.recording import observe

_PARAMETRISED = re.compile(r"parametrizations\.(\w+)\.original$")


def own_matrices(model: nn.Module) -> dict[str, Tensor]:
    """The square matrices of a model, by name, that its linear layers and own modules train.

    Empty where the model has a recurrent layer, which other remedies know.
    """
    if recurrent_modules(model):
        return {}
    found: dict[str, Tensor] = {}
    for full, weight in model.named_parameters():
        name = _PARAMETRISED.sub(r"\1", full)
        owner = model.get_submodule(name.rpartition(".")[0])
        users = isinstance(owner, nn.Linear) or not type(owner).__module__.startswith("torch.")
        square = weight.dim() == 2 and 1 < weight.shape[0] == weight.shape[1]
        if users and square and weight.requires_grad:
            found[name] = weight
    return found


@dataclass(frozen=True)
class ByHand:
    """What a remedy is where there is no layer: done to each matrix, and the line for each.

    Attributes:
        do: ``do(module, name, generator)`` changes the matrix of this name in its module.
        line: the same as a user types it, with {module}, {name} and {weight} to be filled in.
    """

    do: Callable[[nn.Module, str, Generator], object]
    line: str

    def apply(self, model: nn.Module, generator: Generator) -> None:
        """Change all of them, in place."""
        for owner, name in _places(model):
            self.do(model.get_submodule(owner), name, generator)

    def code(self, model: nn.Module) -> str:
        """A line for each of them."""
        places = [(expression(owner), name) for owner, name in _places(model)]
        return "\n".join(
            self.line.format(module=module, name=repr(name), weight=f"{module}.{name}")
            for module, name in places
        )


ORTHOGONAL = ByHand(
    lambda module, name, draw: nn.init.orthogonal_(getattr(module, name), generator=draw),
    "torch.nn.init.orthogonal_({weight})",
)
IDENTITY = ByHand(
    lambda module, name, _draw: nn.init.eye_(getattr(module, name)),
    "torch.nn.init.eye_({weight})",
)
ORTHOGONAL_WEIGHTS = ByHand(
    lambda module, name, _draw: parametrizations.orthogonal(module, name),
    "torch.nn.utils.parametrizations.orthogonal({module}, {name})",
)


def of_mark(problem: Problem) -> dict[str, str]:
    """The name of the matrix by that of the mark, where there is one of each.

    Raises:
        InputError: there are several, and no one knows which multiplies which state.
    """
    found = list(own_matrices(problem.model))
    marks = observe(problem.model, loss_on(problem, next(iter(problem.batches(0))))).names
    if len(found) != 1 or len(marks) != 1:
        raise InputError(
            f"which of {', '.join(found)} multiplies which state ({', '.join(marks)}) is not "
            "known: give critical_ its matrix by own={mark: matrix}"
        )
    return {marks[0]: found[0]}


def _places(model: nn.Module) -> list[tuple[str, str]]:
    """The module and the name in it of each of them."""
    parted = (full.rpartition(".") for full in own_matrices(model))
    return [(owner, name) for owner, _, name in parted]
