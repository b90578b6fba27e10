"""``norms``: how large the gradient of every state is, through time."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from throughtime.errors import InputError, unknown
from throughtime.findings import Measurement
from throughtime.sweeps import adjoint_log_norms
from throughtime.trace import LayerTrace, Trace, checked_trace

Of = Literal["total", "direct", "states"]

_HOW = {
    "total": "log10 of the norm of ∂L/∂s_t, with its exponent carried where it needs one",
    "direct": "log10 of the norm of the direct gradient e_t, that the loss at t alone sends",
    "states": "log10 of the norm of the state s_t",
}


def norms(
    trace: Trace | LayerTrace, layer: str | int | None = None, *, of: Of = "total", part: str = "s"
) -> Measurement:
    """log10 ‖∂L/∂s_t‖ for every step and sequence; NaN where a sequence has ended.

    Args:
        trace: a ``Trace``, or one of its layers.
        layer: which layer; None for all of them together (the root of their summed squares).
        of: ``"total"`` gradient, ``"direct"`` gradient, or the ``"states"`` themselves.
        part: ``"s"`` for the whole state, or a part of it such as ``"h"`` or ``"c"``.

    Returns:
        Float64 log10 norms, axes (time, batch). −inf is an exact zero; nothing underflows: the
        total gradient is swept again with its exponent carried beside it.

    Raises:
        InputError: for an unknown layer, part or ``of``, or layers of different length together.
    """
    if of not in _HOW:
        raise InputError(unknown("kind of norm", of, _HOW))
    layers = _choose(trace, layer)
    if len({(one.steps, one.batch) for one in layers}) > 1:
        sizes = ", ".join(f"{one.name!r} (T={one.steps}, B={one.batch})" for one in layers)
        raise InputError(f"these layers have no common time, choose one with layer=: {sizes}")
    values = [_layer_norms(one, of, part) for one in layers]
    joint = values[0] if len(values) == 1 else _log_root_sum(np.stack(values))
    who = layers[0].name if len(layers) == 1 else "all layers together"
    return Measurement(f"{of} norm", joint, ("time", "batch"), "log10", f"{_HOW[of]} ({who})")


def _choose(trace: Trace | LayerTrace, layer: str | int | None) -> tuple[LayerTrace, ...]:
    checked_trace(trace)
    if isinstance(trace, LayerTrace):
        return (trace,)
    return trace.layers if layer is None else (trace[layer],)


def _layer_norms(layer: LayerTrace, of: Of, part: str) -> np.ndarray:
    where = layer.part(part)
    if of == "total" and not layer.marked and _ran_dry(layer.gradients[..., where]):
        swept = adjoint_log_norms(layer.linear, layer.turned(layer.direct), [where], layer.walls)[0]
        values = layer.turned(swept)
    else:
        source = {"total": layer.gradients, "direct": layer.direct, "states": layer.states}[of]
        values = _scaled_log_norm(source[..., where])
    ended = ~layer.alive().cpu()
    return values.masked_fill(ended, torch.nan).numpy()


def _ran_dry(values: Tensor) -> bool:
    """Whether entries so small that a digit of them was lost may stand behind a norm."""
    largest = values.abs().amax(-1) if values.numel() else values
    least = torch.finfo(values.dtype).tiny / torch.finfo(values.dtype).eps
    return bool((largest < least).any()) or not bool(largest.isfinite().all())


def _scaled_log_norm(values: Tensor) -> Tensor:
    """log10 of the norm over the last axis, in float64, scaled by the largest entry."""
    values = values.double().cpu()
    if not values.shape[-1]:
        return values.new_full(values.shape[:-1], -torch.inf)
    largest = values.abs().amax(-1, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    norm: Tensor = torch.linalg.vector_norm(values / scale, dim=-1)
    return norm.log10() + scale.squeeze(-1).log10()


def _log_root_sum(values: np.ndarray) -> np.ndarray:
    """log10 √Σ 10^(2v) over the first axis, without leaving the logarithm."""
    return np.asarray(np.logaddexp.reduce(2 * np.log(10.0) * values, axis=0) / (2 * np.log(10.0)))
