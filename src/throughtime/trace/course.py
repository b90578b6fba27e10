"""How the steps of a layer lie in the run, and where what is not finite came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor


@dataclass(eq=False)
class Source:
    """Where numbers that are not finite came from, as far as the model's modules show it.

    Attributes:
        kind: given to the model as ``data``; a ``parameter`` of a module; made by a ``module`` or a
            recurrent ``layer`` of finite inputs; by an ``operation`` in the forward of a module,
            or by one ``outside`` of all modules.
        module: the module, as in ``model.named_modules()``; the model itself is ``""``.
        type: its class.
        parameter: the parameter or buffer, as the model names it.
        after, before: the modules between which the operation runs, where there are any.
    """

    kind: Literal["data", "parameter", "module", "layer", "operation", "outside"]
    module: str = ""
    type: str = ""
    parameter: str = ""
    after: str = ""
    before: str = ""

    def become(self, other: Source) -> None:
        """Say what another one says: its cause was seen later."""
        vars(self).update(vars(other))


@dataclass(frozen=True)
class Gap:
    """A state that was finite when one call ended and is not when the next one starts.

    ``layer``: whose calls they are. ``after``: the step at which the state was still finite.
    ``sequences``: of the batch, in which it is not. ``source``: what made it, if that was seen.
    """

    layer: str
    after: int
    sequences: tuple[int, ...]
    source: Source | None = None


@dataclass(frozen=True, eq=False)
class Course:
    """How the steps of a layer lie in the run, one entry for each, in the order of computation.

    Attributes:
        order: the place of every step in the whole run; all layers and marks count together.
        loop: the step of the user's loop; 0 … T − 1 for a layer that is called once.
        loop_steps: how many steps that loop has.
        looped: each step is a call of its own, in a loop of the user's.
        dtype: in which the states were computed.
        sources: by step, of what it read (``"input"`` ``"state"``) and of the state that it made
            (``"made"``): where what is not finite came from.
        gaps: by step, a state that was made not finite between two calls.
        weights: the weights of a step, by torch's name, and as ``model.named_parameters()`` has it.
    """

    order: tuple[int, ...]
    loop: tuple[int, ...]
    loop_steps: int
    dtype: torch.dtype
    sources: Mapping[int, Mapping[str, Source]] = field(default_factory=dict)
    gaps: Mapping[int, Gap] = field(default_factory=dict)
    weights: Callable[[int], list[tuple[str, str, Tensor]]] = field(
        default_factory=lambda: lambda _: []
    )
    looped: bool = False
