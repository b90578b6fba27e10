"""One update: the gradient of a batch, whole or cut through time; clipped; a step along it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from throughtime.carried import State, detached
from throughtime.errors import DivergedError, InputError
from throughtime.problem import Batch, Problem, as_loss, make_optimizer, seeded
from throughtime.remedies.clipping import total_norm
from throughtime.training.plan import Plan
from throughtime.training.processes import Processes
from throughtime.training.schedules import make_schedule

_FROM_THE_START = "no update was made yet: look at the data, the loss and the first weights"
_LATER = "try a smaller learning rate"
_ROUNDING = 1e-5  # relative: a smaller difference of two norms is none


class _NothingAskedError(Exception):
    """A piece of a sequence has no loss."""


class Updated(NamedTuple):
    """What an update saw: its loss, the norm of its gradient before clipping, whether it was."""

    loss: float
    norm: float
    clipped: bool


class Updater:
    """Makes the updates of one training.

    Args:
        problem: what is trained.
        plan: how.
        processes: those that train together.
    """

    def __init__(self, problem: Problem, plan: Plan, processes: Processes) -> None:
        self.problem, self.model, self._plan = problem, problem.model, plan
        self._processes = processes
        self.parameters = [p for p in problem.model.parameters() if p.requires_grad]
        if not self.parameters:
            raise InputError(f"{problem.name}: no parameter of the model requires a gradient")
        make = plan.optimizer or problem.optimizer
        self.optimizer = make_optimizer(make, self.parameters, problem.name)
        if plan.lr is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = plan.lr
        self._schedule = make_schedule(plan.schedule, plan.steps)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        # Without ``windows`` a state can only be meant to go on from one batch to the next.
        self._follows = problem.carry is not None and problem.windows is None
        self.carried: State = None
        beside: tuple[Any, ...] = (plan.clip, problem.backward)
        self.remembering = [one for one in beside if hasattr(one, "state_dict")]
        """What remembers something from update to update, beside the optimiser."""

    def __call__(self, step: int, batch: Batch) -> Updated:
        """Make update number ``step``, from 1.

        Raises ``DivergedError`` before it ruins the model: loss or gradient is nan or infinite.
        """
        self.optimizer.zero_grad()
        with self._randomness(step):
            loss = self._backward(self._processes.share(self.problem, batch))
        loss = self._processes.average(self.parameters, loss)
        norm, clipped = self._clip()
        if not torch.isfinite(loss + norm):
            raise DivergedError(
                f"{self.problem.name}: at step {step} the loss is {loss.item():.3g} and its "
                f"gradient has norm {norm.item():.3g}: {_FROM_THE_START if step == 1 else _LATER}"
            )
        if self._schedule is not None:
            factor = self._schedule(step - 1)
            for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * factor
        self.optimizer.step()
        self._processes.same([b for b in self.model.buffers() if b.is_floating_point()])
        return Updated(loss.item(), norm.item(), clipped)

    def _randomness(self, step: int) -> AbstractContextManager[None]:
        """Several processes draw different dropout masks, and go on drawing the same batches."""
        if self._processes.world == 1:
            return nullcontext()
        own = (self._plan.seed * 1_000_003 + step) * self._processes.world + self._processes.rank
        return seeded(own % 2**63, self.model)

    def _backward(self, batch: Batch) -> Tensor:
        """The loss of a batch, its gradients left in the parameters."""
        if self._plan.window is None and not self._follows:
            return self._differentiated(lambda: self.problem.loss(self.model, batch))
        state = self.carried if self._follows else None
        losses: list[Tensor] = []
        for piece in self._pieces(batch):
            part, state = self._of_piece(piece, state)
            losses += [] if part is None else [part]
            state = detached(state)
        if not losses:
            raise InputError(f"{self.problem.name}: no piece of the batch has a loss")
        if self._follows:
            self.carried = state
        if len(losses) == 1:
            return losses[0]
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad /= len(losses)
        return torch.stack(losses).mean()

    def _of_piece(self, piece: Batch, state: State) -> tuple[Tensor | None, State]:
        """The loss of a piece, its gradients added to the parameters'; and the state after it."""

        def make_loss() -> Tensor:
            nonlocal state
            assert self.problem.carry is not None
            part, state = self.problem.carry(self.model, piece, state)
            if part is None:
                raise _NothingAskedError
            return part

        try:
            part = self._differentiated(make_loss)
        except _NothingAskedError:
            return None, state
        return part, state

    def _differentiated(self, make_loss: Callable[[], Tensor]) -> Tensor:
        """The loss, its gradients in the parameters."""
        if self.problem.backward is not None:
            return self.problem.backward(self.model, make_loss).detach()
        untouched = all(parameter.grad is None for parameter in self.parameters)
        loss = as_loss(make_loss(), f"{self.problem.name}: loss(model, batch)")
        if untouched and any(parameter.grad is not None for parameter in self.parameters):
            raise InputError(
                f"{self.problem.name}: loss(model, batch) called backward(): the training does "
                "that, once it has the loss"
            )
        loss.backward()
        return loss.detach()

    def _pieces(self, batch: Batch) -> Iterable[Batch]:
        window = self._plan.window
        if self.problem.windows is None or not isinstance(window, int):
            return (batch,)
        return self.problem.windows(batch, window)

    def _clip(self) -> tuple[Tensor, bool]:
        """Bound the gradient; returns its norm before that, and whether it was changed."""
        clip = self._plan.clip
        if callable(clip):
            norm = clip(self.parameters)
            return norm, bool(self._norm() < norm * (1 - _ROUNDING))
        if not isinstance(clip, int | float):
            return self._norm(), False
        norm = self._norm()
        if torch.isfinite(norm):
            clip_grads_with_norm_(self.parameters, clip, norm)
        return norm, bool(norm > clip)

    def _norm(self) -> Tensor:
        return total_norm([p.grad for p in self.parameters if p.grad is not None])
