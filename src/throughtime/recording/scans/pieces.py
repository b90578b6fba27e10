"""Norms of adjoints by lag in about 2 √T steps of Python, where a step is so small that they count.

Time is cut at every anchor, and between them where a piece would be long. The products of the
Jacobians from the end of each piece back to each of its steps are made for all pieces side by side;
then the rows of all anchors go from piece to piece, and meet all steps of one at once.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.scans.form import Steps

# Numbers of one step's product, above which a step is no small one; and of all that are held.
_MOST, _HELD = 2**13, 2**21
# Norms whose squares are far inside float64; what is beyond is swept step by step.
_SMALL, _LARGE = 1e-140, 1e140

Piece = tuple[int, int]


def is_small(one: Steps) -> bool:
    """Whether products of steps like this one are made, and not each row swept by itself.

    What the first step keeps is asked for by no lag.
    """
    used = one.decay[1:] if len(one.decay) > 1 else one.decay
    if bool((used == 0).any()) or not bool(used.isfinite().all()):
        return False
    if one.left is None:
        return one.decay[0].numel() <= _MOST
    return one.decay.shape[-1] == 1 and one.left[0].numel() * one.left.shape[-1] <= _MOST


@torch.no_grad()
def norms_by_lag(
    steps: Steps, sources: Float[Tensor, "A B H K V"], anchors: Sequence[int]
) -> Float[Tensor, "T A B"] | None:
    """log10 ‖∂L_t/∂s_k‖, as ``sweeps.lag_norms`` has it; None where a product leaves its range.

    Args:
        steps: all steps of the run, in float64.
        sources: the direct gradient of every anchor.
        anchors: the steps of the losses.
    """
    order = sorted(range(len(anchors)), key=lambda place: anchors[place])
    times, sent = [anchors[place] for place in order], sources[order].double()
    norms = sent.new_full((len(steps.value), *sent.shape[:2]), torch.nan)
    rows, exponents = torch.zeros_like(sent), sent.new_zeros(sent.shape[:2])
    nothing = ~(sent != 0).flatten(2).any(-1)
    low, silent = len(times), bool(nothing.any())
    for (first, last), products in _products(steps, _pieces(len(steps.value), times)):
        joining = bisect_left(times, last, 0, low)
        rows[joining:low], low = sent[joining:low], joining
        swept = _applied(products[: last - first + 1], rows[low:], steps.left is not None)
        norm = torch.linalg.vector_norm(swept.flatten(-3), dim=-1)
        if silent:
            norm.masked_fill_(nothing[low:], 1.0)
        smallest, largest = map(float, norm.aminmax())
        if not (smallest > _SMALL and largest < _LARGE):  # also where one is NaN
            return None
        torch.add(norm.log10().flip(0), exponents[low:], out=norms[first : last + 1, low:])
        rows[low:] = swept[-1] / norm[-1, ..., None, None, None]
        exponents[low:] += norm[-1].log10()
    if silent:
        norms.masked_fill_(nothing & norms.isfinite(), -torch.inf)
    return norms[:, [order.index(place) for place in range(len(order))]].cpu()


def _pieces(total: int, anchors: Sequence[int]) -> list[Piece]:
    """First and last step of each piece, the latest first; the next one ends at its first step.

    ``anchors``: in ascending order.
    """
    longest = max(1, math.isqrt(total))
    found, last = [], anchors[-1]
    stops = sorted({*anchors, 0}, reverse=True)
    for stop in stops:
        while last > stop:
            first = max(stop, last - longest)
            found.append((first, last))
            last = first
    return [*found, (0, 0)] if anchors[0] == 0 else found


def _products(steps: Steps, pieces: list[Piece]) -> Iterator[tuple[Piece, Tensor]]:
    """Each piece with the products from its last step back: J_lastᵀ, J_last−1ᵀ J_lastᵀ, ….

    The first of them is the identity; of a diagonal recurrence they are factors.
    """
    one = steps.decay[0].numel() if steps.left is None else _matrices(steps, 0).numel()
    longest = max(last - first for first, last in pieces)
    together = max(1, _HELD // max(1, one * (longest + 1)))
    for start in range(0, len(pieces), together):
        group = pieces[start : start + together]
        ends = torch.tensor([last for _, last in group], device=steps.decay.device)
        made = _side_by_side(steps, ends, longest)
        for place, piece in enumerate(group):
            yield piece, made[:, place]


def _side_by_side(steps: Steps, ends: Tensor, longest: int) -> Tensor:
    """Products (longest + 1, pieces, B H · ·) from these ends back."""
    decays = steps.every_decay()
    if steps.left is None or steps.right is None:
        made = [torch.ones_like(decays[ends])]
        for back in range(longest):
            made.append(made[-1] * decays[(ends - back).clamp_min(0)])
        return torch.stack(made)
    made = [torch.eye(steps.left.shape[-1], dtype=decays.dtype, device=decays.device)]
    made[0] = made[0].expand(len(ends), *steps.left.shape[1:3], -1, -1).contiguous()
    for back in range(longest):
        at = (ends - back).clamp_min(0)
        taken = steps.left[at].unsqueeze(-2) @ made[-1]
        made.append((decays[at] * made[-1]).addcmul(steps.right[at].unsqueeze(-1), taken))
    return torch.stack(made)


def _matrices(steps: Steps, at: int) -> Tensor:
    """As large as the product of one step."""
    assert steps.left is not None
    return steps.left[at].unsqueeze(-1).expand(-1, -1, -1, steps.left.shape[-1])


def _applied(products: Tensor, rows: Tensor, mixes: bool) -> Float[Tensor, "T A B H K V"]:
    """Every product of a piece on every row."""
    if mixes:
        return products.unsqueeze(1) @ rows
    return products.unsqueeze(1) * rows
