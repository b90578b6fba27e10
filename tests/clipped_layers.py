"""Layers to clip inside the recurrence, and the gradients that they then have."""

from __future__ import annotations

import torch
from cases import Case, fill, inputs_of, loss_of
from torch import Tensor, nn

from throughtime.cells import make_cell

# torch says so, once, with and without clipping.
PROJECTIONS = "ignore:LSTM with projections is not supported with oneDNN"

EXACT = {"rtol": 1e-10, "atol": 1e-12}
T, B, I, H = 6, 3, 3, 4


def run_once(case: Case, model: nn.Module) -> list[Tensor]:
    """One seeded forward and backward pass: outputs and final state."""
    with torch.random.fork_rng():
        torch.manual_seed(20)
        outputs, final = model(inputs_of(case))
        loss_of(case, outputs, final).backward()
    return [outputs.detach(), *(part.detach() for part in final)]


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def ours(name: str, **settings: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return make_cell(name, I, H, **settings).double()


def lstm(dtype: torch.dtype = torch.float64, **settings: object) -> nn.LSTM:
    return fill(nn.LSTM(I, H, **settings).to(dtype), scale=2)
