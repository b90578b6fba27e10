"""Gradient flossing (Engelken 2023): the leading Lyapunov exponents are pushed towards 0.

An exponent above 0 is a direction in which the gradient explodes, one below 0 a direction in which
it vanishes. The term is the mean of ``λ_i²`` over the k leading exponents and the sequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from throughtime.cells import RecurrentLayer
from throughtime.errors import InputError, counted
from throughtime.recording.unrolled import Unrolled
from throughtime.remedies.clipping import clip_grad_norm_
from throughtime.remedies.regularisation.exponents import exponents
from throughtime.remedies.regularisation.frame import Plan
from throughtime.remedies.through_time.inside import Inside, run_as_it_is

_LAYERS = (nn.RNN, nn.LSTM, nn.GRU, RecurrentLayer)
_FEWEST_STEPS = 10
_LONGEST_BURN_IN = 100
_MANY = 64  # sequences of a batch: before training there is time for them


class Flossing:
    """Adds ``weight · mean λ_i²`` to the loss: flossing while training.

    In a loop of your own, or as ``Problem.backward``::

        flossing = Flossing(k=4, weight=0.1)
        loss = flossing(model, lambda: criterion(model(x), y))  # in place of loss.backward()

    The exponents are those along the data, of every layer and direction by itself, on its whole
    state. Their derivative goes through all steps, also where torch's kernels have no second one.

    Helps where λ_1 is far from 0, on either side, and a few directions must carry a long memory;
    the paper flosses before training (``floss_``) and again in between. Does not help where the
    gradient travels far enough already, nor a task that asks to forget. A step of training takes
    some ten times as long: fewer ``sequences`` and a smaller k take less.

    Args:
        k: how many exponents, the largest first; all of them where a layer has fewer.
        weight: of the term beside the loss.
        target: what the exponents are pushed to, nats per step.
        sequences: the term is taken on so many sequences of the batch, the first ones.
        burn_in: steps at the start that turn the frame of directions and do not count; None for a
            fifth of them, at most 100.
        interval: QR after so many steps.
        through_states: True takes the whole derivative, as the paper does. What goes through the
            states explodes where λ_1 > 0, as every gradient does there: the derivative is then
            noise, at right angles from one batch to the next. None leaves that part out for such
            sequences, and False for all.

    Attributes:
        exponents: the k exponents of every layer and direction at the last call, nats per step.

    Raises:
        InputError: an argument that is out of range. By a call: the loss ran no recurrent layer (a
            cell in a loop is not seen), or one of fewer than 10 steps after the burn-in.
    """

    def __init__(
        self,
        k: int = 8,
        weight: float = 1.0,
        *,
        target: float = 0.0,
        sequences: int = 8,
        burn_in: int | None = None,
        interval: int = 4,
        through_states: bool | None = None,
    ) -> None:
        for name, value, least in (
            ("k", k, 1),
            ("weight", weight, 0),
            ("sequences", sequences, 1),
            ("burn_in", 0 if burn_in is None else burn_in, 0),
            ("interval", interval, 1),
        ):
            if not least <= value < float("inf"):
                raise InputError(f"Flossing: {name} is {value}, and must be at least {least}")
        self.k, self.weight, self.target, self.sequences = k, weight, target, sequences
        self.burn_in, self.interval, self.through_states = burn_in, interval, through_states
        self.exponents: list[list[float]] = []

    def __call__(self, model: nn.Module, make_loss: Callable[[], Tensor]) -> Tensor:
        """Run ``make_loss``, leave the gradient of its loss and the term, and return its loss."""
        loss, term = self.run(model, make_loss)
        (loss + self.weight * term.to(loss)).backward()
        returned: Tensor = loss.detach()
        return returned

    def run(self, model: nn.Module, make_loss: Callable[[], Any]) -> tuple[Any, Float[Tensor, ""]]:
        """What ``make_loss`` returned, and the term, both differentiable."""
        runs: list[tuple[Unrolled, Tensor]] = []

        def record(run: Unrolled) -> Tensor:
            states = run_as_it_is(run)
            runs.append((run, states))
            return states

        with torch.enable_grad(), Inside(record):
            loss = make_loss()
        if not runs:
            raise InputError(
                f"Flossing: no recurrent layer ran in the loss of this {type(model).__name__}: "
                "give it an nn.RNN, nn.LSTM, nn.GRU or a layer of throughtime.cells (a cell in a "
                "loop is not seen)"
            )
        found = [self._exponents(run, states) for run, states in runs]
        self.exponents = [one.detach().mean(0).tolist() for one in found]
        return loss, torch.stack([(one - self.target).square().mean() for one in found]).mean()

    def __repr__(self) -> str:
        return (
            f"Flossing(k={self.k}, weight={self.weight:g}, target={self.target:g}, "
            f"sequences={self.sequences}, burn_in={self.burn_in}, interval={self.interval}, "
            f"through_states={self.through_states})"
        )

    def _exponents(self, run: Unrolled, states: Tensor) -> Float[Tensor, "B K"]:
        steps, some = len(states), slice(self.sequences)
        burn_in = min(steps // 5, _LONGEST_BURN_IN) if self.burn_in is None else self.burn_in
        if steps - burn_in < _FEWEST_STEPS:
            raise InputError(
                f"Flossing: a layer of type {run.kind.kind} ran over {steps} steps, {burn_in} of "
                f"them burn-in: an exponent needs at least {_FEWEST_STEPS} after it, in one call"
            )
        place, scale = run.place, run.place.scale
        lengths = None if place.lengths is None else place.lengths[some]
        fewer = replace(
            run,
            inputs=run.inputs[:, some],
            initial=run.initial[some],
            place=place._replace(lengths=lengths, scale=None if scale is None else scale[:, some]),
        )
        plan = Plan(min(self.k, states.shape[-1]), burn_in, self.interval, self.through_states)
        return exponents(fewer, states[:, some], plan)


@dataclass(frozen=True)
class Flossed:
    """The exponents of every layer and direction, nats per step, before and after flossing."""

    before: tuple[tuple[float, ...], ...]
    after: tuple[tuple[float, ...], ...]
    steps: int

    def __str__(self) -> str:
        lines = []
        for before, after in zip(self.before, self.after, strict=True):
            was, now = (", ".join(f"{value:+.3f}" for value in each) for each in (before, after))
            decades = ", ".join(f"{value / math.log(10):+.3f}" for value in after)
            lines.append(
                f"{was} -> {now} nats per step (now {decades} decades), after "
                f"{counted(self.steps, 'step')}"
            )
        return "\n".join(lines)


def floss_(
    module: nn.Module,
    closure: Callable[[], object],
    steps: int = 100,
    k: int = 8,
    *,
    lr: float = 0.02,
    clip: float = 0.1,
    flossing: Flossing | None = None,
) -> Flossed:
    """Floss before training: ``steps`` of Adam on the recurrent layers, by the exponents alone.

    ``closure`` runs ``module`` on a batch, a new one each time if it likes; what it returns is not
    used. Nothing but the weights of the recurrent layers is changed: no ``.grad``, no mode. Out of
    chaos it takes batches of many sequences, over which the noise of the exponents averages out.

    Args:
        module: a model with recurrent layers, or such a layer.
        closure: runs it, forwards; no ``backward()``.
        steps: updates.
        k: how many exponents, the largest first.
        lr: learning rate of Adam at the start; it falls linearly to 0.
        clip: bound of the gradient's norm.
        flossing: the term in all its detail, in place of ``k``; without it, 64 sequences.

    Returns:
        The exponents before and after.

    Raises:
        InputError: no weight of a recurrent layer to change, or a closure that calls
            ``backward()``; else as ``Flossing``.
    """
    term = flossing or Flossing(k, sequences=_MANY)
    layers = [one for one in module.modules() if isinstance(one, _LAYERS)]
    weights = {id(p): p for layer in layers for p in layer.parameters() if p.requires_grad}
    if not weights:
        raise InputError(
            f"floss_: no recurrent layer in this {type(module).__name__} has a weight that "
            "requires a gradient: give a model with an nn.RNN, nn.LSTM, nn.GRU or a layer of "
            "throughtime.cells"
        )
    with _gradients_put_back(list(module.parameters())):
        descent = torch.optim.Adam(weights.values(), lr=lr)
        before = _measured(term, module, closure)
        for step in range(steps):
            descent.param_groups[0]["lr"] = lr * (1 - step / steps)
            descent.zero_grad()
            _descend(term, module, closure, list(weights.values()))
            clip_grad_norm_(weights.values(), clip)
            descent.step()
        return Flossed(before, _measured(term, module, closure), steps)


@contextmanager
def _gradients_put_back(parameters: list[nn.Parameter]) -> Iterator[None]:
    held = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in zip(parameters, held, strict=True):
            parameter.grad = gradient


def _measured(
    term: Flossing, module: nn.Module, closure: Callable[[], object]
) -> tuple[tuple[float, ...], ...]:
    term.run(module, closure)
    return tuple(map(tuple, term.exponents))


def _descend(
    term: Flossing,
    module: nn.Module,
    closure: Callable[[], object],
    weights: Sequence[nn.Parameter],
) -> None:
    """Leave the gradient of the term alone."""
    _, value = term.run(module, closure)
    try:
        value.backward(inputs=weights)
    except RuntimeError as error:
        if "a second time" not in str(error):
            raise
        raise InputError(
            "floss_: the closure called backward(): let it run the model, and no more"
        ) from error
