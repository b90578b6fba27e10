"""Paired trials of a model and a closure: what their seeds can mean, and what they cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from throughtime.errors import InputError
from throughtime.prescription.pair import OPTIMIZER, Closure, PairLoss, longest_lag, of_loss
from throughtime.prescription.treated import copied
from throughtime.problem import MakeOptimizer, Problem
from throughtime.trials.treatment.identity import described, digest, weights_digest

_ONE_TRAINING = (
    "the closure gives the same loss for every seed: weights and batch are fixed, and every pair "
    "would be one and the same training; give a function make(seed) that draws first weights or "
    "batches from the seed and returns a throughtime.Problem"
)
_BATCHES = (
    "The seeds differ in what the closure draws, its batches among it; the first weights are the "
    "same in all pairs: what is shown is shown for these."
)
_DROPOUT = (
    "The seeds differ in dropout alone: the first weights and the batch are the same in all pairs, "
    "and what is shown is shown for these."
)


@dataclass(frozen=True)
class OfPair:
    """Makes the problem of a model and a closure anew, in any process, for any seed.

    Attributes:
        source: digests of the code and of the weights.
        name: what is treated.
        span: how many steps back the task needs to see.
        notes: what the seeds differ in, and how it is trained.
    """

    source: str
    name: str
    span: int
    notes: tuple[str, ...] = field(repr=False, compare=False)
    model: nn.Module = field(repr=False, compare=False)
    loss: Callable[[nn.Module, int], Tensor] = field(repr=False, compare=False)
    optimizer: MakeOptimizer | None = field(repr=False, compare=False)

    def __call__(self, seed: int) -> Problem:
        """A new copy: the same for every seed, which decides what the closure draws."""
        problem = of_loss(self.model, self.loss, self.span, self.name, self.optimizer)
        return replace(problem, model=copied(problem))


def of_pair(
    model: nn.Module,
    closure: Closure,
    span: int | None,
    seeds: Sequence[int],
    optimizer: MakeOptimizer | None,
) -> OfPair:
    """The maker of a pair's problems.

    Raises:
        InputError: the closure cannot be copied, does not run this model, calls ``backward()``, or
            is the same whatever the seed.
    """
    notes = [] if optimizer is not None else [f"Trained by {OPTIMIZER}: a closure names no other."]
    if span is None:
        span = longest_lag(model, closure)
        notes.append(f"No span was given: taken is the longest lag of the sequences, {span}.")
    how = "" if optimizer is None else f", {described(optimizer)}"
    source = f"closure#{digest(closure)}, weights#{weights_digest(model)[:12]}{how}"
    made = OfPair(
        source, type(model).__name__, span, (), model, PairLoss(model, closure), optimizer
    )
    _refuse_what_is_not_run(made, seeds[0])
    if len(seeds) > 1:
        if _losses(made, seeds, training=True) == 1:
            raise InputError(_ONE_TRAINING)
        fixed = _losses(made, seeds, training=False) == 1
        notes.append(_DROPOUT if fixed else _BATCHES)
    return replace(made, notes=tuple(notes))


def _losses(made: OfPair, seeds: Sequence[int], *, training: bool) -> int:
    """How many different losses the first seeds begin with."""
    found = set()
    for seed in seeds[:2]:
        problem = made(seed)
        problem.model.train(training)
        found.add(float(problem.closure(seed).detach()))
    return len(found)


def _refuse_what_is_not_run(made: OfPair, seed: int) -> None:
    problem = made(seed)
    parameters = [one for one in problem.model.parameters() if one.requires_grad]
    loss = problem.closure(seed)
    if any(one.grad is not None for one in parameters):
        raise InputError("the closure calls backward(): the trials do that; return the loss alone")
    if not loss.requires_grad or not parameters:
        return
    reached = torch.autograd.grad(loss, parameters, allow_unused=True)
    if all(gradient is None for gradient in reached):
        raise InputError("the closure does not run the model that is given with it")
