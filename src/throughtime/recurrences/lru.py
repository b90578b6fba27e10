"""LRU, linear recurrent unit (Orvieto et al. 2023): complex, linear and diagonal.

``s' = λ ⊙ s + γ ⊙ B x``, ``λ = exp(−exp ν + i exp θ)`` (section 3.3): ``|λ| < 1`` whatever ν is.
The state holds the N real parts of s first, then the imaginary ones, so that ``J`` is the rotation
and contraction ``[[Re λ, −Im λ], [Im λ, Re λ]]`` of each pair, the same at every step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import Linearised
from throughtime.recurrences.coefficients import ByCoefficients, summed
from throughtime.recurrences.driven import Driven
from throughtime.recurrences.products import linear, quick


class LRU(Driven):
    """The recurrence of ``throughtime.cells.LRU``; S = 2N, and all of it is read.

    B is ``weight_ih`` (2N I), its real rows first; ν, θ and ln γ are ``nu_log``, ``theta_log`` and
    ``gamma_log`` (N), as the paper's code names them.
    """

    kind: ClassVar[str] = "LRU"
    names: ClassVar[tuple[str, ...]] = ("weight_ih", "nu_log", "theta_log", "gamma_log")
    weight_ih: Tensor
    nu_log: Tensor
    theta_log: Tensor
    gamma_log: Tensor

    def __init__(self, *weights: Tensor | None, **settings: float) -> None:
        super().__init__(*weights, **settings)
        size = len(self.nu_log)
        self.state_size = 2 * size
        self.parts = {"re": slice(0, size), "im": slice(size, 2 * size)}
        self.squashing = {}

    def eigenvalues(self) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Re λ and Im λ."""
        modulus, phase = torch.exp(-torch.exp(self.nu_log)), torch.exp(self.theta_log)
        return modulus * torch.cos(phase), modulus * torch.sin(phase)

    def outputs(self, states: Float[Tensor, "T B S"]) -> Float[Tensor, "T B P"]:
        return states

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        return linear(x, self.weight_ih) * torch.exp(self.gamma_log).repeat(2)

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        return driven + _rotated(state, *self.eigenvalues())

    @torch.no_grad()
    def run(
        self, driven: Float[Tensor, "T B G"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        path = torch.cat([initial.unsqueeze(0), driven])
        _accumulate(path, range(1, len(path)), *self.eigenvalues())
        return path[1:]

    def matrix(self) -> Float[Tensor, "S S2"]:
        """J, whose eigenvalues are λ and its conjugate."""
        real, imaginary = (torch.diag(part.detach()) for part in self.eigenvalues())
        rows = torch.cat([real, -imaginary], -1), torch.cat([imaginary, real], -1)
        return torch.cat(rows)

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        return LinearisedLRU(self, before)


class LinearisedLRU(ByCoefficients):
    """``J_t = λ`` at every step, as a matrix on the real and imaginary parts."""

    def __init__(self, cell: LRU, before: Float[Tensor, "T B S"]) -> None:
        parts = (part.detach().expand(len(before), 1, -1) for part in cell.eigenvalues())
        super().__init__(cell.weight_ih, list(parts))
        self._before, self._scale = before, torch.exp(cell.gamma_log.detach()).repeat(2)
        self._rates = torch.exp(cell.nu_log.detach()), torch.exp(cell.theta_log.detach())

    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        real, imaginary = self.by_step[0] if self.steps else self.coefficients
        backwards = [t - 1 for t in range(self.steps - 1, 0, -1) if t not in blocked]
        _accumulate(total, backwards, real[0], -imaginary[0], of=1)

    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        real, imaginary = coefficients
        return _rotated(rows, real, -imaginary)

    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        return rows * self._scale

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        pushed = _rotated(columns, *self.by_step[t])
        return pushed if x is None else pushed + linear(x, self.weight_ih) * self._scale

    def sums(
        self,
        rows: Float[Tensor, "T B S"],
        entering: Float[Tensor, "T B G"],
        inputs: Float[Tensor, "T B I"],
    ) -> dict[str, Tensor]:
        found = super().sums(rows, entering, inputs)
        # γ scales W_ih x, so that its logarithm's gradient is that of W_ih along W_ih itself.
        of_gamma = (found["weight_ih"] * self.weight_ih).sum(1)
        found["gamma_log"] = sum(of_gamma.chunk(2), torch.zeros_like(self._rates[0]))
        (re, im), (of_re, of_im) = self._before.chunk(2, -1), rows.chunk(2, -1)
        along = _summed(of_re, re) + _summed(of_im, im)  # the gradient of Re λ, and of Im λ
        across = _summed(of_im, re) - _summed(of_re, im)
        real, imaginary = self.coefficients[0][0, 0], self.coefficients[1][0, 0]
        found["nu_log"] = -self._rates[0] * (along * real + across * imaginary)
        found["theta_log"] = self._rates[1] * (across * real - along * imaginary)
        return found


def _summed(a: Tensor, b: Tensor) -> Tensor:
    return summed(a * b)


def _rotated(state: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """The product of the numbers of a state with ``real + i imaginary``."""
    re, im = state.chunk(2, -1)
    return torch.cat([real * re - imaginary * im, imaginary * re + real * im], -1)


def _accumulate(
    path: Tensor, steps: Iterable[int], real: Tensor, imaginary: Tensor, of: int = -1
) -> None:
    """``path[t] += (real + i imaginary) path[t + of]`` for the steps t, in their order."""
    both = real.repeat(2)
    with quick():
        paths, (res, ims) = path.unbind(0), (part.unbind(0) for part in path.chunk(2, -1))
        for t in steps:
            paths[t].addcmul_(paths[t + of], both)
            res[t].addcmul_(ims[t + of], imaginary, value=-1)
            ims[t].addcmul_(res[t + of], imaginary)
