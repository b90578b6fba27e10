"""``routes``: the state's gain by every route, next to that of its recurrence alone.

Attention over the outputs, pooling over time, skips and an external memory let the loss of one step
reach an earlier state without passing through the recurrence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from throughtime.errors import InputError, counted
from throughtime.findings import Measurement
from throughtime.sweeps import adjoint_log_norms
from throughtime.trace import LayerTrace, Route, Trace, one_layer

ROUTES = ("recurrence", "every route")

Floats = NDArray[np.float64]


def routes(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
) -> Measurement:
    """Gain by lag, log10 ‖∂L_t/∂s_{t−k}‖ / ‖∂L_t/∂s_t‖, through the recurrence and by every route.

    L_t is the loss as it reads step t of the last module with a time axis, or the whole loss where
    one value is read for the whole sequence. Capture finds the routes before the first backward
    pass.

    Args:
        trace: a ``Trace``, or one of its layers.
        layer: which layer; None for the only one.
        quantiles: over the batch and the loss steps.

    Returns:
        Axes (route, quantile, lag): ``"recurrence"`` and ``"every route"``.

    Raises:
        InputError: for an unknown layer, or one whose states the loss reaches through the
            recurrence alone.
    """
    one = one_layer(trace, layer, "routes are those")
    if not one.routes:
        raise InputError(
            f"layer {one.name!r}: the loss reaches its states through the recurrence alone, or "
            "its outputs could not be followed to the loss"
        )
    longest = max(route.anchor for route in one.routes)
    rows = [_of_route(one, route, longest) for route in one.routes]
    samples = np.concatenate(rows, 2)
    how = (
        f"autograd's gradient of {counted(len(one.routes), 'loss step')} at "
        f"{one.routes[0].target}, one at a time, at every state, and one adjoint sweep from there; "
        "the recurrence: the same from the state of the loss step alone"
    )
    return Measurement(
        "gain by route",
        np.stack([_quantile(samples, q) for q in quantiles], 1),
        ("route", "quantile", "lag"),
        "log10",
        how,
        {
            "route": ROUTES,
            "quantile": tuple(quantiles),
            "lag": tuple(range(longest + 1)),
        },
    )


@torch.no_grad()
def _of_route(layer: LayerTrace, route: Route, longest: int) -> Floats:
    """log10 gain (route, lag, B) of one loss step; NaN beyond the start of the sequence."""
    whole = route.direct.to(layer.linear.dtype)
    alone = torch.zeros_like(whole)
    alone[route.anchor] = whole[route.anchor]
    norms = [_swept(layer, alone), _swept(layer, whole)]
    reference = norms[1][route.anchor]
    found = np.full((len(norms), longest + 1, reference.shape[0]), np.nan)
    for n, norm in enumerate(norms):
        back = (norm[: route.anchor + 1] - reference).flip(0).numpy()
        found[n, : len(back)] = back
    return found


def _swept(layer: LayerTrace, direct: Tensor) -> Tensor:
    return adjoint_log_norms(layer.linear, direct, walls=layer.walls)[0].cpu()


def _quantile(samples: Floats, q: float) -> Floats:
    """Over the last axis, of those that are not NaN; the nearest sample."""
    ordered = np.sort(samples, axis=2)
    count = (~np.isnan(ordered)).sum(2, keepdims=True)
    place = np.round(q * np.clip(count - 1, 0, None)).astype(int)
    found: Floats = np.take_along_axis(ordered, place, axis=2)[..., 0]
    return found
