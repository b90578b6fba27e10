"""The processes of one training: shares of a batch, averaged gradients, decisions of the first.

Every collective call stands where all processes come by: one process that went its own way would
leave the others waiting.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from throughtime.errors import InputError, LostProcessError, ThroughtimeError
from throughtime.problem import Batch, Problem

T = TypeVar("T")
PATIENCE = timedelta(minutes=10)  # how long to wait for another process


class Processes:
    """Those of torch's default process group, if there is one; else this process alone.

    Attributes:
        rank: the number of this process; 0 alone prints and records.
        world: how many there are.
    """

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and records."""
        return self.rank == 0

    def share(self, problem: Problem, batch: Batch) -> Batch:
        """What this process takes of a global batch.

        Raises ``InputError`` where it cannot be cut into equal shares.
        """
        if self.world == 1:
            return batch
        return (problem.shard or share_of_tensors)(batch, self.rank, self.world)

    def average(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Average gradients in place, and the loss, over all processes: one collective call.

        A parameter without a gradient in every process keeps none.
        """
        if self.world == 1:
            return loss
        dtype = (
            torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32
        )
        has = [0.0 if p.grad is None else 1.0 for p in parameters]
        pieces = [
            torch.zeros(p.numel(), dtype=dtype, device=p.device)
            if p.grad is None
            else p.grad.detach().flatten().to(dtype)
            for p in parameters
        ]
        device = parameters[0].device
        flat = torch.cat(
            [torch.tensor(has, dtype=dtype, device=device), *pieces, loss.to(dtype)[None]]
        )
        self._collectively(lambda: dist.all_reduce(flat))
        counts, gradients = flat[: len(has)].tolist(), flat[len(has) : -1] / self.world
        start = 0
        for parameter, count in zip(parameters, counts, strict=True):
            piece = gradients[start : start + parameter.numel()]
            start += parameter.numel()
            if count:
                parameter.grad = piece.view_as(parameter).to(parameter.dtype)
        return flat[-1].to(loss.dtype) / self.world

    def agree(self, decision: int) -> int:
        """What the first process decided."""
        if self.world == 1:
            return decision
        told = torch.tensor([decision])
        self._collectively(lambda: dist.broadcast(told, 0))
        return int(told)

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the tensors of the first."""
        if self.world > 1:
            for tensor in tensors:
                self._collectively(lambda one=tensor: dist.broadcast(one.detach(), 0))  # type: ignore[misc]  # a lambda's default has no type

    def all_of(self, value: T) -> list[T]:
        """The values of all processes, in order."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        self._collectively(lambda: dist.all_gather_object(values, value))
        return values

    def told_by_first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process; an error there is an error everywhere."""
        if self.world == 1:
            return make()
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = make()
            except ThroughtimeError as error:
                told[1] = error
        self._collectively(lambda: dist.broadcast_object_list(told, 0))
        if told[1] is not None:
            raise told[1]
        made: T = told[0]
        return made

    def _collectively(self, call: Callable[[], object]) -> None:
        try:
            call()
        except RuntimeError as error:  # the connection is closed, or patience at an end
            self._lost(error)

    def _lost(self, error: RuntimeError) -> NoReturn:
        raise LostProcessError(
            f"process {self.rank} of {self.world}: another process of this training has ended or "
            "does not answer: see what it said; start again with --resume"
        ) from error


def share_of_tensors(batch: Batch, rank: int, world: int) -> Batch:
    """One of ``world`` equal shares of a tuple of tensors: axis 1, or axis 0 if there is one only.

    Raises:
        InputError: the batch is something else, or its size cannot be divided.
    """
    if isinstance(batch, Tensor):
        return share_of_tensors((batch,), rank, world)[0]
    if not isinstance(batch, (tuple, list)) or not all(isinstance(t, Tensor) for t in batch):
        raise InputError(
            f"a batch of type {type(batch).__name__} cannot be shared among {world} processes: "
            "give the Problem shard="
        )
    return type(batch)(_share(tensor, rank, world) for tensor in batch)


def _share(tensor: Tensor, rank: int, world: int) -> Tensor:
    axis = 1 if tensor.ndim > 1 else 0
    size = tensor.shape[axis] if tensor.ndim else 0
    if not size or size % world:
        raise InputError(
            f"a batch of {size} cannot be shared equally among {world} processes: give a multiple "
            f"of {world}"
        )
    return tensor.narrow(axis, rank * (size // world), size // world)


def started_by_torchrun() -> bool:
    """Whether torchrun made this process, one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def joined(patience: timedelta = PATIENCE) -> Iterator[Processes]:
    """Join the processes that torchrun started, over gloo; without torchrun this process alone.

    Args:
        patience: how long to wait for another process before giving up.

    Raises:
        LostProcessError: the others do not come.
    """
    if not started_by_torchrun():
        yield Processes()
        return
    # Its functions take the process group of the moment it is imported for their default. torch's
    # optimisers import it on first use, and would so keep the group, and the threads of gloo, until
    # the interpreter ends, where a thread that is still at work aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        dist.init_process_group("gloo", timeout=patience)
    except RuntimeError as error:
        raise LostProcessError("the other processes of this training do not come") from error
    try:
        yield Processes()
    finally:
        dist.destroy_process_group()
