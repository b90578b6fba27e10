"""Whether the numbers of a layer hold: two comparisons with autograd, each with a limit.

The first is of the recurrent weight's gradient, rebuilt from the trace. Short lags dominate that
sum, so the second sends a few gradients the whole way back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime.diagnosis.words import Said
from throughtime.trace import Far, LayerTrace, relative_difference

LIMITS = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Largest relative difference of the weight's gradient that rounding explains, by number format."""
HALF = 5e-2
"""The same for float16 and bfloat16."""

_ROUNDINGS = 20  # roundings a step that a gradient may collect on a long way


@dataclass(frozen=True)
class Check:
    """What the comparisons of one layer with autograd say.

    Attributes:
        compared: what agreed, in words; empty where nothing was compared or something differs.
        failed: what differs, in words; None where nothing does.
        route: log10 of what autograd sends the whole way over what the recurrence alone sends,
            and the lag, where more arrives than the recurrence can have sent.
    """

    compared: str = ""
    failed: Said | None = None
    route: tuple[float, int] | None = None

    @property
    def held(self) -> bool:
        """Something was compared, and nothing differs."""
        return bool(self.compared) and not self.failed


def limit_of(layer: LayerTrace) -> float:
    """The largest relative difference that rounding explains, for the format of this layer."""
    return LIMITS.get(layer.precision or layer.states.dtype, HALF)


@torch.no_grad()
def check(layer: LayerTrace) -> Check:
    """Both comparisons of a layer; the long one first, since it can say what is missing."""
    far = _far(layer)
    if far.failed:
        return far
    limit, own = limit_of(layer), layer.verified
    if own is not None and not own <= limit:
        return Check(
            failed=Said(
                "the gradient of its recurrent weight, rebuilt from the trace, differs from "
                f"autograd's by {own:.1e} (limit {limit:.0e})",
                "기록에서 다시 만든 순환 가중치의 기울기가 autograd의 값과 "
                f"{own:.1e}만큼 다릅니다(한계 {limit:.0e})",
            )
        )
    near = ""
    if layer.marked and (far.compared or own is not None):
        near = "the trace is read from the autograd graph itself"
    elif own is not None:
        near = (
            "the gradient of its recurrent weight, rebuilt from the trace, with autograd's: "
            f"{own:.0e} (limit {limit:.0e})"
        )
    return Check("; ".join(part for part in (near, far.compared) if part))


def _far(layer: LayerTrace) -> Check:
    """The comparison of what autograd sends the whole way with the product of the steps."""
    lags = []
    for far in layer.far:
        rebuilt = swept(layer, far)
        if _nothing(rebuilt, far.arrived):
            continue
        difference = relative_difference(rebuilt, far.arrived)
        rounding = _ROUNDINGS * far.lag * torch.finfo(layer.precision or layer.states.dtype).eps
        if not difference <= max(math.sqrt(limit_of(layer)), rounding):
            return _differs(far, rebuilt, difference)
        lags.append(str(far.lag))
    if not lags:
        return Check()
    return Check(
        f"gradients that autograd sends {', '.join(lags)} steps back in one go, with the product "
        "of the steps"
    )


def swept(layer: LayerTrace, far: Far) -> Tensor:
    """What the recorded steps make of the gradient ``far.sent`` at the state ``far.origin``."""
    starts = torch.full((layer.batch,), far.anchor)
    if layer.packed and layer.lengths:
        starts = torch.tensor(layer.lengths) - 1
    sent = far.sent.to(layer.linear.dtype)  # half precision is swept in float32
    row, walls = torch.zeros_like(sent), set(layer.walls)
    for t in range(far.anchor, far.origin, -1):
        row = row + sent * (starts == t).to(sent).unsqueeze(-1)
        row = torch.zeros_like(row) if t in walls else layer.linear.vjp(t, row)
    return row


def _differs(far: Far, rebuilt: Tensor, difference: float) -> Check:
    ratio = _log_norm(far.arrived) - _log_norm(rebuilt)
    if ratio > 0.02:
        return Check(
            failed=Said(
                f"autograd sends more over {far.lag} steps than the recurrence alone can",
                f"autograd가 {far.lag}스텝에 걸쳐 순환만으로 보낼 수 있는 것보다 더 보냅니다",
            ),
            route=(ratio, far.lag),
        )
    return Check(
        failed=Said(
            f"what autograd sends {far.lag} steps back differs from the product of the steps by "
            f"{difference:.1e}: something between the steps stops or scales the gradient",
            f"autograd가 {far.lag}스텝 앞으로 보내는 기울기가 스텝별 곱과 {difference:.1e}만큼 "
            "다릅니다. 스텝 사이에서 무언가가 기울기를 막거나 배율을 바꿉니다",
        )
    )


def _nothing(one: Tensor, other: Tensor) -> bool:
    """Both are zero, or so small that rounding has the word."""
    smallest = 1e6 * torch.finfo(other.dtype).tiny
    return all(float(values.abs().amax()) < smallest for values in (one, other) if values.numel())


def _log_norm(values: Tensor) -> float:
    norm = float(torch.linalg.vector_norm(values.double()))
    return math.log10(norm) if norm > 0 else -math.inf
