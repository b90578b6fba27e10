"""One checkpoint, as bytes: a safetensors file whose metadata carries the skeleton of the state.

And of which run and step it is: whatever file lies under its name, another state is never loaded.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError

from throughtime.errors import RunError
from throughtime.runs.skeleton import put_together, take_apart

_KEY = "throughtime"  # the one entry of the metadata: the same state gives the same bytes
_LONGEST = 100_000_000  # bytes that the format allows for names, shapes and metadata


class Held(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        run: the identity of the run that saved it.
        step: after how many training steps.
        state: tensors and plain values.
    """

    run: str
    step: int
    state: Any


def encode(state: Mapping[str, Any], run: str, step: int) -> bytes:
    """A state as the bytes of a file; equal states of one run and step give equal bytes.

    Raises ``RunError`` for a state that cannot be held: see ``skeleton``.
    """
    tensors, skeleton = take_apart(state)
    told = json.dumps({"run": run, "step": step, "state": skeleton}, allow_nan=False)
    content = safetensors.torch.save(tensors, {_KEY: told})
    if _header_length(content) > _LONGEST:
        raise RunError(
            "the plain values of the state, without its tensors, take more than "
            f"{_LONGEST:,} bytes: keep long lists of numbers as tensors"
        )
    return content


def decode(content: bytes) -> Held:
    """The state again, its tensors on the CPU. Nothing in it is ever executed.

    Raises ``ValueError`` if these are not the bytes of a checkpoint.
    """
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + _header_length(content)])
        told = json.loads(header["__metadata__"][_KEY])
        return Held(told["run"], told["step"], put_together(tensors, told["state"]))
    except (SafetensorError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise ValueError(str(error)) from error


def _header_length(content: bytes) -> int:
    (length,) = struct.unpack_from("<Q", content)
    return int(length)
