"""``StandIn``: a cell that answers as the layer whose place it took.

An ``nn.RNN`` gives its state as one tensor, an ``nn.LSTM`` as a pair. Code written for the one must
go on working around the other, and nothing that a cell remembers may be lost on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from throughtime.cells import LRU, RecurrentLayer
from throughtime.errors import InputError

State = Tensor | tuple[Tensor, ...]

# What moves or picks numbers and computes none: done to h, it is done to every part alike.
_MOVES = {
    "detach", "clone", "contiguous", "to", "cpu", "cuda", "float", "double", "half", "bfloat16",
    "__deepcopy__", "__getitem__", "index_select", "narrow", "squeeze", "unsqueeze", "view",
    "reshape", "transpose", "permute", "expand", "repeat", "repeat_interleave",
}  # fmt: skip  # rows of a table


class CarriedState(Tensor):
    """A tensor h that the caller sees, and with it all parts of the state of which it is one.

    Detached, copied, moved to a device, reshaped, indexed or pickled, it takes its parts along;
    whatever is computed from it is a plain tensor, and so is what ``torch.compile`` makes of it.
    """

    parts: tuple[Tensor, ...]
    names: tuple[str, ...]
    version: int

    @classmethod
    def of(cls, h: Tensor, parts: Sequence[Tensor], names: tuple[str, ...]) -> CarriedState:
        """``h``, carrying ``parts`` of these names, each of its shape."""
        state = h.as_subclass(cls)
        state.parts, state.names, state.version = tuple(parts), names, _version(state)
        return state

    @property
    def changed(self) -> bool:
        """Whether h was written to, which its parts do not know."""
        return _version(self) != self.version

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts, "names": () if self.changed else self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.parts, self.names, self.version = state["parts"], state["names"], _version(self)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            state = args[0] if args else None
            moves = func.__name__ in _MOVES or func == Tensor.data.__get__  # type: ignore[attr-defined]  # torch types it as a plain attribute
            if not (moves and isinstance(state, cls)):
                return func(*args, **kwargs)
            h, *parts = (
                func(one, *args[1:], **kwargs) for one in (state.as_subclass(Tensor), *state.parts)
            )
            return cls.of(h, parts, state.names)


class StandIn(nn.Module):
    """A recurrent layer, called as the layer whose place it took.

    Its state has the form that the caller knows. Where the cell's own state is larger, h is a
    ``CarriedState``; where it is smaller, the caller's pair is (h, h). h is the output at the last
    step; of an LRU, whose state is not its output, that holds for the topmost layer, and below it h
    is the real part of the state.

    What the caller asks of the layer (``hidden_size``, ``weight_hh_l0``), the cell answers.

    Args:
        cell: the layer that computes.
        key: the name that it is registered under.
        pair: the caller's state is a pair of tensors, as an LSTM's; else one tensor.
        place: the name of the layer in its model, for errors.
        replaced: what stood there, for the reader.

    Raises:
        InputError: by a call, for a state that the cell cannot hold or that lacks a part of its.
    """

    proj_size = 0

    def __init__(self, cell: nn.Module, key: str, pair: bool, place: str, replaced: str) -> None:
        super().__init__()
        self.key, self.pair, self.place, self.replaced = key, pair, place, replaced
        self.add_module(key, cell)

    @property
    def cell(self) -> nn.Module:
        """The layer that computes."""
        return self.get_submodule(self.key)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            cell = self.__dict__.get("_modules", {}).get(self.__dict__.get("key"))
            if cell is None or name == "cell":
                raise
            return getattr(cell, name)

    def flatten_parameters(self) -> None:
        """As torch's layers have it; a cell of ours has nothing to flatten."""
        if isinstance(self.cell, nn.RNNBase):
            self.cell.flatten_parameters()

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002  — as torch names it
        hx: State | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """The output of the last layer at every step, and the final state in the caller's form."""
        parts = parts_of(self.cell)
        same = len(parts) == 1 + self.pair and not isinstance(self.cell, LRU)
        given = hx if same or hx is None else self._given(hx, parts)
        output, state = self.cell(input, given)
        return output, state if same else self._shown(output, state, parts)

    def _given(self, hx: State, parts: tuple[str, ...]) -> State:
        """The state of the cell that the caller's stands for."""
        h = self._one_of(hx) if self.pair else hx
        assert isinstance(h, Tensor)
        if isinstance(h, CarriedState) and h.names == parts and not h.changed:
            return h.parts
        if len(parts) == 1:
            return h
        if not _is_the_start(h):
            raise InputError(
                f"layer {self.place!r}: the state of {self._kind} is {' and '.join(parts)}, and it "
                "was given a single tensor that is not zero: pass on the state that the layer "
                "returned, detached, copied or indexed if need be (what is computed from it has "
                "lost the rest), or replace by a cell whose state is one tensor, such as gru"
            )
        return (h,) * len(parts)

    def _one_of(self, hx: State) -> Tensor:
        """h of the caller's pair, whose c has to say nothing that h does not."""
        h, c = hx
        if not (c is h or _is_the_start(c) or (bool(c.any()) and torch.equal(c, h))):
            raise InputError(
                f"layer {self.place!r}: {self._kind} takes h alone of the pair that it was given, "
                "and c, which is neither h nor zero, would be lost: pass on the pair that the "
                "layer returned, or replace by a cell whose state is a pair, such as lstm or lem"
            )
        return h

    def _shown(
        self, output: Tensor | PackedSequence, state: State, names: tuple[str, ...]
    ) -> State:
        """The state of the cell in the form that the caller knows."""
        parts = (state,) if isinstance(state, Tensor) else state
        h = parts[0]
        if isinstance(self.cell, LRU):
            ends = _ends(self.cell, output)
            h = torch.cat([h[: -len(ends)], ends])
        if len(parts) > 1:
            h = CarriedState.of(h, parts, names)
        return (h, h) if self.pair else h

    @property
    def _kind(self) -> str:
        return f"the {type(self.cell).__name__}"

    def extra_repr(self) -> str:
        return f"in place of {self.replaced}"


def parts_of(layer: nn.Module) -> tuple[str, ...]:
    """The parts of a layer's state, in the order in which it returns them."""
    if isinstance(layer, RecurrentLayer):
        return layer.parts
    return ("h", "c") if isinstance(layer, nn.LSTM) else ("h",)


def _ends(layer: RecurrentLayer, output: Tensor | PackedSequence) -> Tensor:
    """What each direction of the topmost layer gave last: (D B H), or (D H) without a batch."""
    if isinstance(output, PackedSequence):
        padded, lengths = pad_packed_sequence(output)
        forward, backward = padded[lengths - 1, torch.arange(len(lengths))], padded[0]
    else:
        first = 1 if layer.batch_first and output.dim() == 3 else 0
        forward, backward = output.select(first, -1), output.select(first, 0)
    size = layer.hidden_size
    ends = [forward[..., :size], backward[..., size:]]
    return torch.stack(ends[: layer.directions])


def _is_the_start(state: Tensor) -> bool:
    """Whether it is zero, where every cell starts, and stays so: what is learned would move."""
    learned = isinstance(state, nn.Parameter) or state.grad_fn is not None
    return not learned and not bool(state.any())


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; one made in inference mode does not know."""
    return -1 if tensor.is_inference() else tensor._version
