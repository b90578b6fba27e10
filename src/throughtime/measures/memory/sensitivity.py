"""The input memory: how strongly the state still depends on the input of k steps ago.

``∂s_t/∂x_u = J_t ⋯ J_{u+1} ∂s_u/∂x_u``, pushed forward from many start times u at once: the
tangents of all of them are the rows of one tall product, as in the lag matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from throughtime.findings import Measurement
from throughtime.recurrences import Linearised
from throughtime.trace import LayerTrace

Floats = NDArray[np.float64]

QUANTILES = (0.1, 0.5, 0.9)
_SMALL, _LARGE = 1e-8, 1e8  # outside of it a tangent is brought back to 1
_EXACT, _PROBES = 16, 8
_ROWS, _FEWEST_STARTS, _MOST_STARTS = 256, 4, 32
_SEQUENCES = 16
_FLOOR = -8.0  # log10 of what no longer is followed, beside what it was at first
_FADED = -1e300  # stands for it from there on: smaller than all that was followed, and not nothing
_SEED = 0


def input_memory(
    layer: LayerTrace, features: int, longest: int | None, starts: int | None, probes: int | None
) -> Measurement:
    """Quantiles of log10 ‖∂s_t/∂x_{t−k}‖; see ``throughtime.measures.memory``."""
    linear, chosen = _some(layer)
    basis = directions(features, probes).to(layer.states.device, linear.dtype)
    if starts is None:
        room = _ROWS // max(1, len(basis) * len(chosen))
        starts = min(max(room, _FEWEST_STARTS), _MOST_STARTS)
    begins = sorted({int(u) for u in np.linspace(0, layer.steps, starts, endpoint=False)})
    sweep = _Tangents(linear, basis, begins, longest, _set_anew(layer, chosen))
    norms = sweep.swept(layer.states.shape[-1])
    norms += 0.5 * math.log10(max(1, features) / max(1, len(basis)))
    alive = layer.turned(layer.alive())[:, chosen].cpu()
    norms.masked_fill_(~(alive & alive[begins].unsqueeze(1)), torch.nan)
    samples = _by_lag(norms.numpy(), begins, longest)
    ways = "all" if len(basis) == features else f"{len(basis)} random directions of the"
    how = (
        f"log10 of the Frobenius norm of ∂s_t/∂x_(t−k): tangents pushed forward from {len(begins)} "
        f"start times in {len(chosen)} of {layer.batch} sequences, for {ways} {features} features "
        f"of the input; each followed down to 1e{_FLOOR:g} of what it was at first"
    )
    coords = {"quantile": QUANTILES, "lag": tuple(range(samples.shape[1]))}
    values = np.stack([_quantile(samples, q) for q in QUANTILES])
    return Measurement("input memory", values, ("quantile", "lag"), "log10", how, coords)


def directions(features: int, probes: int | None, seed: int = _SEED) -> Tensor:
    """Orthonormal directions of the input (P I): all of them, or P random ones.

    Random ones are spread evenly over all rotations: the sum of squares that they show, times I/P,
    is the squared Frobenius norm on average.
    """
    count = (features if features <= _EXACT else _PROBES) if probes is None else probes
    if count >= features:
        return torch.eye(features, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(features, count, generator=generator, dtype=torch.float64)
    frame: Tensor = torch.linalg.qr(drawn)[0].T
    return frame


@dataclass(eq=False)
class _Tangents:
    """A forward sweep from the start times ``begins``, the earliest first.

    ``anew`` (T B): the sequences whose state was set to another value before step t.
    """

    linear: Linearised
    basis: Float[Tensor, "P I"]
    begins: list[int]
    longest: int | None
    anew: Bool[Tensor, "T B"]

    @torch.no_grad()
    def swept(self, size: int) -> Float[Tensor, "U T B"]:
        """log10 norm of the tangents of each start at each step; NaN before it, and at the end."""
        steps, batch = self.anew.shape
        norms = torch.full((len(self.begins), steps, batch), torch.nan, dtype=torch.float64)
        exponents = torch.zeros(len(self.begins), batch, dtype=torch.float64)
        entering = self.basis[None, :, None].expand(1, -1, batch, -1).contiguous()
        nothing = entering.new_zeros(1, len(self.basis), batch, size)
        columns, first, begun = nothing[:0], 0, 0
        for t in range(steps):
            if len(columns):
                columns = self.linear.jvp(t, columns)
                if self.anew[t].any():
                    columns = columns * ~self.anew[t].to(columns.device).unsqueeze(-1)
            if begun < len(self.begins) and self.begins[begun] == t:
                columns = torch.cat([columns, self.linear.jvp(t, nothing, entering)])
                begun += 1
            norms[first:begun, t] = _log_norms(columns, exponents[first:begun])
            while first < begun and self._ends(norms[first], self.begins[first], t):
                columns, first = columns[1:], first + 1
        return norms

    def _ends(self, norms: Float[Tensor, "T B"], begin: int, t: int) -> bool:
        """Whether a start has gone as far as it should, or is faded, and is followed no more."""
        start, now = norms[begin], norms[t]
        faded = (now < start + _FLOOR) | start.isneginf()
        if bool(faded.all()):
            norms[t + 1 :] = torch.where(now.isneginf(), now, _FADED)
            return True
        return self.longest is not None and t - begin >= self.longest


def _log_norms(
    columns: Float[Tensor, "U P B S"], exponents: Float[Tensor, "U B"]
) -> Float[Tensor, "U B"]:
    """log10 of the norms over P and S; tangents that drifted away from 1 are brought back to it."""
    norms: Tensor = torch.linalg.vector_norm(columns, dim=(1, 3))
    if bool(((norms < _SMALL) | (norms > _LARGE)).any()):
        largest = columns.abs().amax((1, 3))
        largest = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
        columns /= largest[:, None, :, None]
        exponents += largest.double().log10().cpu()
        norms = torch.linalg.vector_norm(columns, dim=(1, 3))
    return norms.double().log10().cpu() + exponents


def _by_lag(norms: Floats, begins: list[int], longest: int | None) -> Floats:
    """(start and sequence, lag), NaN where a start does not see so far."""
    starts, steps, batch = norms.shape
    most = steps if longest is None else min(longest + 1, steps)
    found = np.full((starts, batch, most), np.nan)
    for row, u in enumerate(begins):
        seen = norms[row, u : u + most].T
        found[row, :, : seen.shape[1]] = seen
    return found.reshape(-1, most)


def _quantile(samples: Floats, q: float) -> Floats:
    """The q-quantile over axis 0, an actual sample (−inf is one), of those that are not NaN.

    NaN where that sample had faded and was followed no more.
    """
    if not len(samples):
        return np.full(samples.shape[1], np.nan)
    ordered = np.sort(samples, axis=0)
    count = (~np.isnan(ordered)).sum(0, keepdims=True)
    index = np.clip(np.round(q * (count - 1)).astype(int), 0, None)
    found: Floats = np.take_along_axis(ordered, index, axis=0)[0]
    found[found == _FADED] = np.nan
    return found


def _some(layer: LayerTrace) -> tuple[Linearised, list[int]]:
    """The recurrence of as many sequences as a quantile needs, and which of the batch they are."""
    every = list(range(layer.batch))
    if layer.batch <= _SEQUENCES:
        return layer.linear, every
    chosen = [int(b) for b in np.linspace(0, layer.batch, _SEQUENCES, endpoint=False)]
    some = layer.linear.take(chosen)
    return (layer.linear, every) if some is None else (some, chosen)


def _set_anew(layer: LayerTrace, chosen: list[int]) -> Bool[Tensor, "T B"]:
    """Where a state was detached and set to something else: no input from before it is left.

    A state that was detached and goes on (truncated backpropagation) stops the gradient alone.
    """
    states = layer.turned(layer.states)
    anew = torch.zeros(layer.steps, layer.batch, dtype=torch.bool)
    for t in layer.walls:
        state = layer.linear.read(t).get("state")
        if t and state is not None:
            before = states[t - 1]
            # Under autocast, what goes on is not the same to the last digit.
            jump = (state - before).abs().amax(-1) > 1e-2 * (1 + before.abs().amax(-1))
            anew[t] = jump.cpu()
    return anew[:, chosen]
