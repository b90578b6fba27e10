"""The ledger of a backward sweep: which stage of each step took how much of the gradient.

The log-gain of a step telescopes over the stages that its adjoint passes through
(``Linearised.stages``), so that the parts add up to the whole for every cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from throughtime.recurrences import Linearised
from throughtime.sweeps.scaling import SMALL, log, log_norm, rescale


@dataclass(eq=False)
class Ledger:
    """What the loss at each anchor, alone, met on its way back.

    Attributes:
        gains: log10 gain of every stage, summed along each path (A B), by the stage's name.
        shares: by path (carousel, gates): ⟨part, δ⟩/‖δ‖², summed along each path (A B).
        steps: how many steps each path went (A B); walls, sequence starts and ``longest`` end it.
        died: it met an exact zero on its way, and was not counted from there on (A B).
    """

    steps: Float[Tensor, "A B"]
    died: Bool[Tensor, "A B"]
    gains: dict[str, Float[Tensor, "A B"]] = field(default_factory=dict)
    shares: dict[str, Float[Tensor, "A B"]] = field(default_factory=dict)


@torch.no_grad()
def ledger(
    linear: Linearised,
    sources: Float[Tensor, "A B S"],
    anchors: Sequence[int],
    walls: Sequence[int] = (),
    longest: int | None = None,
) -> Ledger:
    """Sweep back from every anchor at once, ``sources[a]`` the direct gradient at ``anchors[a]``.

    ``anchors`` come the latest first; ``longest``: how many steps to follow each, None for all.
    """
    zeros = torch.zeros(len(anchors), sources.shape[1], dtype=torch.float64)
    book = Ledger(zeros, zeros.bool())
    blocked, rows = frozenset(walls), sources[:0]
    first = begun = 0  # rows[0] is that of anchor ``first``; ``begun`` have begun so far
    for k in range(anchors[0] if anchors else 0, 0, -1):
        while begun < len(anchors) and anchors[begun] == k:
            rows = torch.cat([rows, sources[begun : begun + 1]])
            begun += 1
        while longest is not None and first < begun and anchors[first] - k >= longest:
            rows, first = rows[1:], first + 1
        if k in blocked:
            rows, first = rows[:0], begun
        if len(rows):
            rows = _step(book, linear, k, rows, slice(first, begun))
    return book


def _step(book: Ledger, linear: Linearised, k: int, rows: Tensor, active: slice) -> Tensor:
    """Book step k, and return the rows behind it."""
    vectors = linear.stages(k, rows)
    back = list(vectors.values())[-1]
    logs = _log_norms([rows, *vectors.values()])
    gains = logs.diff(dim=0)
    went = gains.isfinite().all(0)
    book.steps[active] += went
    book.died[active] |= logs[0].isfinite() & logs[-1].isneginf()
    for name, gain in zip(vectors, gains, strict=True):
        _add(book.gains, name, book.steps, active, torch.where(went, gain, 0.0))
    for name, part in linear.paths(k, rows, back).items():
        share = ((part * back).sum(-1).double() / back.double().square().sum(-1)).cpu()
        _add(book.shares, name, book.steps, active, torch.where(went, share, 0.0))
    back = back.clone()
    rescale(back, torch.zeros_like(logs[0]))
    return back


def _log_norms(vectors: Sequence[Tensor]) -> Float[Tensor, "N A B"]:
    """``log_norm`` of each, at once where none is so small that it needs float64."""
    norms = torch.stack([torch.linalg.vector_norm(vector, dim=-1) for vector in vectors])
    if bool((norms < SMALL).any()):
        return torch.stack([log_norm(vector) for vector in vectors])
    return log(norms)


def _add(sums: dict[str, Tensor], name: str, like: Tensor, active: slice, values: Tensor) -> None:
    sums.setdefault(name, torch.zeros_like(like))[active] += values
