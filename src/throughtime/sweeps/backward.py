"""Adjoint sweeps over a linearised recurrence: backwards through time, one step after another.

Every sweep runs in the order of computation (``LayerTrace.turned`` leads there), reads steps from
the last to the first, and treats a wall at t as J_t = 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences import Linearised
from throughtime.sweeps.scaling import LARGE, SMALL, log, log_norm, rescale

_BLOCK_ROWS = 2048


@torch.no_grad()
def adjoint(
    linear: Linearised, direct: Float[Tensor, "T B S"], walls: Sequence[int] = ()
) -> Float[Tensor, "T B S"]:
    """Total gradients δ_t of every step, from the direct ones. Cost linear in T."""
    return linear.adjoint(direct, frozenset(walls))


@torch.no_grad()
def adjoint_log_norms(
    linear: Linearised,
    direct: Float[Tensor, "T B S"],
    parts: Sequence[slice] = (slice(None),),
    walls: Sequence[int] = (),
) -> Float[Tensor, "P T B"]:
    """log10 of the norm of every total gradient, also where the gradient itself underflows.

    The sweep of ``adjoint``, with each sequence's exponent carried beside its row: a direct
    gradient joins at the larger exponent of the two. Float64 on the CPU; −inf for an exact zero.
    """
    steps, batch, _ = direct.shape
    norms = torch.full((len(parts), steps, batch), -torch.inf, dtype=torch.float64)
    row, exponent = torch.zeros_like(direct[:1]), torch.zeros(1, batch, dtype=torch.float64)
    blocked = frozenset(walls)
    for t in range(steps - 1, -1, -1):
        joining, its_exponent = direct[t : t + 1].clone(), torch.zeros_like(exponent)
        rescale(joining, its_exponent)
        row, exponent = _add(row, exponent, joining, its_exponent)
        rescale(row, exponent)
        for p, part in enumerate(parts):
            norms[p, t] = (exponent + log_norm(row[..., part]))[0]
        row = torch.zeros_like(row) if t in blocked or not t else linear.vjp(t, row)
    return norms


def _add(a: Tensor, a_exponent: Tensor, b: Tensor, b_exponent: Tensor) -> tuple[Tensor, Tensor]:
    """a · 10^a_exponent + b · 10^b_exponent, at the larger exponent of what is not zero."""
    nothing = torch.full_like(a_exponent, -torch.inf)
    a_exponent = torch.where((a != 0).any(-1).cpu(), a_exponent, nothing)
    b_exponent = torch.where((b != 0).any(-1).cpu(), b_exponent, nothing)
    larger = torch.maximum(a_exponent, b_exponent)
    larger = torch.where(larger.isfinite(), larger, torch.zeros_like(larger))
    a_scale, b_scale = ((10 ** (e - larger)).to(a) for e in (a_exponent, b_exponent))
    return a * a_scale.unsqueeze(-1) + b * b_scale.unsqueeze(-1), larger


@torch.no_grad()
def lag_norms(
    linear: Linearised,
    sources: Float[Tensor, "A B S"],
    anchors: Sequence[int],
    parts: Sequence[slice] = (slice(None),),
    walls: Sequence[int] = (),
) -> Float[Tensor, "P A T B"]:
    """log10 ‖∂L_t/∂s_k‖ for every anchor t and every k, many anchors in one reverse pass.

    Row a carries the adjoint of the loss at step ``anchors[a]`` alone, whose direct gradient is
    ``sources[a]``. At step k the rows of all anchors t ≥ k are one tall matrix, so that A sweeps
    become T growing matrix products. Float64, NaN where k > t, −inf where nothing came back.

    A row is rescaled when it leaves [1e-8, 1e8], and its logarithm is carried: nothing underflows.
    Behind a wall the rows are zero for good, and are left out of the products. Anchors are taken
    in blocks of about two thousand rows: tall enough for a full-speed product, small enough for the
    processor's cache, and a bound on the memory.
    """
    shape = len(parts), len(anchors), linear.steps, sources.shape[1]
    norms = torch.full(shape, torch.nan, dtype=torch.float64)
    latest_first = sorted(range(len(anchors)), key=lambda a: -anchors[a])
    block = max(1, _BLOCK_ROWS // max(1, sources.shape[1]))
    for start in range(0, len(latest_first), block):
        chosen = latest_first[start : start + block]
        _sweep_block(linear, sources, anchors, chosen, parts, frozenset(walls), norms)
    return norms


def _sweep_block(
    linear: Linearised,
    sources: Float[Tensor, "A B S"],
    anchors: Sequence[int],
    chosen: Sequence[int],
    parts: Sequence[slice],
    blocked: frozenset[int],
    norms: Float[Tensor, "P A T B"],
) -> None:
    """One reverse pass of the ``chosen`` anchors, the latest first, written into ``norms``."""
    count, batch = len(chosen), sources.shape[1]
    buffers = [sources.new_empty(count, batch, sources.shape[2]) for _ in range(2)]
    exponents = torch.zeros(count, batch, dtype=torch.float64)
    found = torch.full(
        (anchors[chosen[0]] + 1, len(parts), count, batch), -torch.inf, dtype=torch.float64
    )
    begun, first = 0, 0  # rows begun so far, and the first of them not yet behind a wall
    for k in range(anchors[chosen[0]], -1, -1):
        while begun < count and anchors[chosen[begun]] == k:
            buffers[0][begun] = sources[chosen[begun]]
            begun += 1
        if first == begun:
            continue
        values, exponent = buffers[0][first:begun], exponents[first:begun]
        whole = _norm_in_range(values, exponent)
        for p, part in enumerate(parts):
            logs = log(whole) if part == slice(None) else log_norm(values[..., part])
            found[k, p, first:begun] = exponent + logs
        if k in blocked:
            first = begun
        elif k:
            linear.vjp(k, values, out=buffers[1][first:begun])
            buffers.reverse()
    for row, a in enumerate(chosen):
        norms[:, a, : anchors[a] + 1] = found[: anchors[a] + 1, :, row].transpose(0, 1)


def _norm_in_range(values: Float[Tensor, "A B S"], exponent: Float[Tensor, "A B"]) -> Tensor:
    """The norms of the rows, which are rescaled in place if one has left the range."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    if bool(((norm < SMALL) | (norm > LARGE)).any()):
        rescale(values, exponent)
        norm = torch.linalg.vector_norm(values, dim=-1)
    return norm
