"""The linearisations of torch's recurrences with the gradients of their weights in closed form.

Where a state is swept back, ``unroll`` asks for these of all steps at once. With δa the adjoint of
what enters the gates: ``∂L/∂W_ih = Σ_t δa_t x_tᵀ``, ``∂L/∂W_hh = Σ_t δa_t h_{t−1}ᵀ``,
``∂L/∂x_t = W_ihᵀ δa_t``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import Linearised
from throughtime.recurrences.coefficients import product
from throughtime.recurrences.elman import LinearisedElman
from throughtime.recurrences.gru import LinearisedGRU
from throughtime.recurrences.lstm import LinearisedLSTM
from throughtime.recurrences.products import linear


class OfKernel(Linearised):
    """A linearisation whose weights, with two biases, are those of one of torch's kernels."""

    @abstractmethod
    def reads(self) -> tuple[Float[Tensor, "G I"], Float[Tensor, "T B H"]]:
        """W_ih, and the h that W_hh reads at every step."""

    @abstractmethod
    def entering(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B G"]:
        """The adjoint of ``W_hh h`` at every step."""

    def driven(
        self, rows: Float[Tensor, "T B S"], entering: Float[Tensor, "T B G"]
    ) -> Float[Tensor, "T B G"]:
        """The adjoint of ``W_ih x`` at every step: that of ``W_hh h``, if no gate is between."""
        return entering

    @torch.no_grad()
    def gradients(
        self,
        rows: Float[Tensor, "T B S"],
        inputs: Float[Tensor, "T B I"],
        names: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        weight_ih, h = self.reads()
        entering = self.entering(rows)
        driven = self.driven(rows, entering)
        found = {
            "weight_ih": product(driven, inputs),
            "bias_ih": driven.sum((0, 1)),
            "weight_hh": product(entering, h),
            "bias_hh": entering.sum((0, 1)),
        }
        if names is None or "inputs" in names:
            found["inputs"] = linear(driven, weight_ih.T)
        return found


class ElmanGradients(OfKernel, LinearisedElman):
    """Of ``nn.RNN``."""

    def reads(self) -> tuple[Float[Tensor, "G I"], Float[Tensor, "T B H"]]:
        return self._weight_ih, self._before

    def entering(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B G"]:
        return rows * self._slope


class GRUGradients(OfKernel, LinearisedGRU):
    """Of ``nn.GRU``: the reset gate stands before W_hn h, and not before W_in x."""

    def reads(self) -> tuple[Float[Tensor, "G I"], Float[Tensor, "T B H"]]:
        return self._weight_ih, self._before

    def entering(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B G"]:
        return (rows.unsqueeze(-2) * self._gates).flatten(-2)

    def driven(
        self, rows: Float[Tensor, "T B S"], entering: Float[Tensor, "T B G"]
    ) -> Float[Tensor, "T B G"]:
        gates = entering[..., : 2 * rows.shape[-1]]
        return torch.cat([gates, rows * self._candidate], -1)


class LSTMGradients(OfKernel, LinearisedLSTM):
    """Of ``nn.LSTM``; ``exposed`` is o ⊙ tanh(c'), what its projection reads, if there is one."""

    exposed: Tensor | None = None

    def reads(self) -> tuple[Float[Tensor, "G I"], Float[Tensor, "T B H"]]:
        return self._cell.weight_ih, self._h

    def entering(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B G"]:
        parts = self._written, self._output, self._readout
        return self._pull_back(rows, *parts)[1].view(*rows.shape[:2], -1)

    @torch.no_grad()
    def gradients(
        self,
        rows: Float[Tensor, "T B S"],
        inputs: Float[Tensor, "T B I"],
        names: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        found = super().gradients(rows, inputs, names)
        if self.exposed is not None:
            found["weight_hr"] = product(self._cell.split(rows)[0], self.exposed)
        return found
