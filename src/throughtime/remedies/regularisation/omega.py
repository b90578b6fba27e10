"""Ω of Pascanu, Mikolov & Bengio (2013): no step should shorten or stretch the gradient.

    Ω = Σ_t (‖J_tᵀ δ_t‖² / ‖δ_t‖² − 1)²         eq. 10, and the authors' code
    Ω = Σ_t (‖J_tᵀ δ_t‖ / ‖δ_t‖ − 1)²           eq. 9

Only W_hh is asked to make it small, and only directly: the states and the δ_t count as constants.
That is its immediate derivative in the paper; it is no gradient of Ω as a function of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from throughtime.errors import InputError
from throughtime.recording.unrolled import Unrolled
from throughtime.recurrences import GRU, LSTM, Elman, Linearised
from throughtime.recurrences.janet import JANET
from throughtime.recurrences.modrelu import ModReLU
from throughtime.remedies.through_time.fused_gradients import (
    ElmanGradients,
    GRUGradients,
    LSTMGradients,
)
from throughtime.remedies.through_time.inside import Inside, run_as_it_is
from throughtime.remedies.through_time.sweeping import Adjoint, Blocked, unroll_with

_WITH_MATRIX = (Elman, GRU, LSTM, JANET, ModReLU)


class Omega:
    """Adds ``weight · ∂Ω/∂W_hh`` to the gradient of every recurrent matrix, before any clipping.

    In a loop of your own, or as ``Problem.backward``::

        omega = Omega(weight=4.0)
        loss = omega(model, lambda: criterion(model(x), y))  # in place of loss.backward()

    Ω is the mean over all steps and sequences whose ‖δ_t‖² is at least ``bound``, as in the
    authors' code, which adds it with weights of 0.5 to 4; the sum over layers and directions. It
    does not depend on the size of the loss: a GradScaler's factor belongs into ``weight``.

    Helps a network without gates whose gradient vanishes, trained by plain gradient descent, beside
    clipping: so the paper solves temporal order at length 200. Does not help where the gradient
    has nothing to tell apart: it keeps the length of δ, not what it says. The gates of an LSTM or
    GRU, which have a way of their own to keep a gradient, count as constants here.

    Args:
        weight: of Ω beside the loss.
        squared: eq. 10; else eq. 9.
        bound: a δ_t whose squared norm is below counts for nothing: there it has vanished.

    Attributes:
        value: Ω at the last call, the weight not in it.

    Raises:
        InputError: a weight or bound that is not a number from 0 on. By a call: the loss ran no
            recurrent layer with a recurrent matrix (a cell in a loop is not seen: use the layer),
            or one that is not multiplied by the state as it is.
    """

    def __init__(self, weight: float = 1.0, *, squared: bool = True, bound: float = 1e-20) -> None:
        for name, number in (("weight", weight), ("bound", bound)):
            if not 0 <= number < float("inf"):
                raise InputError(f"Omega: {name} is {number}, and must be a number from 0 on")
        self.weight, self.squared, self.bound = weight, squared, bound
        self.value = 0.0

    def __call__(self, model: nn.Module, make_loss: Callable[[], Tensor]) -> Tensor:
        """Run ``make_loss``, leave the gradients of its loss and of Ω, and return its loss."""
        terms: dict[int, Term] = {}
        with Inside(lambda run: self._run(run, terms)):
            loss = make_loss()
        if not terms:
            raise InputError(
                f"Omega: no layer with a recurrent matrix ran in the loss of this "
                f"{type(model).__name__}: give it an nn.RNN, nn.LSTM or nn.GRU whose weights "
                "require a gradient (a cell in a loop is not seen)"
            )
        loss.backward()
        self.value = sum(float(term.value) for term in terms.values())
        return loss.detach()

    def __repr__(self) -> str:
        return f"Omega(weight={self.weight:g}, squared={self.squared}, bound={self.bound:g})"

    def _run(self, run: Unrolled, terms: dict[int, Term]) -> Tensor:
        if not issubclass(run.kind, _WITH_MATRIX):
            raise InputError(
                f"Omega: in a layer of type {run.kind.kind} the state is not multiplied by a "
                "matrix of weights as it is: take it for nn.RNN, nn.LSTM, nn.GRU, JANET or "
                "OrthogonalRNN"
            )
        place = run.kind.names.index("weight_hh")
        weight = run.weights[place]
        assert weight is not None
        if not weight.requires_grad:
            return run_as_it_is(run)
        # All runs with one weight share its alias: autograd adds up what each of them sends, and
        # then calls the hook once, when every δ_t is known.
        term = terms.setdefault(id(weight), Term(self, weight, weight.view_as(weight)))
        if term.runs == 0:
            term.alias.register_hook(term.add_to)
        term.runs += 1
        weights = [*run.weights[:place], term.alias, *run.weights[place + 1 :]]
        return unroll_with(term.sweep, replace(run, weights=weights))


@dataclass(eq=False)
class Term:
    """Ω of one recurrent matrix in one backward pass: sums over the steps seen so far."""

    omega: Omega
    weight: Tensor
    alias: Tensor
    runs: int = 0
    count: Tensor | float = 0.0
    total: Tensor | float = 0.0
    gradient: Tensor | float = 0.0

    @property
    def value(self) -> Tensor:
        """The mean over what counted."""
        return torch.as_tensor(self.total) / torch.as_tensor(self.count).clamp_min(1)

    def add_to(self, gradient: Tensor) -> Tensor:
        """The gradient of the loss, and that of Ω."""
        mean = self.gradient / torch.as_tensor(self.count).clamp_min(1)
        return torch.add(gradient, mean.to(gradient.dtype), alpha=self.omega.weight)

    def sweep(
        self,
        linear: Linearised,
        adjoint: Adjoint,
        direct: Float[Tensor, "T B S"],
        blocked: Blocked,
        *,
        training: bool,
    ) -> Float[Tensor, "T B S"]:
        """The adjoint sweep as it is; what it finds is kept in the sums."""
        found = adjoint(direct, blocked)
        if training:
            self._add(linear, found)
        return found

    def _add(self, linear: Linearised, deltas: Float[Tensor, "T B S"]) -> None:
        counted = torch.linalg.vector_norm(deltas, dim=-1, dtype=torch.float64).square()
        counted = (counted >= self.omega.bound) & counted.isfinite()
        # Ω does not depend on the length of δ_t: that of its largest entry is 1 from here on.
        largest = deltas.abs().amax(-1, keepdim=True)
        unit = torch.where(counted.unsqueeze(-1), deltas / largest, torch.zeros_like(deltas))
        entering, back = _through(linear, unit, len(self.weight))
        before, after = unit.square().sum(-1), back.square().sum(-1)
        ratio = torch.where(counted, after / before, torch.ones_like(after))
        if self.omega.squared:
            error, slope = ratio - 1, 4 * (ratio - 1) / before
        else:
            length = ratio.sqrt()
            error, slope = length - 1, 2 * (length - 1) / (length * before)
        # ∂/∂W of v = Wᵀ a + …, where a enters W: a (∂Ω/∂v)ᵀ, of the part of v that W writes.
        slope = torch.where(counted & (after > 0), slope, torch.zeros_like(slope))
        sent = (slope.unsqueeze(-1) * back)[..., : self.weight.shape[1]]
        self.gradient = self.gradient + entering.flatten(0, 1).T @ sent.flatten(0, 1)
        self.total = self.total + error.square().sum()
        self.count = self.count + counted.sum()


def _through(
    linear: Linearised, rows: Float[Tensor, "T B S"], width: int
) -> tuple[Float[Tensor, "T B G"], Float[Tensor, "T B S"]]:
    """What of the adjoints ``rows`` enters W_hhᵀ at every step, and ``J_tᵀ rows_t``."""
    if isinstance(linear, (ElmanGradients, GRUGradients, LSTMGradients)):
        return linear.entering(rows), linear.vjp_every(rows)
    entering, back = [], []
    for t, row in enumerate(rows.unbind(0)):
        *_, enters, leaves = linear.stages(t, row).values()
        entering.append(enters[..., :width])
        back.append(leaves)
    return torch.stack(entering), torch.stack(back)
