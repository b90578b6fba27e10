"""The linearisations of torch's recurrences with the gradients of their weights in closed form.

Where a state is swept back, ``unroll`` asks for these of all steps at once. With δa the adjoint of
what enters the gates: ``∂L/∂W_ih = Σ_t δa_t x_tᵀ``, ``∂L/∂W_hh = Σ_t δa_t h_{t−1}ᵀ``,
``∂L/∂x_t = W_ihᵀ δa_t``.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.coefficients import product
from throughtime.recurrences.elman import LinearisedElman
from throughtime.recurrences.gru import LinearisedGRU
from throughtime.recurrences.lstm import LinearisedLSTM
from throughtime.recurrences.products import linear


class ElmanGradients(LinearisedElman):
    """Of ``nn.RNN``."""

    def entering(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B G"]:
        """The adjoint of ``W_hh h`` at every step."""
        return rows * self._slope

    @torch.no_grad()
    def gradients(
        self,
        rows: Float[Tensor, "T B S"],
        inputs: Float[Tensor, "T B I"],
        names: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        entering = self.entering(rows)
        return _gradients(entering, inputs, self._weight_ih, names) | {
            "weight_hh": product(entering, self._before),
            "bias_hh": entering.sum((0, 1)),
        }


class GRUGradients(LinearisedGRU):
    """Of ``nn.GRU``: the reset gate stands before W_hn h, and not before W_in x."""

    def entering(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B G"]:
        """The adjoint of ``W_hh h`` at every step."""
        return (rows.unsqueeze(-2) * self._gates).flatten(-2)

    @torch.no_grad()
    def gradients(
        self,
        rows: Float[Tensor, "T B S"],
        inputs: Float[Tensor, "T B I"],
        names: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        recurrent = self.entering(rows)
        gates = recurrent[..., : 2 * rows.shape[-1]]
        driven = torch.cat([gates, rows * self._candidate], -1)
        return _gradients(driven, inputs, self._weight_ih, names) | {
            "weight_hh": product(recurrent, self._before),
            "bias_hh": recurrent.sum((0, 1)),
        }


class LSTMGradients(LinearisedLSTM):
    """Of ``nn.LSTM``; ``exposed`` is o ⊙ tanh(c'), what its projection reads, if there is one."""

    exposed: Tensor | None = None

    def entering(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B G"]:
        """The adjoint of ``W_hh h`` at every step."""
        parts = self._written, self._output, self._readout
        return self._pull_back(rows, *parts)[1].view(*rows.shape[:2], -1)

    @torch.no_grad()
    def gradients(
        self,
        rows: Float[Tensor, "T B S"],
        inputs: Float[Tensor, "T B I"],
        names: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        entering = self.entering(rows)
        found = _gradients(entering, inputs, self._cell.weight_ih, names) | {
            "weight_hh": product(entering, self._h),
            "bias_hh": entering.sum((0, 1)),
        }
        if self.exposed is not None:
            found["weight_hr"] = product(self._cell.split(rows)[0], self.exposed)
        return found


def _gradients(
    entering: Float[Tensor, "T B G"],
    inputs: Float[Tensor, "T B I"],
    weight_ih: Float[Tensor, "G I"],
    names: Collection[str] | None,
) -> dict[str, Tensor]:
    """Those of the inputs, if they are wanted, and of what reads them."""
    found = {"weight_ih": product(entering, inputs), "bias_ih": entering.sum((0, 1))}
    if names is None or "inputs" in names:
        found["inputs"] = linear(entering, weight_ih.T)
    return found
