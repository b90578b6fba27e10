"""All that a training needs to go on exactly where it was, as plain values and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.errors import RunError
from throughtime.problem import Batch, Problem
from throughtime.randomness import random_states, restore
from throughtime.runs import load_state
from throughtime.training.result import Training
from throughtime.training.update import Updater

State = dict[str, Any]


def gather(updater: Updater, batches: Iterator[Batch], so_far: Training, seed: int) -> State:
    """The state of a training between two updates."""
    keeps = getattr(batches, "state_dict", None)
    return {
        "model": dict(updater.model.state_dict()),
        "other buffers": _other_buffers(updater.model),
        "optimizer": updater.optimizer.state_dict(),
        "random": random_states(seed, updater.model),
        "batches": keeps() if callable(keeps) else None,
        "remembered": [one.state_dict() for one in updater.remembering],
        "counters": {
            "clipped_steps": so_far.clipped_steps,
            "solved_at": so_far.solved_at,
            "seconds": so_far.seconds,
            "status": so_far.status,
        },
    }


def scatter(
    state: State, step: int, problem: Problem, updater: Updater, batches: Iterator[Batch]
) -> None:
    """Put a model, its optimiser, its batches and all generators where they were at ``step``.

    Raises:
        RunError: the model or the optimiser is not the one that was saved.
        KeyError, TypeError, AttributeError: this is the state of something else.
    """
    model = updater.model
    load_state(model, state["model"])
    with torch.no_grad():
        for name, buffer in _other_buffers(model).items():
            buffer.copy_(state["other buffers"][name])
    try:
        updater.optimizer.load_state_dict(state["optimizer"])
    except (ValueError, KeyError) as error:
        raise RunError(
            f"the optimiser of {problem.name} is not the one that was saved: {error}"
        ) from error
    for one, kept in zip(updater.remembering, state.get("remembered", []), strict=True):
        one.load_state_dict(kept)
    if state["batches"] is not None and hasattr(batches, "load_state_dict"):
        batches.load_state_dict(state["batches"])
    else:
        for _ in range(step):
            next(batches)
    restore(state["random"], model)


def _other_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that ``state_dict`` leaves out."""
    saved = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in saved}
