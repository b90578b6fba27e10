"""What a recurrent layer may be given, checked before torch runs: what, where, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from throughtime.errors import InputError

# So many equal steps at the end of a sequence are taken for padding.
_PADDING = 3


CUT_OFF = (
    "the loss does not depend on its outputs through the graph: is there a detach(), a .data or an "
    "argmax between the layer and the loss?"
)


LOOSE = (
    "neither the next step nor the loss reads the tensors that were marked: they are copies, made "
    "by torch.cat or reshape perhaps. Mark the very tensors that are handed on: h, or (h, c)"
)


def check_input(module: nn.Module, name: str, given: Any) -> None:
    """Raise ``InputError`` for an input that the recurrent layer ``module`` cannot take."""
    packed = isinstance(given, PackedSequence)
    x = given.data if packed else given
    if not isinstance(x, Tensor):
        return
    size, shape = int(module.input_size), tuple(x.shape)  # type: ignore[arg-type]  # a module's attribute has no type
    if packed:
        check_packed(given, name)
    elif isinstance(module, nn.RNNBase) and x.dim() in (2, 3):
        time = 1 if module.batch_first and x.dim() == 3 else 0
        if shape[time] == 0:
            raise InputError(
                f"layer {name!r} got a sequence of 0 steps (shape {shape}): pass at least one"
            )
    if x.dim() and shape[-1] != size:
        raise InputError(
            f"layer {name!r} reads {size} features, and its input has {shape[-1]} (shape {shape}): "
            f"the last axis must be {size}"
        )
    weight = next(module.parameters(), None)
    autocast = torch.is_autocast_enabled(x.device.type)
    if weight is not None and x.dtype != weight.dtype and not autocast:
        raise InputError(
            f"layer {name!r} has weights of {weight.dtype}, and its input is {x.dtype}: "
            f"convert it with x.to({weight.dtype})"
        )


def check_packed(packed: PackedSequence, name: str) -> None:
    """Raise ``InputError`` if the lengths of a PackedSequence do not fit its data.

    ``pack_padded_sequence`` accepts a length beyond the padded tensor in silence.
    """
    sizes = packed.batch_sizes
    rows, expected = len(packed.data), int(sizes.sum())
    if rows != expected or bool((sizes < 1).any()) or bool((sizes[1:] > sizes[:-1]).any()):
        lengths = (torch.arange(int(sizes[0])).unsqueeze(0) < sizes.unsqueeze(1)).sum(0)
        first = 0 if packed.sorted_indices is None else int(packed.sorted_indices[0])
        raise InputError(
            f"layer {name!r} got a PackedSequence whose lengths do not fit: sequence {first} "
            f"claims {int(lengths.max())} steps, the lengths add up to {expected}, and there are "
            f"{rows} rows of data: check the lengths given to pack_padded_sequence"
        )


def check_lengths(
    lengths: Sequence[int] | Tensor, name: str, steps: int, batch: int
) -> tuple[int, ...]:
    """The lengths as plain integers; ``InputError`` naming the first sequence that does not fit."""
    given = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    for b, length in enumerate(given):
        if length != int(length):
            raise InputError(f"lengths[{b}] is {length}: a sequence has a whole number of steps")
    values = tuple(int(length) for length in given)
    if len(values) != batch:
        raise InputError(
            f"lengths has {len(values)} entries, and layer {name!r} read a batch of {batch}: "
            "give one for each sequence"
        )
    for b, length in enumerate(values):
        if not 1 <= length <= steps:
            raise InputError(
                f"lengths[{b}] is {length}, and layer {name!r} read {steps} steps: sequence {b} "
                f"must have between 1 and {steps}"
            )
    return values


def padded_sequences(inputs: Tensor) -> list[int]:
    """The sequences of a batch (T B I) whose input stands still at the end, as padding does."""
    if len(inputs) <= _PADDING:
        return []
    tail = inputs[-_PADDING - 1 :]
    # An infinite input that stands still is a fault, not padding.
    still = ((tail[1:] == tail[:-1]) & tail[1:].isfinite()).flatten(2).all(-1).all(0)
    if not still.any():
        return []
    # A whole sequence that never moves is a constant input, not a padded one.
    moves = (inputs[1:] != inputs[:-1]).flatten(2).any(-1).any(0)
    return [int(b) for b in (still & moves).nonzero().flatten()]
