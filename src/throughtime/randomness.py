"""What users' code draws from (torch, ``random``, numpy's global) or changes, kept apart."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from throughtime.attributes import Attributes
from throughtime.problem import seeded

States = dict[str, Any]


@contextmanager
def randomness(seed: int, model: nn.Module | None = None) -> Iterator[None]:
    """Everything global draws from ``seed`` inside the block, and is as it was afterwards.

    On the CPU, and on the devices of the model.
    """
    with _others_kept(), seeded(seed, model):
        _seed_others(seed)
        yield


def seed_everything(seed: int) -> None:
    """Seed all that a file of a user's may draw from when it makes a model. For a process of ours.

    Unlike ``randomness`` it lasts.
    """
    torch.manual_seed(seed)
    _seed_others(seed)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Look at ``model`` inside the block, and train on as if nobody had.

    Random states, gradients, buffers, plain attributes and the mode of every module are as they
    were afterwards.
    """
    modes = [(module, module.training) for module in model.modules()]
    with _others_kept(), torch.random.fork_rng(devices(model)), kept(model):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Put back ``.grad``, None inside the block, buffers and what is kept in plain attributes.

    Whatever happens in between: they may be changed in place, or others put in their place.
    """
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    registered = [
        (module._buffers, dict(module._buffers))
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)  # whose buffers cannot be exchanged
    ]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    attributes = Attributes(model)
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        attributes.put_back()
        for now, before in registered:
            now.clear()
            now.update(before)
        with torch.no_grad():
            for buffer, content in buffers:
                if not torch.equal(buffer, content):  # else a graph that it is in would be spoiled
                    buffer.copy_(content)


def random_states(seed: int, model: nn.Module) -> States:
    """The states of all generators, as tensors and plain values.

    Those of Python and numpy only where something drew from them since they were seeded.
    """
    states: States = {"torch": torch.get_rng_state()}
    for device in devices(model):
        states[f"cuda:{device}"] = torch.cuda.get_rng_state(device)
    version, numbers, gauss = random.getstate()
    if (version, numbers, gauss) != random.Random(seed).getstate():
        states["python"] = [version, torch.tensor(numbers), gauss]
    state = _numpy_state()
    fresh = np.random.RandomState(_small(seed)).get_state(legacy=False)
    if state["state"]["pos"] != fresh["state"]["pos"] or not np.array_equal(
        state["state"]["key"], fresh["state"]["key"]
    ):
        key = torch.from_numpy(state["state"]["key"].astype(np.int64))
        more = state["state"]["pos"], state["has_gauss"], state["gauss"]
        states["numpy"] = [key, *more]
    return states


def restore(states: States, model: nn.Module) -> None:
    """Go on from where ``random_states`` was called."""
    torch.set_rng_state(states["torch"])
    for device in devices(model):
        torch.cuda.set_rng_state(states[f"cuda:{device}"], device)
    if "python" in states:
        version, numbers, gauss = states["python"]
        random.setstate((version, tuple(numbers.tolist()), gauss))
    if "numpy" in states:
        key, position, has_gauss, gauss = states["numpy"]
        np.random.set_state(  # noqa: NPY002  — a user's file draws from it
            ("MT19937", key.numpy().astype(np.uint32), position, has_gauss, gauss)
        )


@contextmanager
def _others_kept() -> Iterator[None]:
    python, numpy = random.getstate(), _numpy_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002  — a user's file draws from it


def _seed_others(seed: int) -> None:
    random.seed(seed)
    np.random.seed(_small(seed))  # noqa: NPY002  — a user's file draws from it


def _numpy_state() -> dict[str, Any]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002  — a user's file draws from it
    assert isinstance(state, dict)
    return state


def _small(seed: int) -> int:
    return seed % 2**32  # numpy's generator takes no larger one


def devices(model: nn.Module) -> list[int]:
    """The numbers of the CUDA devices that the model lives on."""
    return sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
