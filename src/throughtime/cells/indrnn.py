"""``IndRNN``: every hidden unit remembers by itself (Li, Li, Cook, Zhu & Gao 2018)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from throughtime.cells.layer import RecurrentLayer, Shapes
from throughtime.recurrences import indrnn
from throughtime.typed import checked_span


class IndRNN(RecurrentLayer):
    """``h_t = ReLU(W x_t + b + u ⊙ h_{t−1})``; ``weight_hh_l0`` is the vector u (H).

    Units meet in the layer above alone: the paper stacks two or more of them.

    Args:
        args, kwargs: as ``RecurrentLayer``.
        span: how many steps the task asks for. u starts in U(0, 2^(1/span)), in the last layer in
            U(2^(−1/span), 2^(1/span)), which alone keeps what was read first (section 4.1).
            None: U(0, 1).

    Raises:
        InputError: a span below 1; else as ``RecurrentLayer``.
    """

    recurrence: ClassVar[type[indrnn.IndRNN]] = indrnn.IndRNN

    def __init__(self, *args: Any, span: int | None = None, **kwargs: Any) -> None:
        self.span = None if span is None else checked_span(span, "IndRNN")
        super().__init__(*args, **kwargs)

    def shapes(self, reads: int) -> Shapes:
        size = self.hidden_size
        return {"weight_ih": (size, reads), "weight_hh": (size,), "bias": (size,)}

    def initialise_(self, weights: dict[str, Tensor], layer: int) -> None:
        super().initialise_(weights, layer)
        bound = 1.0 if self.span is None else 2 ** (1 / self.span)
        last = self.span is not None and layer == self.num_layers - 1
        weights["weight_hh"].uniform_(1 / bound if last else 0.0, bound)
        if "bias" in weights:
            weights["bias"].zero_()

    @torch.no_grad()
    def constrain_(self, span: int) -> IndRNN:
        """Bring every u into |u| ≤ 2^(1/span), in place: over ``span`` steps no gain exceeds 2.

        Call it after each step of the optimizer (section 3.2 of the paper).
        """
        bound = 2 ** (1 / checked_span(span, "constrain_"))
        for name, weight in self.named_parameters(recurse=False):
            if name.startswith("weight_hh"):
                weight.clamp_(-bound, bound)
        return self
