"""``Joint``: layers that read one another, measured as one recurrence on their joint state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Joint:
    """What the loss at one time alone sends to all states of several layers at every time.

    Attributes:
        names: of the layers, in the order in which they ran.
        anchors: the times of the losses that were followed.
        norms: log10 of the norm over the states of all layers (anchor, time, batch); NaN where no
            layer has a state, where the loss sends nothing at its time, or past that time.
        both_ways: a layer reads its sequence from the end, or ahead of its time; a lag is a
            distance, to either side, and a route counts also where it comes past the same time
            more than once.
        difference: relative, of what arrives at all states by these steps from what autograd sent.
        far: the same, of one gradient sent the whole way in one go; None where none was.
        compared: how many steps back that one was sent.
        one_sequence: the sequences of the batch are mixed, and measured as one.
    """

    names: tuple[str, ...]
    anchors: tuple[int, ...]
    norms: Float[NDArray[np.float64], "A T B"]
    both_ways: bool = False
    difference: float | None = None
    far: float | None = None
    compared: int = 0
    one_sequence: bool = False

    @property
    def steps(self) -> int:
        """How many times there are."""
        return int(self.norms.shape[1])
