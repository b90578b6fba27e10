"""The state matrix A of state-space layers: the rates that the step size multiplies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from throughtime.errors import InputError
from throughtime.remedies.initialisation.scales import checked_found, parameters_of
from throughtime.remedies.initialisation.step_sizes import bias_of
from throughtime.remedies.remedy import Remedy

Module = TypeVar("Module", bound=nn.Module)
Write = Callable[[torch.Generator | None], None]

WHAT = "a state matrix: A_log, as Mamba, Mamba-2 and gated delta rules have it, or S4D's log_A_real"
LOW, HIGH = 1.0, 16.0  # of Mamba-2's rates


@torch.no_grad()
def state_matrix_(module: Module, generator: torch.Generator | None = None) -> Module:
    """Start A where the papers do: S4D-Real, S4D-Lin, or the range of Mamba-2.

    - ``A_log`` (… N) of a layer that has N states behind each step size: ``A_n = −(n + 1)``
      (S4D-Real, Gu, Gupta, Goel & Ré 2022; the real part of HiPPO's eigenvalues).
    - ``A_log`` of one rate a head: uniform between 1 and 16 (Dao & Gu 2024).
    - ``log_A_real`` and ``A_imag`` (… N): ``A_n = −1/2 + iπn`` (S4D-Lin).

    Helps where the rates have grown, or start, so large that no state outlives the span. By itself
    it says how far the time scales lie apart, not how long they are: that is ``step_sizes_``, which
    goes well with it.

    Args:
        module: a layer, or a model that holds some: all of them are changed.
        generator: what is drawn is drawn from it; None for torch's global one.

    Returns:
        The module.

    Raises:
        InputError: no module in it has a state matrix, or every one is as the papers have it.
    """
    found = checked_found(module, state_matrices(module), WHAT)
    before = [parameter.clone() for parameter, _ in found]
    for _, write in found:
        write(generator)
    if all(torch.equal(old, new) for old, (new, _) in zip(before, found, strict=True)):
        raise InputError("every state matrix is as it would be set: A_n = -(n + 1) already")
    return module


def state_matrices(module: nn.Module) -> Iterator[tuple[Tensor, Write]]:
    """The logarithms of the rates of every module in ``module``, and how each is set."""
    for part in module.modules():
        held = parameters_of(part)
        real, decays = held.get("log_A_real"), held.get("A_log")
        if real is not None:
            yield real.detach(), _linear(real.detach(), held.get("A_imag"))
        elif decays is not None:
            several = decays.numel() > _step_sizes_of(part, decays)
            yield decays.detach(), _real(decays.detach()) if several else _ranged(decays.detach())


def _step_sizes_of(part: nn.Module, decays: Tensor) -> int:
    """How many step sizes there are; where that is not known, one for each row of A."""
    bias = bias_of(part)
    return decays.shape[:-1].numel() if bias is None else bias.numel()


def _real(decays: Tensor) -> Write:
    def write(_generator: torch.Generator | None) -> None:
        decays.copy_(torch.arange(1, decays.shape[-1] + 1).log().expand_as(decays))

    return write


def _ranged(decays: Tensor) -> Write:
    def write(generator: torch.Generator | None) -> None:
        decays.uniform_(LOW, HIGH, generator=generator).log_()

    return write


def _linear(real: Tensor, imaginary: Tensor | None) -> Write:
    def write(_generator: torch.Generator | None) -> None:
        real.fill_(math.log(0.5))
        if imaginary is not None:
            steps = math.pi * torch.arange(imaginary.shape[-1])
            imaginary.detach().copy_(steps.expand_as(imaginary))

    return write


STATE_MATRIX = Remedy(
    "state-matrix",
    "decays",
    "starts the rates A of the states as S4D-Real does, or Mamba-2",
    "상태의 감쇠율 A를 S4D-Real 또는 Mamba-2의 초기값으로 시작합니다",
    "Gu, Gupta, Goel & Ré 2022; Dao & Gu 2024",
    ("vanishing", "gates closed"),
    lambda model: any(True for _ in state_matrices(model)),
    lambda model, _span, draw: state_matrix_(model, generator=draw),
    "state_matrix_({model})",
)
