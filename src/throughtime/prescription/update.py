"""``Trainee``: a copy of a problem that makes a few updates, each of them timed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import repeat
from math import inf, nan

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from throughtime.errors import InputError, ThroughtimeWarning, plain
from throughtime.problem import Batch, Problem, make_optimizer
from throughtime.randomness import randomness


def loss_on(problem: Problem, batch: Batch) -> Callable[[], Tensor]:
    """What gives the loss of this very batch, cut through time as the problem is trained."""
    return replace(problem, batches=lambda _seed: repeat(batch)).closure


class Trainee:
    """A copy of a problem that is trained, in place, for a few updates.

    Attributes:
        problem: the copy.
        diverged: its loss or gradient was no longer finite; it is trained no further.

    Raises:
        InputError: no parameter of the model requires a gradient, or the optimiser holds others.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.diverged = False
        self._parameters = [p for p in problem.model.parameters() if p.requires_grad]
        if not self._parameters:
            raise InputError(f"{problem.name}: no parameter of the model requires a gradient")
        self._optimizer = make_optimizer(problem.optimizer, self._parameters, problem.name)
        self._refuse_an_optimizer_of_its_own()
        self._seconds: list[float] = []

    @property
    def seconds(self) -> float:
        """How long the quickest update took; nan before the first."""
        return min(self._seconds, default=nan)

    def rehearse(self, batch: Batch, seed: int = 0) -> None:
        """Raise now what a ``backward`` of the problem's own would raise at the first update."""
        if self.problem.backward is None:
            return
        with randomness(seed, self.problem.model):
            self._backward(loss_on(self.problem, batch))
        self._optimizer.zero_grad()

    def update(self, batch: Batch, seed: int = 0) -> None:
        """One update on this batch, unless it has diverged."""
        if self.diverged:
            return
        with randomness(seed, self.problem.model), warnings.catch_warnings():
            warnings.simplefilter("ignore", ThroughtimeWarning)  # a clipper's, of what it mended
            clock = self._clock()
            started = clock()
            self._optimizer.zero_grad()
            loss = self._backward(loss_on(self.problem, batch))
            norm = self._clip()
            self.diverged = not bool(torch.isfinite(loss) & torch.isfinite(norm))
            if not self.diverged:
                self._optimizer.step()
            if loss.is_cuda:
                torch.cuda.synchronize(loss.device)
            self._seconds.append(clock() - started)

    def train(self, batches: Iterable[Batch], seed: int = 0) -> None:
        """One update on each of these batches; each draws from a seed of its own."""
        for made, batch in enumerate(batches):
            self.update(batch, seed + made)

    def loss(self, batch: Batch, seed: int = 0) -> float:
        """The loss on a batch as the model is now; nan if it has diverged."""
        if self.diverged:
            return nan
        with randomness(seed, self.problem.model):
            return float(loss_on(self.problem, batch)().detach())

    def _clock(self) -> Callable[[], float]:
        """On a CPU the processor's time, which does not count what other work takes of it."""
        on_cuda = any(parameter.is_cuda for parameter in self._parameters)
        return time.perf_counter if on_cuda else time.process_time

    def _refuse_an_optimizer_of_its_own(self) -> None:
        """One that closes over the user's model would train that one."""
        ours = {id(parameter) for parameter in self._parameters}
        held = [one for group in self._optimizer.param_groups for one in group["params"]]
        if any(id(parameter) not in ours for parameter in held):
            raise InputError(
                f"{plain(self.problem.name)}: its optimizer trains other parameters than those "
                "that it is given: in optimizer(parameters) use the argument"
            )

    def _backward(self, make_loss: Callable[[], Tensor]) -> Tensor:
        """The loss, its gradients in the parameters."""
        if self.problem.backward is not None:
            return self.problem.backward(self.problem.model, make_loss).detach()
        loss = make_loss()
        if all(parameter.grad is None for parameter in self._parameters):
            loss.backward()  # a closure may have done so itself
        return loss.detach()

    def _clip(self) -> Tensor:
        """The norm of the gradient before it was clipped as the problem says."""
        clip = self.problem.clip
        if clip is None or isinstance(clip, int | float):
            return clip_grad_norm_(self._parameters, inf if clip is None else clip)
        return clip(self._parameters)
