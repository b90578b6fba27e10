"""One small loop that trains any ``Problem``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch.nn.utils import clip_grad_norm_

from throughtime.errors import DivergedError
from throughtime.problem import Problem, seeded


def fit(
    problem: Problem,
    steps: int,
    *,
    seed: int = 0,
    clip: float = 1.0,
    on_step: Callable[[int, float], object] | None = None,
) -> list[float]:
    """Train ``problem.model`` in place.

    The global random state is the same afterwards, and the result depends on ``seed`` alone.

    Args:
        problem: what to train.
        steps: how many updates.
        seed: of the batches, and of dropout where the model has any.
        clip: largest norm of the whole gradient; a larger one is scaled down to it.
        on_step: called after every update with its number, from 1, and its loss; training ends
            early where it returns True.

    Returns:
        The loss of each step, before its update.

    Raises:
        DivergedError: a loss or a gradient is nan or infinite; the model keeps its last finite
            parameters.
    """
    model = problem.model
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = problem.optimizer(parameters)
    losses: list[float] = []
    training = model.training
    model.train()
    try:
        with seeded(seed, model):
            for step, batch in enumerate(islice(problem.batches(seed), steps), start=1):
                optimizer.zero_grad()
                loss = problem.loss(model, batch)
                loss.backward()
                norm = clip_grad_norm_(parameters, clip)
                if not torch.isfinite(loss.detach() + norm):
                    raise DivergedError(
                        f"{problem.name}: at step {step} the loss is {loss.item():.3g} and its "
                        f"gradient has norm {norm.item():.3g}: try a smaller learning rate"
                    )
                optimizer.step()
                losses.append(loss.item())
                if on_step is not None and on_step(step, losses[-1]) is True:
                    break
    finally:
        model.train(training)
    return losses
