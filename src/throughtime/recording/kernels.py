"""torch's recurrent kernels, run layer by layer and direction by direction.

``nn.LSTM`` and its sisters hand a whole stack to one kernel call. Nothing between its layers has a
gradient that anybody could see. Here the same kernel is called once for each layer and direction:
the same arithmetic, the same random numbers for dropout, and a tensor in between.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.trace import turn

_FUNCTIONS: Any = torch._C._VariableFunctions

FUSED: dict[Callable[..., Any], str] = {
    _FUNCTIONS.rnn_tanh: "RNN_TANH",
    _FUNCTIONS.rnn_relu: "RNN_RELU",
    _FUNCTIONS.lstm: "LSTM",
    _FUNCTIONS.gru: "GRU",
}
CELLS: dict[Callable[..., Any], str] = {
    _FUNCTIONS.rnn_tanh_cell: "RNN_TANH",
    _FUNCTIONS.rnn_relu_cell: "RNN_RELU",
    _FUNCTIONS.lstm_cell: "LSTM",
    _FUNCTIONS.gru_cell: "GRU",
}


class One(NamedTuple):
    """One layer in one direction, about to run: inputs in the order of computation."""

    layer: int
    reverse: bool
    inputs: Tensor
    packed: Packed | None
    initial: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    scale: Tensor | None


class Ran(NamedTuple):
    """What it gave: outputs in the order of computation, and the final state (1 B ·) by part."""

    outputs: Tensor
    final: tuple[Tensor, ...]


@dataclass(frozen=True)
class Packed:
    """The layout of a packed batch: row n of its data is step t of sequence b where ``mask``."""

    batch_sizes: Tensor
    mask: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, batch_sizes: Tensor, device: torch.device) -> Packed:
        """From the ``batch_sizes`` of a PackedSequence."""
        batch = torch.arange(int(batch_sizes[0]))
        mask = batch.unsqueeze(0) < batch_sizes.unsqueeze(1)
        return cls(batch_sizes, mask.to(device), tuple(mask.sum(0).tolist()))

    def pad(self, data: Tensor) -> Tensor:
        """(N …) as packed to (T B …), zero past the end of a sequence."""
        padded = data.new_zeros(*self.mask.shape, *data.shape[1:])
        padded[self.mask] = data
        return padded

    def turned(self, data: Tensor) -> Tensor:
        """Packed data with the time of every sequence reversed."""
        rows = torch.arange(len(data), device=data.device)
        turned = turn(self.pad(rows), self.lengths)[self.mask]
        return data.index_select(0, turned)


@dataclass(frozen=True)
class Fused:
    """The arguments of one call of ``torch.lstm``, ``gru``, ``rnn_tanh`` or ``rnn_relu``."""

    function: Callable[..., Any]
    inputs: Tensor
    batch_sizes: Tensor | None
    states: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    has_biases: bool
    layers: int
    dropout: float
    training: bool
    bidirectional: bool
    batch_first: bool

    @classmethod
    def parse(cls, function: Callable[..., Any], args: tuple[Any, ...]) -> Fused:
        """From the positional arguments, of the padded form or of the packed one."""
        inputs, second, third, fourth, *rest = args
        packed = isinstance(second, Tensor) and not second.is_floating_point()
        if packed:
            states, weights, (has_biases, *rest) = third, fourth, rest
        else:
            states, weights, has_biases = second, third, fourth
        layers, dropout, training, bidirectional = rest[:4]
        return cls(
            function,
            inputs,
            second if packed else None,
            (states,) if isinstance(states, Tensor) else tuple(states),
            tuple(weights),
            has_biases,
            layers,
            dropout,
            training,
            bidirectional,
            False if packed else rest[4],
        )

    def run_one(self, one: One) -> Ran:
        """The kernel itself, for one layer in one direction (always called as a forward one)."""
        states = tuple(part.unsqueeze(0) for part in one.initial)
        hidden = states[0] if len(states) == 1 else states
        sizes = () if one.packed is None else (one.packed.batch_sizes,)
        batch_first = () if one.packed is not None else (False,)
        tail = (self.has_biases, 1, 0.0, self.training, False, *batch_first)
        with self._on_gpu():
            result = self.function(one.inputs, *sizes, hidden, list(one.weights), *tail)
        return Ran(result[0], tuple(result[1:]))

    def run(self, run_one: Callable[[One], Ran]) -> tuple[Tensor, ...]:
        """All layers and directions, each through ``run_one``; the kernel's own return values."""
        inputs = self.inputs.transpose(0, 1) if self.batch_first else self.inputs
        packed = None if self.batch_sizes is None else Packed.of(self.batch_sizes, inputs.device)
        directions = 2 if self.bidirectional else 1
        count = len(self.weights) // (self.layers * directions)
        finals: list[tuple[Tensor, ...]] = []
        scale: Tensor | None = None
        for layer in range(self.layers):
            outputs = []
            for reverse in (False, True)[:directions]:
                index = layer * directions + reverse
                flip = _turner(packed) if reverse else _as_it_is
                initial = tuple(part[index] for part in self.states)
                weights = self.weights[index * count : (index + 1) * count]
                ran = run_one(One(layer, reverse, flip(inputs), packed, initial, weights, scale))
                outputs.append(flip(ran.outputs))
                finals.append(ran.final)
            inputs = outputs[0] if directions == 1 else torch.cat(outputs, -1)
            last = layer == self.layers - 1
            inputs, scale = (inputs, None) if last else self._drop(inputs)
        output = inputs.transpose(0, 1) if self.batch_first else inputs
        return (output, *(joined(parts) for parts in zip(*finals, strict=True)))

    def _drop(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Dropout between layers, and the mask it used: the one that the whole kernel would use."""
        if not (self.training and self.dropout > 0):
            return outputs, None
        if self.dropout >= 1:
            return outputs * 0, torch.zeros_like(outputs)
        keep = 1 - self.dropout
        scale = torch.empty_like(outputs.detach()).bernoulli_(keep).div_(keep)
        return outputs * scale, scale

    @contextmanager
    def _on_gpu(self) -> Iterator[None]:
        """What cuDNN needs, for this call alone.

        It has no backward in eval mode: there the native kernel runs. And it warns of weights that
        are not one piece of memory, as those of one layer out of several are not.
        """
        if not self.inputs.is_cuda:
            yield
            return
        native = not self.training and torch.is_grad_enabled()
        off = torch.backends.cudnn.flags(enabled=False) if native else nullcontext()
        with warnings.catch_warnings(), off:
            scattered = "RNN module weights are not part of single"
            warnings.filterwarnings("ignore", scattered)  # as one layer's out of several must be
            yield


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Parts one after another along the first axis; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _turner(packed: Packed | None) -> Callable[[Tensor], Tensor]:
    return (lambda values: values.flip(0)) if packed is None else packed.turned
