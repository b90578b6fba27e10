"""SpikingJelly: neurons that keep their potential, called once a step."""

from __future__ import annotations

from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from benchmarks.models.loops import Build, Built, H, I, inputs


def _spiking(first: nn.Module, second: nn.Module) -> Built:
    model = nn.Sequential(nn.Linear(I, H), first, nn.Linear(H, 2), second)

    def closure() -> Tensor:
        functional.reset_net(model)
        steps = (4 * inputs()).unbind(1)
        rates = sum((model(step) for step in steps), 0.0) / len(steps)
        return (rates - 0.3).square().mean()

    return model, closure


ROWS: dict[str, Build] = {
    "LIF and IF": lambda: _spiking(neuron.LIFNode(), neuron.IFNode()),
    "PLIF and LIF": lambda: _spiking(neuron.ParametricLIFNode(), neuron.LIFNode()),
}
