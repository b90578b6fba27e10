"""Gradient descent on one sentence, with and without clipping, for the Elman language model."""

from typing import NamedTuple

import numpy as np

from . import clipping, elman_lm

SENTENCE = "Tom was watching TV in his room . Mary came into the room . Mary said hi to Tom"


class Update(NamedTuple):
    """One update: ‖g‖ before and after clipping, and the parameters it led to."""

    before: float
    after: float
    p: elman_lm.Parameters


def language_model(H: int, scale: float, seed: int) -> tuple[list[int], elman_lm.Parameters]:
    """SENTENCE as tokens, and an Elman language model for it; every entry uniform in ±scale."""
    words = SENTENCE.split()
    vocabulary = sorted(set(words))
    M = len(vocabulary)
    generator = np.random.default_rng(seed)
    shapes = [(H, M), (H, H), (M, H), (H,), (M,)]
    p = elman_lm.Parameters(*(generator.uniform(-scale, scale, shape) for shape in shapes))
    return [vocabulary.index(word) for word in words], p


def descend(
    tokens: list[int],
    p: elman_lm.Parameters,
    alpha: float,
    updates: int,
    threshold: float | None = None,
) -> list[Update]:
    """W ← W - α ∂L/∂W, `updates` times, the gradient clipped to `threshold` where one is given."""
    made = []
    for _ in range(updates):
        gradients = elman_lm.bptt(p, elman_lm.forward(p, tokens))._asdict()
        before = after = clipping.global_norm(gradients)
        if threshold is not None:
            gradients, _ = clipping.clip(gradients, threshold)
            after = clipping.global_norm(gradients)
        p = elman_lm.update(p, elman_lm.Parameters(**gradients), alpha)
        made.append(Update(before, after, p))
    return made
