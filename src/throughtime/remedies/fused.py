"""torch's fused layers as recurrences that ``unroll`` runs: forwards by torch's own kernel.

What a remedy changes lies in the backward pass, where ``unroll`` has the adjoint sweep in Python,
step by step. The forward pass needs no change, and stays the kernel's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.capture.kernels import FUSED, Fused, One, Packed, Ran
from throughtime.recurrences import GRU, LSTM, Driven, Elman, Linearised


class Held(float):
    """An object among the settings of a recurrence, which are numbers to everyone else."""

    what: Any

    @classmethod
    def of(cls, what: Any) -> Held:
        """That carries ``what``."""
        held = cls()
        held.what = what
        return held


@dataclass(frozen=True)
class Kernel:
    """One of torch's kernels, for one layer in one direction."""

    fused: Fused
    packed: Packed | None

    @classmethod
    def of(cls, fused: Fused, packed: Packed | None) -> Kernel:
        """The kernel of a call of torch's, without the tensors of that call."""
        nothing = fused.inputs.new_empty(0)
        return cls(replace(fused, inputs=nothing, states=(), weights=()), packed)

    @property
    def nonlinearity(self) -> str:
        """Of an Elman recurrence."""
        return FUSED[self.fused.function].removeprefix("RNN_").lower()

    def run(
        self, inputs: Float[Tensor, "T B I"], initial: tuple[Tensor, ...], weights: list[Tensor]
    ) -> Ran:
        """Its outputs (T B P), zero past the end of a sequence, and the final state by part."""
        rows = inputs if self.packed is None else inputs[self.packed.mask]
        one = One(0, False, rows, self.packed, initial, tuple(weights), None)
        ran = self.fused.run_one(one)
        outputs = ran.outputs if self.packed is None else self.packed.pad(ran.outputs)
        return Ran(outputs, tuple(part[0] for part in ran.final))


class ByKernel(Driven):
    """What the three have in common; a setting, ``kernel``, says which kernel runs."""

    names: ClassVar[tuple[str, ...]] = (
        "weight_ih",
        "weight_hh",
        "bias_ih",
        "bias_hh",
        "weight_hr",
    )

    def _keep(self, weights: tuple[Tensor | None, ...], settings: dict[str, Any]) -> None:
        """The weights as they were given, through which a gradient can be taken."""
        self.settings, self.kernel = settings, settings["kernel"].what
        for name, weight in zip(self.names, weights, strict=True):
            setattr(self, name, weight)

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... I"]:
        """The input itself: torch's kernel reads it."""
        return x

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... I"]
    ) -> Float[Tensor, "... S"]:
        return self.step(state, driven)

    @torch.no_grad()
    def run(
        self, driven: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        parts = tuple(initial[..., part].contiguous() for part in self.parts.values())
        given = (getattr(self, name) for name in self.names)
        weights = [weight for weight in given if weight is not None]
        return self.states(self.kernel.run(driven, parts, weights), driven, initial)

    def states(
        self, ran: Ran, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        """All states of a run."""
        return ran.outputs

    def recall(
        self,
        inputs: Float[Tensor, "T B I"],
        states: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
        *remembered: Float[Tensor, "T ..."],
    ) -> Linearised:
        return self.linearise(torch.cat([initial.unsqueeze(0), states[:-1]]), inputs)


class FusedRNN(Elman, ByKernel):
    """``nn.RNN``."""

    def __init__(self, *weights: Any, **settings: Any) -> None:
        weight_ih, weight_hh, bias_ih, bias_hh, _ = weights
        super().__init__(
            weight_ih, weight_hh, _sum(bias_ih, bias_hh), settings["kernel"].what.nonlinearity
        )
        self._keep(weights, settings)
        self.bias = _sum(bias_ih, bias_hh)

    def recall(
        self,
        inputs: Float[Tensor, "T B I"],
        states: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
        *remembered: Float[Tensor, "T ..."],
    ) -> Linearised:
        """From the states alone: the slope of φ is a function of what φ gave."""
        return self.replay(inputs, states, initial)[1]


class FusedGRU(GRU, ByKernel):
    """``nn.GRU``."""

    def __init__(self, *weights: Any, **settings: Any) -> None:
        super().__init__(*weights[:4])
        self._keep(weights, settings)


class FusedLSTM(LSTM, ByKernel):
    """``nn.LSTM``, on its joint state (h, c)."""

    def __init__(self, *weights: Any, **settings: Any) -> None:
        weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
        super().__init__(weight_ih, weight_hh, _sum(bias_ih, bias_hh), weight_hr)
        self._keep(weights, settings)
        self.bias = _sum(bias_ih, bias_hh)

    def states(
        self, ran: Ran, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        """The kernel gives every h, and the last c; every c follows from these."""
        states, _ = super().replay(inputs, ran.outputs, initial)
        packed = self.kernel.packed
        ends = (
            [len(inputs) - 1] * len(initial) if packed is None else [n - 1 for n in packed.lengths]
        )
        states[ends, range(len(ends)), self.parts["c"]] = ran.final[1]
        return states

    def replay(
        self,
        inputs: Float[Tensor, "T B I"],
        outputs: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "T B S"], Linearised]:
        """From what ``unroll`` gives: whole states, c among them."""
        return outputs, self.recall(inputs, outputs, initial)


OF_TORCH: dict[str, type[ByKernel]] = {
    "RNN_TANH": FusedRNN,
    "RNN_RELU": FusedRNN,
    "LSTM": FusedLSTM,
    "GRU": FusedGRU,
}
"""By the name of the kernel."""


def _sum(bias_ih: Tensor | None, bias_hh: Tensor | None) -> Tensor | None:
    return None if bias_ih is None or bias_hh is None else bias_ih + bias_hh
