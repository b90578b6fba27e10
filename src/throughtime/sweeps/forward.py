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
        rounding: numerical error (B A), nats per step: of the block with the worst conditioning,
            measured against QR at each of its steps, and no less than its conditioning foretells.
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
    before: Float[Tensor, "A B S"]
    after: Float[Tensor, "A B S"]
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
    worst: tuple[float, _Block | None] = 0.0, None
    length = 1 if interval is None else interval
    while (start := bounds[-1]) < linear.steps:
        stop = min(start + length, next(end for end in ends if end > start))
        ignored = lost if alive is None else lost | ~alive[start].unsqueeze(-1)
        block = _push_within(linear, frame, start, stop, ignored, _ROUNDING / eps)
        if block.steps == 1:
            lost = lost | (block.spread * eps * _LOST * frame.shape[-1] >= 1)
        spread = _largest(block.spread, ignored | lost)
        if spread > worst[0]:
            worst = spread, block
        logs.append(block.grown.log().masked_fill_(lost & ~block.grown.isnan(), -torch.inf))
        bounds.append(block.stop)
        frame = block.after
        length = min(longest, _next_length(block.steps, spread, _ROUNDING / eps))
    return Growth(tuple(bounds), torch.stack(logs), _rounding(linear, worst[1], lost))


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
    return _Block(start, stop, frame, after, grown, spread)


def _largest(spread: Float[Tensor, "B A"], ignored: Bool[Tensor, "B A"]) -> float:
    return float(spread.masked_fill(ignored, 1.0).amax()) if spread.numel() else 1.0


def _next_length(steps: int, spread: float, allowed: float) -> int:
    """At most twice as long, and so long that the same spread per step stays within bounds."""
    longest = _MARGIN * math.log(allowed) * steps / max(math.log(spread), 1e-9)
    return max(1, min(2 * steps, int(longest)))


def _rounding(
    linear: Linearised, block: _Block | None, lost: Bool[Tensor, "B A"]
) -> Float[Tensor, "B A"]:
    if block is None:
        return torch.zeros(lost.shape, dtype=torch.float64, device=lost.device)
    frame, stepwise = block.before, torch.zeros_like(block.grown)
    for t in range(block.start, block.stop):
        step = _push(linear, frame, t, t + 1)
        frame, stepwise = step.after, stepwise + step.grown.log()
    foretold = torch.finfo(linear.dtype).eps * block.spread
    error = torch.maximum((stepwise - block.grown.log()).abs(), foretold) / block.steps
    return error.masked_fill_(lost, torch.nan)
