"""Products of explicit Jacobians (T B S S), and what is read off them: logarithms, mostly.

A figure of many sequences is their median; axes T time, B batch, S joint state.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FOLLOWED = 4  # tangent vectors, of which the largest exponent is read off


def gains(jacobians: Tensor, sources: Tensor, span: int) -> np.ndarray:
    """g_0 … g_span: each source e_t goes back alone; the median over all t >= k, and sequences.

    A vector is kept near 1 and the logarithm of its norm carried; −inf is an exact zero.
    """
    steps, first = len(sources), int(loss_steps(sources)[0])
    size = sources[first:].norm(dim=-1)
    rows, logs = sources[first:] / size.unsqueeze(-1), torch.zeros_like(size)
    found = [0.0]
    for lag in range(1, span + 1):
        # From s_{t−lag+1} to s_{t−lag}, for every loss step t that has so many steps before it.
        reach = max(first, lag)
        rows, logs = rows[reach - steps :], logs[reach - steps :]
        passed = jacobians[reach - lag + 1 : steps - lag + 1]
        rows = (rows.unsqueeze(-2) @ passed).squeeze(-2)
        norms = rows.norm(dim=-1)
        logs = logs + norms.log10()
        rows = rows / norms.clamp_min(torch.finfo(rows.dtype).tiny).unsqueeze(-1)
        found.append(float(np.median(logs[~logs.isnan()].numpy())))
    return np.array(found)


def multiplied(jacobians: Tensor) -> tuple[Tensor, Tensor]:
    """The product of J_t (K B S S), latest on the left: (B S S), over 10 to a scale (B)."""
    product, exponent = jacobians[0], jacobians.new_zeros(jacobians.shape[1])
    for jacobian in jacobians[1:]:
        scale = _largest(product)
        product, exponent = jacobian @ (product / scale[:, None, None]), exponent + scale.log10()
    scale = _largest(product)
    return product / scale[:, None, None], exponent + scale.log10()


def directions(sources: Tensor, product: Tensor) -> tuple[float, float]:
    """How many the loss asks for, and how many come back through P (B S S): the median sequence.

    NaN where nothing comes back.
    """
    rows = sources.flatten(0, 1)
    rows = rows[(rows != 0).any(-1)]
    rows = rows / rows.norm(dim=-1, keepdim=True)
    triangle = torch.linalg.qr(rows, mode="r")[1]  # the same singular values, and fewer rows
    back = participation(triangle @ product)
    return float(participation(triangle)), float(np.median(back.numpy()))


def participation(matrix: Tensor) -> Tensor:
    """(Σσ²)²/Σσ⁴ of the singular values (… N S): how many are about as large as the largest."""
    squares = torch.linalg.svdvals(matrix).square()
    return squares.sum(-1).square() / squares.square().sum(-1)


def largest_exponent(jacobians: Tensor, burn_in: int) -> float:
    """Nats per step: QR at every step, the mean over the steps after the burn-in."""
    steps, batch, size, _ = jacobians.shape
    start = torch.Generator().manual_seed(0)
    width = min(FOLLOWED, size)
    frame = torch.randn(batch, size, width, dtype=jacobians.dtype, generator=start)
    frame, total = torch.linalg.qr(frame)[0], jacobians.new_zeros(batch, width)
    for t, jacobian in enumerate(jacobians):
        frame, upper = torch.linalg.qr(jacobian @ frame)
        if t >= burn_in:
            total += upper.diagonal(dim1=-2, dim2=-1).abs().log()
    return float((total / (steps - burn_in)).amax(-1).mean())


def growth(states: Tensor, burn_in: int) -> float:
    """Decades per step: the slope of log10 ‖s_t‖ after the burn-in, the mean over sequences."""
    norms = states[burn_in:].norm(dim=-1).log10().numpy()
    return float(np.polyfit(np.arange(len(norms)), norms, 1)[0].mean())


def loss_steps(sources: Tensor) -> Tensor:
    """The steps t at which the loss sends anything into the state."""
    return (sources != 0).flatten(1).any(1).nonzero().flatten()


def _largest(product: Tensor) -> Tensor:
    return product.abs().amax((1, 2)).clamp_min(torch.finfo(product.dtype).tiny)
