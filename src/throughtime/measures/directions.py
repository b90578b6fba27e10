"""``directions``: how many directions of the state the loss asks for, and how many come back.

The norm of a gradient says nothing of its rank. After many steps any product of Jacobians leans
towards its leading direction: the gradient still arrives, but whatever was read so long ago can
move the weights in one way only. A state of fixed size is a bottleneck.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.errors import InputError
from throughtime.findings import Measurement
from throughtime.trace import LayerTrace, Trace, one_layer

_MOST = 16
_RESCALED_EVERY = 8  # steps: no product of so few Jacobians leaves the range of floating point


@torch.no_grad()
def directions(
    trace: Trace | LayerTrace, layer: str | int | None = None, *, lag: int
) -> Measurement:
    """Directions asked for by the loss, and those of them that are left ``lag`` steps back.

    The direct gradients e_t of all loss steps and sequences, each of norm 1, span the directions
    that are asked for; their principal ones (16 at most) are swept back from the last loss step
    of every sequence. Both are counted by the participation ratio ``(Σσ²)²/Σσ⁴``, which is n for
    n equal singular values.

    Returns:
        Axes (figure,), ``"asked"`` and ``"left"``, the latter the median over the sequences. NaN
        where the sequence is shorter than the lag, where no loss is, and where nothing comes back.

    Raises:
        InputError: for a lag below 0, an unknown layer, or several of which none was chosen.
    """
    one = one_layer(trace, layer, "directions are those")
    if lag < 0:
        raise InputError(f"lag must be at least 0, not {lag}")
    direct = one.turned(one.direct)
    steps = one.loss_steps()
    samples = direct[list(steps)].flatten(0, 1).double()
    norms = samples.norm(dim=-1, keepdim=True)
    samples = (samples / norms)[(norms.isfinite() & (norms > 0)).squeeze(-1)]
    asked = left = float("nan")
    if len(samples):
        asked = float(_participation(samples if len(samples) < samples.shape[1] else samples.mT))
        rows = _principal(samples).to(direct.dtype)
        sending = (direct[steps[-1]] != 0).any(-1)
        if steps[-1] >= lag:
            left = _median(_left(one, rows, steps[-1], lag)[sending.cpu()])
    how = f"participation ratio of the loss's gradients, and of what is left of them {lag} back"
    coords = {"figure": ("asked", "left")}
    return Measurement("directions", np.array([asked, left]), ("figure",), "count", how, coords)


def _principal(samples: Float[Tensor, "N S"]) -> Float[Tensor, "M S"]:
    """The principal directions, 16 at most, each as long as its singular value."""
    if len(samples) < samples.shape[1]:
        left: Tensor = torch.linalg.eigh(samples @ samples.mT)[1]  # U: Uᵀ samples = Σ Vᵀ
        return left[:, -_MOST:].mT @ samples
    squares, vectors = torch.linalg.eigh(samples.mT @ samples)
    rows: Tensor = (vectors * squares.clamp_min(0).sqrt()).mT
    return rows[-_MOST:]


def _left(
    layer: LayerTrace, rows: Float[Tensor, "N S"], start: int, lag: int
) -> Float[Tensor, " B"]:
    """The participation ratio, per sequence, of ``rows`` swept back from step ``start``."""
    swept = rows.unsqueeze(1).expand(-1, layer.batch, -1).contiguous()
    for t in range(start, start - lag, -1):
        if t in layer.walls:
            return torch.full((layer.batch,), torch.nan)
        swept = layer.linear.vjp(t, swept)
        if (start - t) % _RESCALED_EVERY == 0:
            # One factor for all rows of a sequence: they are to be compared with one another.
            largest = swept.abs().amax((0, 2), keepdim=True)
            swept = swept / torch.where(largest > 0, largest, torch.ones_like(largest))
    return _participation(swept.transpose(0, 1).double()).cpu()


def _participation(values: Float[Tensor, "... N S"]) -> Tensor:
    """(Σσ²)²/Σσ⁴ of the singular values, which the Gram matrix holds without a decomposition."""
    gram = values @ values.mT
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace.square() / gram.square().sum((-2, -1))


def _median(values: Tensor) -> float:
    values = values[values.isfinite()]
    return float(values.quantile(0.5)) if len(values) else float("nan")
