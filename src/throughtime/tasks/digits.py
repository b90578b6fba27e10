"""Sequential digits: an image, one pixel at a time; say at the end which digit it was."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import torch
from torch import Tensor, nn

from throughtime.errors import InputError, MissingExtraError
from throughtime.problem import Criterion, Problem, seeded
from throughtime.tasks.model import Cell, SequenceModel, at_least
from throughtime.tasks.sequences import ONE_OF_MANY, Batch, carry, judge, loss_of, windows

PIXELS = 64
BRIGHTEST = 16
DIGITS = 10
TRAIN = 1437  # of 1,797 images
SPLIT_SEED, PERMUTATION_SEED = 1797, 64
SOLVED = Criterion("accuracy", "above", 0.95)


def digits(
    cell: Cell = "lstm",
    length: int = PIXELS,
    *,
    permuted: bool = False,
    hidden: int = 128,
    batch: int = 50,
    seed: int = 0,
    forget_bias: float | None = None,
) -> Problem:
    """Digits read pixel by pixel: the small sister of sequential MNIST (Le, Jaitly & Hinton 2015).

    The 1,797 images of 8 by 8 pixels that come with scikit-learn, row by row, brightness from 0 to
    1; 1,437 to train on, in a new order every epoch, and 360 kept apart, always the same ones.

    Args:
        cell: name of a cell, or a layer with ``nn.LSTM``'s signature and 1 input feature.
        length: 64, and nothing else: the pixels of an image.
        permuted: read the pixels in a fixed random order, so that neighbours lie far apart.
        hidden: hidden units H of a layer that is made here.
        batch: images at a time.
        seed: of the initialisation.
        forget_bias: of a gated layer; None leaves what the layer starts with.

    Returns:
        A problem with batches (64 B 1), (B); its loss is in nats, its ``trivial_loss`` that of the
        frequencies of the digits. ``evaluate`` gives ``loss`` and ``accuracy`` on the 360 images;
        solved above 95 % (a bound of ours).

    Raises:
        MissingExtraError: scikit-learn is not installed.
        InputError: another length, a batch out of range, or the cell is not known.
    """
    if length != PIXELS:
        raise InputError(f"length is {length}: an image has {PIXELS} pixels, so leave it out")
    at_least("batch", batch, 1)
    if batch > TRAIN:
        raise InputError(f"batch is {batch}, and there are {TRAIN} images to train on")
    train, test = images(permuted)
    with seeded(seed):
        model = SequenceModel(cell, 1, hidden, DIGITS, False, forget_bias)
    return Problem(
        name="digits, permuted" if permuted else "digits",
        model=model,
        batches=partial(epochs, train, batch),
        loss=partial(loss_of, answer=ONE_OF_MANY),
        span=PIXELS - 1,
        evaluate=partial(_evaluate, test=test),
        trivial_loss=entropy(train[1]),
        solved=SOLVED,
        windows=windows,
        carry=partial(carry, loss=ONE_OF_MANY.loss),
    )


@cache
def images(permuted: bool) -> tuple[Batch, Batch]:
    """Training and test images as sequences (64 N 1) with their digits (N).

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn") from error
    found = load_digits()
    pixels = torch.from_numpy(found.data).float().div_(BRIGHTEST).T.unsqueeze(-1).contiguous()
    kinds = torch.from_numpy(found.target).long()
    if permuted:
        order = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(PERMUTATION_SEED))
        pixels = pixels[order]
    shuffled = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(SPLIT_SEED))
    train, test = shuffled[:TRAIN], shuffled[TRAIN:]
    return (pixels[:, train], kinds[train]), (pixels[:, test], kinds[test])


def epochs(train: Batch, batch: int, seed: int) -> Iterator[Batch]:
    """Batches without end: every epoch in a new order, its last and smaller batch left out."""
    pixels, kinds = train
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(kinds), generator=generator)
        for chosen in order[: len(order) // batch * batch].split(batch):
            yield pixels[:, chosen], kinds[chosen]


def entropy(kinds: Tensor) -> float:
    """Of the frequencies of class numbers (N), in nats."""
    shares = torch.bincount(kinds).double() / len(kinds)
    return float(-torch.xlogy(shares, shares).sum())


def _evaluate(model: nn.Module, *, test: Batch) -> dict[str, float]:
    return judge(model, [test], ONE_OF_MANY)
