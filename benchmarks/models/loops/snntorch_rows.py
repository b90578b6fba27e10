"""snnTorch: spiking neurons in the loop that its tutorials write."""

from __future__ import annotations

from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from benchmarks.models.loops import Build, H, I, over


class Spiking(nn.Module):
    """A linear layer and a neuron, which hands its states to its own next call."""

    def __init__(self, neuron: nn.Module, initial: str) -> None:
        super().__init__()
        self.linear, self.neuron, self.initial = nn.Linear(I, H), neuron, initial

    def forward(self, x: Tensor) -> Tensor:
        first = getattr(self.neuron, self.initial)()
        states: tuple[Any, ...] = first if isinstance(first, tuple) else (first,)
        given, recurrent = list(states), self.initial.startswith("init_r")
        out = []
        for step in x.unbind(1):
            spikes, *rest = self.neuron(3 * self.linear(step), *given)
            given = [spikes, *rest] if recurrent else rest
            out.append(rest[-1])
        return torch.stack(out)


ROWS: dict[str, Build] = {
    "Leaky": lambda: over(Spiking(snntorch.Leaky(0.9), "init_leaky")),
    "Synaptic": lambda: over(Spiking(snntorch.Synaptic(0.9, 0.8), "init_synaptic")),
    "RLeaky": lambda: over(Spiking(snntorch.RLeaky(0.9, linear_features=H), "init_rleaky")),
    "RSynaptic": lambda: over(
        Spiking(snntorch.RSynaptic(0.9, 0.8, linear_features=H), "init_rsynaptic")
    ),
}
