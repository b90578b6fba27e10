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

from throughtime.recording.kernels import FUSED, Fused, One, Packed, Ran
from throughtime.recurrences import GRU, LSTM, Driven, Elman, Linearised
from throughtime.remedies.through_time.fused_gradients import (
    ElmanGradients,
    GRUGradients,
    LSTMGradients,
)


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
        return self.remember(driven, initial)[0]

    def run_kernel(self, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]) -> Ran:
        """What torch's kernel gives."""
        parts = tuple(initial[..., part].contiguous() for part in self.parts.values())
        given = (getattr(self, name) for name in self.names)
        ran: Ran = self.kernel.run(inputs, parts, [one for one in given if one is not None])
        return ran


class FusedRNN(Elman, ByKernel):
    """``nn.RNN``."""

    def __init__(self, *weights: Any, **settings: Any) -> None:
        weight_ih, weight_hh, bias_ih, bias_hh, _ = weights
        nonlinearity = settings["kernel"].what.nonlinearity
        super().__init__(weight_ih, weight_hh, _sum(bias_ih, bias_hh), nonlinearity)
        self._keep(weights, settings)
        self.bias = _sum(bias_ih, bias_hh)

    @torch.no_grad()
    def remember(
        self, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B S"], tuple[Tensor, ...]]:
        return self.run_kernel(inputs, initial).outputs, ()

    def _around(self, after: Tensor, before: Tensor) -> Linearised:
        if self.nonlinearity == "tanh":
            slope = torch.addcmul(after.new_ones(()), after, after, value=-1)
        else:
            slope = (after > 0).to(after.dtype)
        return ElmanGradients(self, slope, before)


class FusedGRU(GRU, ByKernel):
    """``nn.GRU``."""

    def __init__(self, *weights: Any, **settings: Any) -> None:
        super().__init__(*weights[:4])
        self._keep(weights, settings)

    @torch.no_grad()
    def remember(
        self, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B S"], tuple[Tensor, ...]]:
        """The gates of all steps, which follow from the states, are remembered."""
        states = self.run_kernel(inputs, initial).outputs
        return states, self._gates(before(states, initial), inputs)

    @torch.no_grad()
    def recall(
        self,
        inputs: Float[Tensor, "T B I"],
        states: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
        *remembered: Float[Tensor, "T ..."],
    ) -> Linearised:
        return GRUGradients(self, before(states, initial), *remembered)


class FusedLSTM(LSTM, ByKernel):
    """``nn.LSTM``, on its joint state (h, c)."""

    def __init__(self, *weights: Any, **settings: Any) -> None:
        weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
        super().__init__(weight_ih, weight_hh, _sum(bias_ih, bias_hh), weight_hr)
        self._keep(weights, settings)
        self.bias = _sum(bias_ih, bias_hh)

    @torch.no_grad()
    def remember(
        self, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B S"], tuple[Tensor, ...]]:
        """The kernel gives every h, and the last c: the gates follow, and from them every c."""
        ran = self.run_kernel(inputs, initial)
        states = torch.empty(*inputs.shape[:2], self.state_size).to(ran.outputs)
        h, c = self.split(states)
        h.copy_(ran.outputs)
        gates = self._gates(self.split(before(states, initial))[0], inputs)
        i, forget, g, _ = gates.unbind(-2)
        cell, cells = self.split(initial)[1], c.unbind(0)
        for t, (write, keep) in enumerate(zip((i * g).unbind(0), forget.unbind(0), strict=True)):
            cell = torch.addcmul(write, keep, cell, out=cells[t])
        packed, batch = self.kernel.packed, len(initial)
        lengths = (len(inputs),) * batch if packed is None else packed.lengths
        c[[length - 1 for length in lengths], range(batch)] = ran.final[1]
        return states, (gates,)

    @torch.no_grad()
    def recall(
        self,
        inputs: Float[Tensor, "T B I"],
        states: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
        *remembered: Float[Tensor, "T ..."],
    ) -> Linearised:
        h, c = self.split(before(states, initial))
        gates = remembered[0]
        squashed = torch.tanh(self.split(states)[1].contiguous())
        linear = LSTMGradients(self, gates.clone(), h, c, squashed)
        if self.weight_hr is not None:
            linear.exposed = gates[..., 3, :] * squashed
        return linear

    @torch.no_grad()
    def replay(
        self,
        inputs: Float[Tensor, "T B I"],
        outputs: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "T B S"], Linearised]:
        """From what ``unroll`` gives: whole states, c among them."""
        return outputs, self.linearise(before(outputs, initial), inputs)


def before(states: Float[Tensor, "T B S"], initial: Float[Tensor, "B S"]) -> Float[Tensor, "T B S"]:
    """The state that every step starts from."""
    return torch.cat([initial.unsqueeze(0), states[:-1]])


OF_TORCH: dict[str, type[ByKernel]] = {
    "RNN_TANH": FusedRNN,
    "RNN_RELU": FusedRNN,
    "LSTM": FusedLSTM,
    "GRU": FusedGRU,
}
"""By the name of the kernel."""


def _sum(bias_ih: Tensor | None, bias_hh: Tensor | None) -> Tensor | None:
    return None if bias_ih is None or bias_hh is None else bias_ih + bias_hh
