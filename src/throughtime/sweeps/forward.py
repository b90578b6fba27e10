"""Tangent sweeps over a linearised recurrence: forwards through time, with a frame of columns.

``Q_t R_t = J_t Q_{t−1}``: a frame Q of orthonormal columns is pushed through every step, and
log |R_ii| is what its i-th direction grew by (Benettin, Galgani, Giorgilli & Strelcyn 1980). J is
never built. The R of a product is the product of the R's, so that QR need not follow every step: it
comes as often as the conditioning asks for, and no block of steps is believed that was too long.

Every sweep runs in the order of computation (``LayerTrace.turned`` leads there).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from throughtime.recurrences import Linearised

# What rounding may take from log |R_ii| over one block of steps, as its conditioning foretells.
_ROUNDING = 1e-6
_LONGEST_BLOCK = 32
# Of the spread that is allowed, so much (in digits) is aimed at: few blocks have to be redone.
_MARGIN = 0.9
# What is left of a column after one step counts as zero below so many roundings for each unit.
_LOST = 4


@dataclass(frozen=True, eq=False)
class Growth:
    """By how much every direction of a frame grew, block of steps after block of steps.

    Attributes:
        bounds: the step at which each of the N blocks begins, and T.
        logs: log |R_ii| over each block (N B A), in nats; −inf from where a direction is lost for
            good (the product has lost rank), NaN from where J is not finite.
        rounding: a bound of the numerical error (B A), nats per step, of the mean over all steps:
            what rounding may take from every block, summed and divided by T. inf where nothing
            of log |R_ii| is known, NaN for a direction that is lost.
    """

    bounds: tuple[int, ...]
    logs: Float[Tensor, "N B A"]
    rounding: Float[Tensor, "B A"]


@dataclass(frozen=True, eq=False)
class _Block:
    """A frame's way through the steps ``start`` to ``stop``: the product J ⋯ J Q = Q' R.

    ``grown`` (B A): |R_ii|. ``spread`` (B A): by how much column i was longer than |R_ii|, which is
    what is left of it beside the columns before it: as many digits were lost. inf where it left the
    range of floating point.
    """

    start: int
    stop: int
    after: Float[Tensor, "A B S"]
    r: Float[Tensor, "B A A"]
    grown: Float[Tensor, "B A"]
    spread: Float[Tensor, "B A"]

    @property
    def steps(self) -> int:
        return self.stop - self.start


def random_frame(
    count: int, batch: int, size: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Float[Tensor, "A B S"]:
    """``count`` orthonormal columns, the same for every sequence, from a generator of its own.

    The first columns of a larger frame are those of a smaller one.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
    frame: Tensor = torch.linalg.qr(drawn[:, :count])[0].T
    return frame.unsqueeze(1).repeat(1, batch, 1).to(dtype)


@torch.no_grad()
def frame_growth(
    linear: Linearised,
    frame: Float[Tensor, "A B S"],
    *,
    cuts: Sequence[int] = (),
    interval: int | None = None,
    alive: Bool[Tensor, "T B"] | None = None,
) -> Growth:
    """Push a frame through all steps, and record the growth of each of its directions.

    A block of steps that loses too many digits is redone with half the length, and the next one is
    as long as the conditioning of this one allows.

    Args:
        linear: in float64, for anything but a single leading direction.
        frame: A ≤ S orthonormal columns for every sequence.
        cuts: steps at which a block must end, so that sums over time can begin or end there.
        interval: QR after so many steps at the latest; None for 32.
        alive: the steps that count, in the order of computation; the others steer no interval.
    """
    longest, eps = interval or _LONGEST_BLOCK, torch.finfo(linear.dtype).eps
    ends = sorted({*(cut for cut in cuts if 0 < cut < linear.steps), linear.steps})
    lost = torch.zeros(frame.shape[1::-1], dtype=torch.bool, device=frame.device)
    bounds, logs = [0], []
    rounding = torch.zeros(lost.shape, dtype=torch.float64, device=frame.device)
    tilted = rounding.new_zeros(*lost.shape, lost.shape[-1])
    length = 1 if interval is None else interval
    while (start := bounds[-1]) < linear.steps:
        stop = min(start + length, next(end for end in ends if end > start))
        ended = torch.zeros_like(lost) if alive is None else ~alive[start].unsqueeze(-1)
        ignored = lost | ended
        block = _push_within(linear, frame, start, stop, ignored, _ROUNDING / eps)
        if block.steps == 1:
            lost = lost | (block.spread * eps * _LOST * frame.shape[-1] >= 1)
        spread = _largest(block.spread, ignored | lost)
        taken, tilted = _rounding(block, tilted, frame.shape[-1], eps)
        rounding += taken.masked_fill_(ended, 0.0)
        logs.append(block.grown.log().masked_fill_(lost & ~block.grown.isnan(), -torch.inf))
        bounds.append(block.stop)
        frame = block.after
        length = min(longest, _next_length(block.steps, spread, _ROUNDING / eps))
    rounding = (rounding / max(linear.steps, 1)).masked_fill_(lost, torch.nan)
    return Growth(tuple(bounds), torch.stack(logs), rounding)


def _push_within(
    linear: Linearised,
    frame: Float[Tensor, "A B S"],
    start: int,
    stop: int,
    ignored: Bool[Tensor, "B A"],
    allowed: float,
) -> _Block:
    """Push the frame as far as ``stop``, or half of the way while that spreads it too much."""
    block = _push(linear, frame, start, stop)
    while block.steps > 1 and _largest(block.spread, ignored) > allowed:
        block = _push(linear, frame, start, start + block.steps // 2)
    return block


def _push(linear: Linearised, frame: Float[Tensor, "A B S"], start: int, stop: int) -> _Block:
    columns = frame
    for t in range(start, stop):
        columns = linear.jvp(t, columns)
    q, r = torch.linalg.qr(columns.permute(1, 2, 0).double())
    grown = r.diagonal(dim1=-2, dim2=-1).abs()
    # The largest entry for the norm, whose squares may not be representable.
    spread = (r.abs().amax(-2) / grown).nan_to_num_(torch.inf)
    after = q.permute(2, 0, 1).contiguous().to(frame.dtype)
    return _Block(start, stop, after, r, grown, spread)


def _largest(spread: Float[Tensor, "B A"], ignored: Bool[Tensor, "B A"]) -> float:
    return float(spread.masked_fill(ignored, 1.0).amax()) if spread.numel() else 1.0


def _next_length(steps: int, spread: float, allowed: float) -> int:
    """At most twice as long, and so long that the same spread per step stays within bounds."""
    longest = _MARGIN * math.log(allowed) * steps / max(math.log(spread), 1e-9)
    return max(1, min(2 * steps, int(longest)))


def _rounding(
    block: _Block, frame: Float[Tensor, "B A A"], size: int, eps: float
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A A"]]:
    """At most so much did rounding change log |R_ii| over one block, and the frame behind it.

    To first order an error δX of the columns X = QR changes log |R_ii| by ``[Qᵀ δX R⁻¹]_ii``, and
    the part of that matrix below its diagonal is the error of the new frame. Two things make it: a
    step rounds each column, in its product and in QR, by about √S eps / 2 of the longest one each
    (what an early step of the block rounded is magnified by the conditioning up to that step alone,
    so that the steps add up to a geometric series); and the error E of the ``frame`` at the start,
    which becomes ``R E R⁻¹``. It dies out as fast as the directions part, so that it is carried
    from block to block.
    """
    columns = block.r / block.r.abs().amax(
        (-2, -1), keepdim=True
    )  # their squares are representable
    one = torch.eye(columns.shape[-1], dtype=columns.dtype, device=columns.device)
    inverse = torch.linalg.solve_triangular(columns, one.expand_as(columns), upper=True).abs()
    series = (1 / (1 - block.spread ** (-1 / block.steps))).clamp(max=block.steps)
    rounded = math.sqrt(size) * eps * (series * inverse.sum(-2)).unsqueeze(-2)
    made = columns.abs() @ frame @ inverse + rounded
    made = made.nan_to_num_(torch.inf)
    taken = -torch.log1p(-made.diagonal(dim1=-2, dim2=-1))  # to first order no more: inf, or NaN
    return taken.nan_to_num_(torch.inf, torch.inf), made.clamp(max=1.0).tril(-1)
