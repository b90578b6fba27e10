"""A linearisation held as coefficients of every step, from which one step is read off by its t.

What a cell writes is the arithmetic of one step; that broadcasts, so that it serves any leading
rows, one step at a time or all at once. All gradients of a training step follow from it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import Linearised, flat
from throughtime.recurrences.products import linear

Coefficients = Sequence[Tensor]


class ByCoefficients(Linearised):
    """``back``, ``entering`` and ``adjoint_`` by a cell; all else from them."""

    weight_ih: Float[Tensor, "G I"]
    reads: Tensor | None = None
    """What W_hh reads (T B P); None without one."""

    def __init__(self, weight_ih: Float[Tensor, "G I"], coefficients: Coefficients) -> None:
        """``coefficients``: (T B ·) each; (1 B ·) or less where they are the same at every step."""
        self.weight_ih, self.coefficients = weight_ih.detach(), tuple(coefficients)
        self.steps, self.dtype = len(coefficients[0]), coefficients[0].dtype

    @cached_property
    def by_step(self) -> list[tuple[Tensor, ...]]:
        """The coefficients of every step: views that are taken once, since that takes a while."""
        return list(zip(*(part.unbind(0) for part in self.coefficients), strict=True))

    @abstractmethod
    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        """``Jᵀ rows`` in new memory."""

    @abstractmethod
    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        """The adjoint of ``W_ih x``, in new memory."""

    @abstractmethod
    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        """``adjoint`` in place: δ where e was."""

    def recurrent(self, gradient: Float[Tensor, "G P"]) -> Tensor:
        """The gradient of W_hh from that of the matrix which stands beside W_ih: as a rule it."""
        return gradient

    def adjoint(
        self, direct: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> Float[Tensor, "T B S"]:
        total = direct.clone(memory_format=torch.contiguous_format)
        self.adjoint_(total, blocked)
        return total

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        back = self.back(rows, *self.by_step[t])
        if plus is not None:
            back = back.add_(plus)
        return back if out is None else out.copy_(back)

    def vjp_every(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B S"]:
        return self.back(rows, *self.coefficients)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        return self.entering(rows, *self.by_step[t]) @ self.weight_ih

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        if self.reads is None:
            return None
        return self.recurrent(product(self.entering(rows, *self.coefficients), self.reads))

    @torch.no_grad()
    def gradients(
        self,
        rows: Float[Tensor, "T B S"],
        inputs: Float[Tensor, "T B I"],
        names: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        entering = self.entering(rows, *self.coefficients)
        found = self.sums(rows, entering, inputs)
        if names is None or "inputs" in names:
            found["inputs"] = linear(entering, self.weight_ih.T)
        return found

    def sums(
        self,
        rows: Float[Tensor, "T B S"],
        entering: Float[Tensor, "T B G"],
        inputs: Float[Tensor, "T B I"],
    ) -> dict[str, Tensor]:
        """The gradient of every weight, by name, from that of the states and ``entering`` them."""
        found = beside(entering, self.reads, inputs)
        if "weight_hh" in found:
            found["weight_hh"] = self.recurrent(found["weight_hh"])
        return found


def beside(
    entering: Float[Tensor, "T B G"],
    reads: Float[Tensor, "T B P"] | None,
    inputs: Float[Tensor, "T B I"],
) -> dict[str, Tensor]:
    """The gradients of weights that stand beside each other, in one product: W_hh, W_ih and b."""
    ones = inputs.new_ones(()).expand(*inputs.shape[:2], 1)
    read = {"weight_ih": inputs, "bias": ones}
    if reads is not None:
        read = {"weight_hh": reads} | read
    found = product(entering, torch.cat(list(read.values()), -1))
    parts = found.split([one.shape[-1] for one in read.values()], 1)
    named = dict(zip(read, (part.contiguous() for part in parts), strict=True))
    return named | {"bias": named["bias"].squeeze(1)}


def product(entering: Float[Tensor, "T B G"], read: Float[Tensor, "T B P"]) -> Float[Tensor, "G P"]:
    """``Σ_t entering_tᵀ read_t``: the gradient of a weight that reads ``read``."""
    return linear(flat(read).T.contiguous(), flat(entering).contiguous().T).T.contiguous()


def summed(rows: Float[Tensor, "T B H"]) -> Float[Tensor, " H"]:
    """``Σ rows`` over time and batch: a product with ones, quicker than torch's sum of columns."""
    table = flat(rows)
    return torch.mv(table.T, table.new_ones(len(table)))
