"""One backward pass for each loss step, from the target to the source: gradient norms by lag."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from throughtime.sweeps.graph.axes import pulled
from throughtime.sweeps.graph.ends import End, Gradients, onto

Floats = NDArray[np.float64]

# What is left of a difference of two equal gradients, relative to them.
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Pulled:
    """What each loss step alone sends back to the source.

    Attributes:
        norms: log10 ‖∂L_t/∂x_{t−k}‖ (A L B); NaN where a sequence has no loss or no such step.
        anchors: the loss steps t.
        forward: nothing lies before the loss steps: lags run forward in time instead.
        place: the step of the source at which the last of them lies.
        ahead: a loss step also depends on later inputs.
    """

    norms: Floats
    anchors: tuple[int, ...]
    forward: bool
    ahead: bool
    place: int


def loss_steps(target: End, most: int) -> list[int]:
    """Steps of the target that the loss reads, evenly spread, the last one always."""
    if target.series.single:
        return [0]
    sent = target.series.by_time(target.gradient)
    steps: list[int] = (sent != 0).flatten(1).any(1).nonzero().flatten().tolist()
    if len(steps) <= most:
        return steps
    chosen = torch.linspace(len(steps) - 1, 0, most, dtype=torch.float64).round().long()
    return sorted({steps[n] for n in chosen.tolist()})


def direct(target: End, steps: list[int]) -> tuple[End, list[int]]:
    """The target with what the loss itself sends into these steps, and those that it reads.

    Where each step has a tensor of its own, that may be the state of a loop: then part of the
    gradient arrives through the next step, and is taken away.
    """
    if target.series.axis is not None or target.series.single or target.series.sizes is not None:
        return target, steps
    gradient, kept = list(target.gradient), []
    for step in steps:
        own = gradient[step]
        if step + 1 < len(gradient) and own is not None:
            edges = target.series.edges
            later = target.gradient[step + 1]
            sent = [] if later is None else pulled(edges[step + 1], [edges[step]], later)
            if sent and sent[0] is not None:
                largest = own.abs().amax()
                own = own - sent[0]
                own = torch.where(own.abs() > _ROUNDING * largest, own, torch.zeros_like(own))
        gradient[step] = own
        if own is not None and bool((own != 0).any()):
            kept.append(step)
    return (replace(target, gradient=gradient), kept) if kept else (target, steps)


def cotangent(target: End, step: int) -> Gradients:
    """What the loss sends into the target at one step, scaled; all of it where time is gone."""
    if not target.series.single:
        return [*target.series.only(target.gradient, step)]
    sent = target.gradient[0]
    assert sent is not None
    largest = float(sent.abs().amax())
    return [sent / largest if 0 < largest < float("inf") else sent]


def pull(source: End, target: End, most: int) -> Pulled:
    """Send the loss of ``most`` steps back, one at a time."""
    target, anchors = direct(target, loss_steps(target, most))
    rows: list[Tensor] = []
    places: list[Tensor] = []
    for step in anchors:
        back = onto(target.series, source.series, cotangent(target, step))
        shape = (source.series.steps, source.series.batch)
        norm = (
            torch.full(shape, -torch.inf, dtype=torch.float64)
            if back is None
            else log_norms(source.series.by_time(back))
        )
        norm[:, _silent(source, target, step)] = torch.nan
        rows.append(norm)
        places.append(_place(source, target, step, norm))
    behind = [int(place.max()) for place in places]
    ahead = any(
        bool(torch.isfinite(row[int(place.max()) + 1 :]).any())
        for row, place in zip(rows, places, strict=True)
    )
    forward = bool(anchors) and max(behind) == 0 and ahead
    return Pulled(
        np.stack([_by_lag(row, place, forward) for row, place in zip(rows, places, strict=True)]),
        tuple(anchors),
        forward,
        ahead,
        behind[-1],
    )


def log_norms(values: Tensor) -> Tensor:
    """log10 of the norm over the last axis, in float64 and without underflow."""
    values = values.detach().double()
    largest = values.abs().amax(-1, keepdim=True)
    safe = torch.where(largest > 0, largest, torch.ones_like(largest))
    norm = torch.linalg.vector_norm(values / safe, dim=-1)
    found: Tensor = norm.log10() + safe.squeeze(-1).log10()
    return found.cpu()


def _silent(source: End, target: End, step: int) -> Tensor:
    """The sequences that have no loss at this step."""
    batch = source.series.batch
    if target.series.single:
        sent = target.gradient[0]
        assert sent is not None
        rows = sent.reshape(batch, -1) if sent.shape[:1] == (batch,) else sent.reshape(1, -1)
    else:
        rows = target.series.by_time(target.gradient)[step]
    silent = (rows == 0).all(-1).cpu()
    return silent if len(silent) == batch else torch.zeros(batch, dtype=torch.bool)


def _place(source: End, target: End, step: int, norm: Tensor) -> Tensor:
    """The step of the source, for each sequence, at which the loss step lies."""
    last = source.series.steps - 1
    if not target.series.single and target.series.steps == source.series.steps:
        return torch.full((norm.shape[1],), step)
    reached = norm.isfinite() | norm.isposinf()
    steps = torch.arange(last + 1).unsqueeze(1)
    found = torch.where(reached, steps, torch.full_like(steps, -1)).amax(0)
    return torch.where(found < 0, torch.full_like(found, last), found)


def _by_lag(norm: Tensor, place: Tensor, forward: bool) -> Floats:
    """(T B) by step to (T B) by lag from ``place``; NaN beyond the sequence."""
    batch = norm.shape[1]
    aligned = torch.full_like(norm, torch.nan)
    for b in range(batch):
        at = int(place[b])
        row = norm[at:, b] if forward else norm[: at + 1, b].flip(0)
        aligned[: len(row), b] = row
    values: Floats = aligned.numpy()
    return values
