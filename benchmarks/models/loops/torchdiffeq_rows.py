"""torchdiffeq and torchcde: an ODE between observations, a controlled differential equation."""

from __future__ import annotations

import torch
import torchcde
from torch import Tensor, nn
from torchdiffeq import odeint

from benchmarks.models.loops import B, Build, Built, H, I, inputs, over


class ODERNN(nn.Module):
    """A flow from one observation to the next, and a cell at each."""

    def __init__(self) -> None:
        super().__init__()
        self.flow, self.cell = nn.Sequential(nn.Linear(H, H), nn.Tanh()), nn.GRUCell(I, H)

    def forward(self, x: Tensor) -> Tensor:
        state, out = torch.zeros(len(x), H), []
        span, settings = torch.tensor([0.0, 1.0]), {"step_size": 0.5}
        for step in x.unbind(1):
            state = odeint(self.slope, state, span, method="rk4", options=settings)[-1]
            state = self.cell(step, state)
            out.append(state)
        return torch.stack(out)

    def slope(self, _: Tensor, state: Tensor) -> Tensor:
        slope: Tensor = self.flow(state)
        return slope


class Field(nn.Module):
    """The vector field of a controlled differential equation."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(H, H * I)

    def forward(self, _: Tensor, state: Tensor) -> Tensor:
        field: Tensor = self.linear(state).tanh().view(B, H, I)
        return field


def _cde() -> Built:
    model = nn.ModuleList([Field(), nn.Linear(I, H)])

    def closure() -> Tensor:
        path = torchcde.CubicSpline(torchcde.natural_cubic_coeffs(inputs()))
        start = model[1](path.evaluate(0.0))
        settings = {"method": "rk4", "options": {"step_size": 1.0}, "adjoint": False}
        states: Tensor = torchcde.cdeint(path, model[0], start, path.interval, **settings)
        return states.square().mean()

    return model, closure


ROWS: dict[str, Build] = {"ODE-RNN, rk4": lambda: over(ODERNN()), "Neural CDE, rk4": _cde}
