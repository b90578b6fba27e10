"""Where in a model its recurrent layers are, as a user types it: ``model.encoder.rnns[0]``."""

from __future__ import annotations

from torch import nn

from throughtime.cells import RecurrentLayer
from throughtime.remedies.weights import TORCHS_OWN

_KINDS: tuple[type[nn.Module], ...] = (RecurrentLayer, *TORCHS_OWN)


def recurrent_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every recurrent layer or cell by its name in the model; ``""`` is the model itself."""
    return {name: part for name, part in model.named_modules() if isinstance(part, _KINDS)}


def place(model: nn.Module) -> str:
    """The one recurrent layer as an expression; ``model``, where there are several, or none."""
    found = list(recurrent_modules(model))
    return expression(found[0]) if len(found) == 1 else "model"


def expression(name: str, root: str = "model") -> str:
    """``model.rnns[0]`` for the module's name ``rnns.0``."""
    parts = name.split(".") if name else []
    return root + "".join(f"[{part}]" if part.isdecimal() else _attribute(part) for part in parts)


def _attribute(part: str) -> str:
    return f".{part}" if part.isidentifier() else f".get_submodule({part!r})"
