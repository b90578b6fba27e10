"""What the layers of a model are called: by the module that runs, or by the owner of a weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from throughtime.cells import RecurrentLayer
from throughtime.recording.parameters import original

RECURRENT = (nn.RNNBase, nn.RNNCellBase, RecurrentLayer)
"""The modules whose kernels are recorded."""


class Names:
    """The names of a model's modules, and of the modules that own its weights.

    Args:
        model: which is kept, so that no id is used again.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._names = {id(module): original(name) for name, module in model.named_modules()}
        self._owners = {
            id(weight): name
            for name, module in model.named_modules()
            for weight in module._parameters.values()
            if weight is not None
        }

    def knows(self, module: nn.Module) -> bool:
        """Whether it is registered in the model."""
        return id(module) in self._names

    def known(self, identities: Iterable[int]) -> bool:
        """Whether one of these identities is that of a module of the model, or of a weight."""
        return any(one in self._names or one in self._owners for one in identities)

    def path(self, module: int) -> str | None:
        """The name of the module with this identity; None for one that is not registered."""
        return self._names.get(module)

    def owns(self, weights: Sequence[Tensor]) -> bool:
        """Whether one of these weights is a parameter of the model."""
        return any(id(weight) in self._owners for weight in weights)

    def of(self, running: Sequence[nn.Module], weights: Sequence[Tensor] = ()) -> str:
        """The name of the layer that is running, as in ``model.named_modules()``.

        A kernel that no recurrent module runs has the name of the module that owns its weights.
        """
        if not running or not isinstance(running[-1], RECURRENT):
            owners = (self._owners.get(id(weight)) for weight in weights)
            owner = next((name for name in owners if name is not None), None)
            if owner is not None:
                module = self._model.get_submodule(owner)
                return original(owner) or type(module).__name__.lower()
        module = running[-1]
        kind = type(module).__name__.lower()
        if id(module) in self._names:
            return self._names[id(module)] or kind
        parent = self._names.get(id(running[-2]), "")  # it hides in a list, say
        return f"{parent}.{kind}" if parent else kind

    def shared(self, other: Names) -> str:
        """The name of a recurrent layer that both models hold, or an empty string."""
        for module in self._model.modules():
            if isinstance(module, RECURRENT) and other.knows(module):
                return other._names[id(module)] or type(module).__name__.lower()
        return ""


def path_of(inside: Sequence[tuple[nn.Module, int]]) -> tuple[int, ...]:
    """The numbers of the module calls that are running, but for that of a recurrent layer."""
    if inside and isinstance(inside[-1][0], RECURRENT):
        inside = inside[:-1]
    return tuple(number for _, number in inside)


def unique_names(names: Sequence[str]) -> list[str]:
    """The same names, numbered from the second time on: ``encoder``, ``encoder (2)``."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique
