"""Decays that differ from head to head, or channel to channel: retention, lightning, RWKV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from throughtime.remedies.initialisation.scales import (
    checked_found,
    checked_times,
    geometric,
    parameters_of,
)
from throughtime.remedies.remedy import Remedy

Module = TypeVar("Module", bound=nn.Module)
Write = Callable[[Tensor], None]

WHAT = (
    "decays by head or channel: slope_rate, as lightning attention has it, time_decay, as RWKV-4 "
    "to 6 do, or w0 beside w1 and w2, as RWKV-7"
)
_BOUND = 0.6065306597126334  # of RWKV-7, exp(−½): −log w = exp(−½) σ(w0 + …)
_SHORTEST = 1 / (0.95 * _BOUND)  # the time scale at which that sigmoid is far from open


@torch.no_grad()
def decay_scales_(module: Module, t_max: float = 4096.0, t_min: float = 32.0) -> Module:
    """Give heads, or channels, time scales from ``t_min`` to ``t_max``, a constant factor apart.

    Retention's ``γ_h = 1 − 2^(−5−h)`` (Sun et al. 2023) are time scales of 32, 64, … steps: with
    eight heads the defaults. RWKV spreads the logarithms of its decays from channel to channel
    (Peng et al. 2023). A head of lightning attention keeps its decay in buffers, which are all set.
    RWKV-7 forgets at least over 1.7 steps, and adds what the input says.

    Helps where no head, or no channel, remembers up to the span; the fast ones stay for what is
    near. The decays of retention and lightning attention are not trained: those stay.

    Args:
        module: a layer, or a model that holds some: all of them are changed.
        t_max: the longest time scale, in steps: the task's.
        t_min: the shortest one, in steps.

    Returns:
        The module.

    Raises:
        InputError: the times are out of order, or no module in it has such decays.
    """
    checked_times("decay_scales", t_min, t_max)
    for parameter, write in checked_found(module, decay_scales(module), WHAT):
        times = geometric(parameter.numel(), t_min, t_max, parameter).flip(0)
        write(times.view(parameter.shape))
    return module


def decay_scales(module: nn.Module) -> Iterator[tuple[Tensor, Write]]:
    """The decays of every module in ``module``; each is written by its time scales."""
    for part in module.modules():
        held = parameters_of(part)
        if "slope_rate" in held:
            yield held["slope_rate"], _slopes(part, held["slope_rate"])
        if "time_decay" in held:
            yield held["time_decay"].detach(), _doubly(held["time_decay"].detach())
        if {"w0", "w1", "w2"} <= held.keys():
            yield held["w0"].detach(), _bounded(held["w0"].detach())


def _slopes(part: nn.Module, slopes: Tensor) -> Write:
    def write(times: Tensor) -> None:
        slopes.copy_(1 / times)
        factors = getattr(part, "decay_factors", None)
        names = ("query_decay", "key_decay", "diagonal_decay")
        if factors is not None:
            for name, factor in zip(names, factors(slopes), strict=True):
                getattr(part, name).copy_(factor)

    return write


def _doubly(decays: Tensor) -> Write:
    """``exp(−exp(w))``."""

    def write(times: Tensor) -> None:
        decays.copy_(-times.log())

    return write


def _bounded(decays: Tensor) -> Write:
    def write(times: Tensor) -> None:
        decays.copy_((1 / (_BOUND * times.clamp_min(_SHORTEST))).logit())

    return write


DECAY_SCALES = Remedy(
    "decay-scales",
    "decays",
    "spreads the decays of heads or channels over time scales up to the span",
    "헤드 또는 채널의 감쇠를 필요한 거리까지의 시간 척도에 고르게 나눕니다",
    "Sun et al. 2023; Peng et al. 2023",
    ("vanishing", "gates closed"),
    lambda model: any(True for _ in decay_scales(model)),
    lambda model, span, _draw: decay_scales_(model, span, min(2.0, span)),
    "decay_scales_({model}, t_max={span}, t_min=min(2, {span}))",
)
