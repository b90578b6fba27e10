"""Clipping inside the recurrence: the gradient of every state, on its way through time.

Clipping the parameters' gradient (Pascanu, Mikolov & Bengio 2013) comes too late for what exploded
on the way: it shrinks the share of every step alike, and the sum is that of the few that exploded.
Here each step is clipped before it is summed and before it is handed on. Graves (2013) clipped so,
entry by entry, at the pre-activations of his LSTM; Kaldi's ClipGradientComponent clips the rows of
a recurrent connection by their norm.

    δ_t = e_t + J_{t+1}ᵀ δ̂_{t+1},     δ̂_t = clip(δ_t),

where e_t is what the loss and the layers above send into s_t, and s_t the whole state, (h, c) of an
LSTM. The gradients of weights, of inputs and of the initial state are made from the δ̂_t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from throughtime.cells import RecurrentLayer
from throughtime.errors import InputError
from throughtime.recording.unrolled import Unrolled
from throughtime.recurrences import Linearised
from throughtime.remedies.through_time.inside import Inside
from throughtime.remedies.through_time.sweeping import Adjoint, Blocked, unroll_with

How = Literal["norm", "value"]


def clip_states_(module: nn.Module, max_norm: float, how: How = "norm") -> ClippedStates:
    """Clip the gradient of every state of ``module``'s recurrent layers, at every step.

    The state of each sequence of the batch is clipped by itself. What the layers compute is what
    they compute without it, by the same kernels, and nothing is done where no gradient is recorded.
    ``state_dict`` stays as it is; a deep copy of the module, or one that was pickled, clips too.

    Helps where single steps explode: a norm at which healthy steps stay as they are, and a bound on
    what one can add. Does not help where the gradient vanishes, and it biases the gradient: what is
    clipped at every step no longer points down the loss. ``share`` of the handle says how often it
    was; some per cent are as it should be. A step of training takes up to twice as long.

    A gradient that is not finite is lost for its step and sequence: it counts as 0, and as
    ``lost``. Under autocast the layers run in the precision of their weights. ``tt.capture`` of the
    module shows the clipped δ̂_t as gradients of one call; its lags, and all that follows the
    Jacobians, are those of the network. It notices, as not verified, that a state carried over
    several calls was clipped in between.

    Args:
        module: ``nn.RNN``, ``nn.LSTM``, ``nn.GRU``, one of their cells, a layer of
            ``throughtime.cells``, or a model that holds some: each of them is clipped.
        max_norm: the largest norm of δ̂_t, or, by value, the largest entry.
        how: ``"norm"`` scales δ_t, and keeps where it points; ``"value"`` bounds every entry.

    Returns:
        A handle, to be used as a context manager or closed with ``remove()``.

    Raises:
        InputError: no recurrent layer in the module, one that is clipped already, or a bound that
            is not above 0.
    """
    clip = Clip(max_norm, how)
    layers = [one for one in module.modules() if isinstance(one, _LAYERS)]
    if not layers:
        raise InputError(
            f"no recurrent layer in this {type(module).__name__}: give an nn.RNN, nn.LSTM, nn.GRU, "
            "a cell of these, a layer of throughtime.cells, or a model that holds one; the state "
            "of a loop of your own goes through clipped_state(state, max_norm)"
        )
    for layer in layers:
        if _clipped_forward(layer) is not None:
            raise InputError(
                f"the states of this {type(layer).__name__} are clipped already: remove() the "
                "handle first, or unclip_states_(module)"
            )
    for layer in layers:
        layer.forward = ClippedForward(layer, clip, vars(layer).get("forward"))  # type: ignore[method-assign]  # in place is the point
    return ClippedStates(clip, layers)


def unclip_states_(module: nn.Module) -> nn.Module:
    """Undo ``clip_states_`` in all layers of ``module``: of a copy, say, which has no handle."""
    for layer in module.modules():
        clipped = _clipped_forward(layer)
        if clipped is not None and clipped.inner is None:
            del layer.forward
        elif clipped is not None:
            layer.forward = clipped.inner
    return module


def clipped_state(
    state: Tensor | tuple[Tensor, ...], max_norm: float, how: How = "norm"
) -> Tensor | tuple[Tensor, ...]:
    """The state of a loop of your own, its gradient clipped on the way back; once a step.

    ``state`` is (B S), or (S), or a tuple of such parts that are clipped as one, e.g. ``(h, c)``.
    Go on with what is returned.
    """
    clipped: Tensor | tuple[Tensor, ...] = _clipped(state, Clip(max_norm, how))
    return clipped


class ClippedStates:
    """The handle of ``clip_states_``, and what was clipped so far."""

    def __init__(self, clip: Clip, layers: Sequence[nn.Module]) -> None:
        self._clip, self._layers = clip, list(layers)

    @property
    def share(self) -> float:
        """Share of the gradients δ_t, other than 0, that were clipped so far; 0 before any was."""
        seen, clipped, _ = self._clip.counts
        return clipped / max(1, seen)

    @property
    def lost(self) -> int:
        """How many gradients δ_t were not finite so far, and counted as 0."""
        return self._clip.counts[2]

    def remove(self) -> None:
        """Stop clipping. Safe to repeat."""
        while self._layers:
            unclip_states_(self._layers.pop())

    def __enter__(self) -> ClippedStates:
        return self

    def __exit__(self, *_error: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"ClippedStates({self._clip}, share={self.share:.3g}, lost={self.lost})"


@dataclass
class Clip:
    """What is done to the gradient of a state, and how often it was."""

    max_norm: float
    how: How = "norm"
    _tally: list[Tensor] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not self.max_norm > 0:
            raise InputError(f"max_norm is {self.max_norm}, and must be above 0")
        if self.how not in ("norm", "value"):
            raise InputError(f"how is 'norm' or 'value', not {self.how!r}")

    def clip_(self, rows: Float[Tensor, "B S"]) -> Float[Tensor, "B 1"]:
        """Clip each row in place, and return its norm, or its largest entry, before.

        In float64: no norm of what float32 can hold overflows or underflows.
        """
        order = 2.0 if self.how == "norm" else math.inf
        size: Tensor = torch.linalg.vector_norm(
            rows, order, dim=-1, keepdim=True, dtype=torch.float64
        )
        if self.how == "norm":
            rows.mul_((self.max_norm / size).clamp_(max=1))
        else:
            rows.clamp_(-self.max_norm, self.max_norm)
        rows.masked_fill_(size.isfinite().logical_not_(), 0.0)
        return size

    def adjoint(
        self,
        linear: Linearised,
        adjoint: Adjoint,
        direct: Float[Tensor, "T B S"],
        blocked: Blocked,
        *,
        training: bool,
    ) -> Float[Tensor, "T B S"]:
        """δ̂_T … δ̂_1 as above; J_t counts as 0 where blocked."""
        total = torch.empty_like(direct, memory_format=torch.contiguous_format)
        totals, directs, sizes = total.unbind(0), direct.unbind(0), []
        for t in range(len(direct) - 1, -1, -1):
            if t == len(direct) - 1 or t + 1 in blocked:
                totals[t].copy_(directs[t])
            else:
                linear.vjp(t + 1, totals[t + 1], plus=directs[t], out=totals[t])
            sizes.append(self.clip_(totals[t]))
        if training and sizes:
            self.count(torch.stack(sizes))
        return total

    def count(self, sizes: Tensor) -> None:
        """Count them; nothing waits for the device that they are on."""
        finite = sizes.isfinite()
        counts = torch.stack(
            [(sizes != 0).sum(), (finite & (sizes > self.max_norm)).sum(), (~finite).sum()]
        )
        self._tally = [counts if not self._tally else self._tally[0] + counts.to(self._tally[0])]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Gradients δ_t so far: that were not 0, that were clipped, that were lost."""
        seen, clipped, lost = self._tally[0].tolist() if self._tally else (0, 0, 0)
        return seen, clipped, lost


class ClippedForward:
    """Stands in for the ``forward`` of one layer; ``inner`` is what it had in its place."""

    def __init__(self, layer: nn.Module, clip: Clip, inner: Any = None) -> None:
        self.layer, self.clip, self.inner = layer, clip, inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        run = self.inner or partial(type(self.layer).forward, self.layer)
        if isinstance(self.layer, nn.RNNCellBase):
            return _clipped(run(*args, **kwargs), self.clip)
        with Inside(self._run):
            return run(*args, **kwargs)

    def _run(self, run: Unrolled) -> Tensor:
        return unroll_with(self.clip.adjoint, run)


_LAYERS = (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCellBase, RecurrentLayer)


def _clipped_forward(layer: nn.Module) -> ClippedForward | None:
    forward = vars(layer).get("forward")
    return forward if isinstance(forward, ClippedForward) else None


def _clipped(state: Any, clip: Clip) -> Any:
    """A state or its parts, the gradient of the whole clipped on the way back."""
    parts = (state,) if isinstance(state, Tensor) else tuple(state)
    clipped = _ClipBack.apply(clip, *parts)  # type: ignore[no-untyped-call]  # torch's apply has no types
    return clipped[0] if isinstance(state, Tensor) else clipped


class _ClipBack(torch.autograd.Function):
    """Nothing forwards; backwards the clip of the joint gradient."""

    @staticmethod
    def forward(ctx: Any, clip: Clip, *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.clip = clip
        return tuple(part.view_as(part) for part in parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        joint = torch.cat(gradients, -1)
        ctx.clip.count(ctx.clip.clip_(joint.view(-1, joint.shape[-1])))
        return None, *joint.split([one.shape[-1] for one in gradients], -1)


__all__ = ["ClippedStates", "clip_states_", "clipped_state", "unclip_states_"]
