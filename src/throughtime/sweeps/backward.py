"""Adjoint sweeps over a linearised recurrence: backwards through time, one step after another.

Every sweep runs in the order of computation (``LayerTrace.turned`` leads there), reads steps from
the last to the first, and treats a wall at t as J_t = 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences import Linearised
from throughtime.sweeps.scaling import LARGE, SMALL, log_norm, norm_of, rescale

_BLOCK_ROWS = 2048
_LOOK_EVERY = 4  # steps between two looks for what has fallen below the floor


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
    floor: float | None = None,
    longest: int | None = None,
) -> Float[Tensor, "P A T B"]:
    """log10 ‖∂L_t/∂s_k‖ for every anchor t and every k, many anchors in one reverse pass.

    Row a carries the adjoint of the loss at step ``anchors[a]`` alone, whose direct gradient is
    ``sources[a]``. At step k the rows of all anchors t ≥ k are one tall matrix, so that A sweeps
    become T growing matrix products. Float64, NaN where k > t, −inf where nothing came back.

    Rows are rescaled when one leaves [1e-8, 1e8], and their logarithm is carried: nothing
    underflows. Behind a wall the rows are zero for good, and end there. Anchors are taken in blocks
    of about two thousand rows: tall enough for a full-speed product, small enough to stay in the
    processor's cache, and a bound on the memory.

    Args:
        linear: the recurrence.
        sources: the direct gradient of every anchor.
        anchors: the steps t of the losses, in any order.
        parts: the parts of the state whose norms are wanted.
        walls: steps t with J_t = 0.
        floor: log10 of the gain ‖∂L_t/∂s_k‖ / ‖∂L_t/∂s_t‖ at which an anchor is given up, once all
            of its sequences, and all later anchors, are below. From there on its values are
            censored: they are the floor times its source, and read "at most so much"; what would
            have grown back is not seen.
            None follows every anchor to the first step.
        longest: how many steps back to follow every anchor, NaN beyond; None for all.
    """
    quickly = _quickly(linear, sources, anchors, parts, walls, floor)
    if quickly is not None:
        return _as_long(quickly, anchors, longest).transpose(0, 1).unsqueeze(0)
    shape = linear.steps, len(parts), len(anchors), sources.shape[1]
    norms = torch.full(shape, torch.nan, dtype=torch.float64)
    earliest_first = sorted(range(len(anchors)), key=lambda a: anchors[a])
    rows = sources[earliest_first]
    exponents = torch.zeros(rows.shape[:2], dtype=torch.float64)
    rescale(rows, exponents)
    at_source = exponents + log_norm(rows)
    times, blocked = [anchors[a] for a in earliest_first], frozenset(walls)
    sweep = _TallSweep(
        linear, rows, times, parts, blocked, floor, exponents, at_source, norms, longest
    )
    left = len(times) if sources.shape[1] else 0
    while left:
        left = sweep.block(left)
    in_given_order = sorted(range(len(anchors)), key=lambda row: earliest_first[row])
    in_order = in_given_order == list(range(len(anchors)))
    return (norms if in_order else norms[:, :, in_given_order]).permute(1, 2, 0, 3)


def _quickly(
    linear: Linearised,
    sources: Tensor,
    anchors: Sequence[int],
    parts: Sequence[slice],
    walls: Sequence[int],
    floor: float | None,
) -> Float[Tensor, "T A B"] | None:
    """The norms by the recurrence's own way, where it has one and nothing else is asked for."""
    whole = tuple(parts) == (slice(None),)
    if not whole or walls or floor is not None or not sources.numel():
        return None
    return linear.norms_by_lag(sources, anchors)


def _as_long(norms: Tensor, anchors: Sequence[int], longest: int | None) -> Tensor:
    """The same, with NaN further back than ``longest``."""
    if longest is not None:
        for a, t in enumerate(anchors):
            norms[: max(0, t - longest), a] = torch.nan
    return norms


@dataclass(eq=False)
class _TallSweep:
    """The sweep of ``lag_norms``: anchors the earliest first, the latest swept first.

    The rows of a block are those of consecutive anchors ``low … top − 1``: going back in time, new
    anchors join below, and those given up are the latest.
    """

    linear: Linearised
    sources: Float[Tensor, "A B S"]
    times: Sequence[int]
    parts: Sequence[slice]
    blocked: frozenset[int]
    floor: float | None
    exponents: Float[Tensor, "A B"]
    at_source: Float[Tensor, "A B"]
    norms: Float[Tensor, "T P A B"]
    longest: int | None = None
    unsettled: int = 0
    """Below this step, down to the current one, ``norms`` holds what has yet to be made a log10."""

    def block(self, top: int) -> int:
        """Sweep the latest anchors before ``top``, as many as fit; return how many are left."""
        most = max(1, _BLOCK_ROWS // self.sources.shape[1])
        low, rows, full = top, self.sources[top:top], False
        self.unsettled = self.times[top - 1] + 1
        for k in range(self.times[top - 1], -1, -1):
            joining = low if full else bisect_left(self.times, k, 0, low)
            if joining < low:
                fitting = max(joining, top - most)
                rows = torch.cat([self.sources[fitting:low], rows])
                low, full = fitting, fitting > joining
            norm = self._record(k, rows, low, top)
            if k in self.blocked or not k:
                self._settle(k, low, top)
                self.norms[:k, :, low:top] = -torch.inf
                break
            if self.floor is not None and not k % _LOOK_EVERY:
                top = self._give_up(k, norm, low, top, self.floor)
            if self.longest is not None and self.times[top - 1] - k >= self.longest:
                self._settle(k, low, top)
                top -= 1
            if low == top:
                break
            rows = self.linear.vjp(k, rows[: top - low]).contiguous()
        return low

    def _record(self, k: int, rows: Tensor, low: int, top: int) -> Tensor:
        """Note the norms at step k, and bring the rows back into the range if one has left it."""
        norm: Tensor = torch.linalg.vector_norm(rows, dim=-1)
        smallest, largest = map(float, norm.aminmax())
        if not (smallest >= SMALL and largest <= LARGE):  # also where one is NaN
            self._settle(k + 1, low, top)
            rescale(rows, self.exponents[low:top])
            norm = torch.linalg.vector_norm(rows, dim=-1)
        noted = self.norms[k]
        for p, part in enumerate(self.parts):
            noted[p, low:top] = norm if part == slice(None) else norm_of(rows[..., part])
        return norm

    def _settle(self, k: int, low: int, top: int) -> None:
        """Make logarithms of the norms noted since the last time, steps k and later, at once."""
        noted = self.norms[k : self.unsettled, :, low:top]
        noted.log10_().add_(self.exponents[low:top])
        self.unsettled = k

    def _give_up(self, k: int, norm: Tensor, low: int, top: int, floor: float) -> int:
        """Where the anchors end, without the latest ones whose gain is below the floor for good."""
        self._settle(k, low, top)
        start = self.at_source[low:top]
        gain = self.exponents[low:top] + norm.double().log10().cpu() - start
        gone = (gain < floor) | start.isneginf()
        alive = (~gone).any(-1).nonzero()
        end = low + (int(alive[-1]) + 1 if len(alive) else 0)
        self.norms[:k, :, end:top] = self.at_source[end:top] + floor
        return end
