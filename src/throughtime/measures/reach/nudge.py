"""The check of ``reach``: move the source a little at one step, and see what the loss step does.

The gain at that lag is what autograd says. A second look that uses no gradient at all runs the
closure twice, with the source moved forwards and backwards along that gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from throughtime.randomness import undisturbed
from throughtime.sweeps.graph import End, Watch, cotangent, onto

# The source moves by these shares of its own size; the first with enough digits left counts.
_SHARES = (1e-3, 1e-2, 1e-1)
# A difference that rounding may have made by so large a share of itself says nothing.
_NOISE = 0.03

Key = tuple[int, bool, int]


@dataclass(frozen=True, eq=False)
class Nudged:
    """What the source is moved by, and what autograd says will happen.

    Attributes:
        step, lag: the loss step, and how many steps before it the source moves.
        moves: by place, a direction of norm 1 over all places.
        reads: by place, what each entry of the target counts.
        expected: change of the loss step per unit of the move.
    """

    step: int
    lag: int
    moves: dict[Key, Tensor]
    reads: dict[Key, Tensor]
    expected: float

    @classmethod
    def of(cls, source: End, target: End, step: int, at: int, lag: int) -> Nudged | None:
        """For the loss of one step and the source at step ``at``; None where nothing can move."""
        if source.series.sizes is not None or target.series.sizes is not None or not source.seen:
            return None
        sent = cotangent(target, step)
        back = onto(target.series, source.series, sent)
        if back is None or all(one is None for one in back):
            return None
        alone = _alone(source, back, at)
        norm = float(
            torch.sqrt(sum((one.double().square().sum() for one in alone), torch.tensor(0.0)))
        )
        if not 0 < norm < float("inf"):
            return None
        keys = [(one.module, one.output, one.call) for one in source.seen]
        ends = [(one.module, one.output, one.call) for one in target.seen]
        reads = {key: one for key, one in zip(ends, sent, strict=True) if one is not None}
        moves = {key: one / norm for key, one in zip(keys, alone, strict=True)}
        return cls(step, lag, moves, reads, norm)


def _alone(source: End, back: Sequence[Tensor | None], at: int) -> list[Tensor]:
    """The gradients at the source, all but those of one step set to zero."""
    like = next(one for one in back if one is not None)
    dense = [torch.zeros_like(like) if one is None else one for one in back]
    if source.series.axis is None:
        return [one if n == at else torch.zeros_like(one) for n, one in enumerate(dense)]
    alone = torch.zeros_like(dense[0])
    alone.select(source.series.axis, at).copy_(dense[0].select(source.series.axis, at))
    return [alone]


def nudged(model: nn.Module, closure: Callable[[], Any], probe: Nudged) -> float | None:
    """|measured − expected| / expected by central differences; None where they cannot tell."""
    best: float | None = None
    size, _, _ = _run(model, closure, probe, 0.0)
    if size is None:
        return None
    for share in _SHARES:
        move = share * (size or 1.0)
        _, up, noise = _run(model, closure, probe, move)
        _, down, _ = _run(model, closure, probe, -move)
        if up is None or down is None:
            return None
        if noise / (2 * move) > _NOISE * probe.expected:
            continue
        difference = abs((up - down) / (2 * move) - probe.expected) / probe.expected
        best = difference if best is None else min(best, difference)
        if best < _NOISE:
            break
    return best


def _run(
    model: nn.Module, closure: Callable[[], Any], probe: Nudged, move: float
) -> tuple[float | None, float | None, float]:
    """Size of the source where it moves, the loss step, and the rounding in it."""
    sizes: list[float] = []
    values: list[tuple[float, float]] = []

    def change(module: int, output: bool, call: int, value: Tensor) -> Tensor:
        key = (module, output, call)
        direction = probe.moves.get(key)
        if direction is not None and direction.shape == value.shape:
            touched = (direction != 0).any()
            if touched:
                sizes.append(float((value.detach() * (direction != 0)).double().norm()))
            value = value + move * direction.to(value) if move else value
        read = probe.reads.get(key)
        if read is not None and read.shape == value.shape:
            terms = read.double() * value.detach().double()
            rounding = torch.finfo(value.dtype).eps * float(terms.abs().sum())
            values.append((float(terms.sum()), rounding))
        return value

    try:
        with undisturbed(model), Silent(), Watch(model, change=change):
            closure()
    except Exception:  # noqa: BLE001  — the user's closure, without a backward pass
        return None, None, 0.0
    if len(values) != len(probe.reads) or not sizes:
        return None, None, 0.0
    return max(sizes), sum(one for one, _ in values), sum(noise for _, noise in values)


class Silent(TorchFunctionMode):
    """No backward pass runs."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """``backward()`` returns at once."""
        if getattr(func, "__name__", "") == "backward":
            return None
        return func(*args, **(kwargs or {}))
