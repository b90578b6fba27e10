"""A frame of directions on its way along a run, and the adjoint of that way.

``J_t Q_{t−1} = Q_t R_t``: the exponents are the mean logarithms of the diagonal of R. Backwards,
``Z̄ = (Q̄ + Q M) R⁻ᵀ`` undoes a QR decomposition, where M is symmetric and has the lower triangle of
``R R̄ᵀ − Q̄ᵀ Q`` (Walter & Lehmann 2010), and ``J_tᵀ`` undoes a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from throughtime.recurrences import Linearised
from throughtime.sweeps import random_frame


@dataclass(frozen=True)
class Plan:
    """Which exponents, of which steps.

    Attributes:
        size: K, how many of them, the largest first.
        burn_in: so many steps at the start turn the frame, and do not count.
        interval: QR after so many steps.
        through_states: whether the states count as functions of the weights, or as constants; None
            for the sequences whose first exponent is not above 0.
    """

    size: int
    burn_in: int
    interval: int
    through_states: bool | None = None

    def blocks(self, steps: int) -> list[tuple[int, int]]:
        """The stretches of time between two decompositions; none runs across the burn-in."""
        starts = {
            *range(0, self.burn_in, self.interval),
            *range(self.burn_in, steps, self.interval),
        }
        return list(pairwise(sorted({*starts, steps})))


class Turn(NamedTuple):
    """What is left of a QR decomposition at the end of a block of steps."""

    start: int
    stop: int
    q: Float[Tensor, "B S K"]
    r: Float[Tensor, "B K K"]


class FrameSweep:
    """One frame along one run, in float64.

    Attributes:
        columns: the directions before every step (T K B S), when they were pushed.
    """

    def __init__(self, linear: Linearised, plan: Plan, alive: Bool[Tensor, "T B"]) -> None:
        """``alive``: the steps of each sequence; where it has ended its frame stands still."""
        self._linear, self._plan, self._alive = linear, plan, alive
        self._steps = alive[plan.burn_in :].sum(0).clamp_min(1).unsqueeze(-1)
        self._turns: list[Turn] = []
        self.columns: list[Float[Tensor, "K B S"]] = []

    def push(self, frame: Float[Tensor, "K B S"]) -> Float[Tensor, "B K"]:
        """Forwards through all steps: the exponents, nats per step.

        A direction that is lost for good, −∞, is given as the logarithm of the smallest number.
        """
        tiny = torch.finfo(frame.dtype).tiny
        sums = torch.zeros(frame.shape[1::-1], dtype=frame.dtype, device=frame.device)
        for start, stop in self._plan.blocks(len(self._alive)):
            for t in range(start, stop):
                self.columns.append(frame)
                frame = self._where_alive(t, self._linear.jvp(t, frame), frame)
            q, r = torch.linalg.qr(frame.permute(1, 2, 0))
            self._turns.append(Turn(start, stop, q, r))
            if start >= self._plan.burn_in:
                sums += r.diagonal(dim1=-2, dim2=-1).abs().clamp_min(tiny).log()
            frame = q.permute(2, 0, 1).contiguous()
        return sums / self._steps

    def pull(self, sent: Float[Tensor, "B K"]) -> list[Float[Tensor, "K B S"]]:
        """Backwards from the gradient of the exponents: that of every ``J_t Q_{t−1}``, by t.

        A direction that is lost sends nothing.
        """
        of_logs = sent / self._steps
        found: list[Tensor] = []
        rows = torch.zeros_like(self.columns[0])
        for turn in reversed(self._turns):
            counted = of_logs if turn.start >= self._plan.burn_in else torch.zeros_like(of_logs)
            rows = _unturned(turn, rows.permute(1, 2, 0), counted).permute(2, 0, 1).contiguous()
            for t in range(turn.stop - 1, turn.start - 1, -1):
                found.append(self._where_alive(t, rows, torch.zeros_like(rows)))
                rows = self._where_alive(t, self._linear.vjp(t, rows), rows)
        return found[::-1]

    def _where_alive(self, t: int, rows: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(self._alive[t].unsqueeze(-1), rows, otherwise)


def start_frame(size: int, like: Float[Tensor, "T B S"]) -> Float[Tensor, "K B S"]:
    """The directions that a sweep begins with, the same ones every time."""
    return random_frame(size, *like.shape[1:]).to(like.device)


def _unturned(
    turn: Turn, of_q: Float[Tensor, "B S K"], of_logs: Float[Tensor, "B K"]
) -> Float[Tensor, "B S K"]:
    """The gradient of Z = Q R, from that of Q and that of log |R_ii|."""
    diagonal = turn.r.diagonal(dim1=-2, dim2=-1)
    lost = diagonal.abs() <= torch.finfo(diagonal.dtype).tiny
    r = turn.r + torch.diag_embed(lost.to(diagonal.dtype))
    lower = (-of_q.mT @ turn.q).tril()
    lower = lower + torch.diag_embed(of_logs.masked_fill(lost, 0.0))
    symmetric = lower + lower.tril(-1).mT
    right = of_q + turn.q @ symmetric
    before: Tensor = torch.linalg.solve_triangular(r.mT, right, upper=False, left=False)
    return before
