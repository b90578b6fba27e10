"""``RecurrentLayer``: what ``nn.LSTM`` does around its arithmetic, around any ``Driven``.

A cell is then a class that names its recurrence, the shapes of its weights and how its paper
initialises them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from throughtime.cells.arguments import Batch, as_batch, check_options, initial_states
from throughtime.recurrences.driven import Driven
from throughtime.recurrences.unrolling import Place, unroll

State = Tensor | tuple[Tensor, ...]
Shapes = dict[str, tuple[int, ...]]


class RecurrentLayer(nn.Module, ABC):
    """A stack of recurrences, one or two directions each, called as ``nn.LSTM`` is.

    Args:
        input_size: input features I.
        hidden_size: hidden units H.
        num_layers: layers L, each reading the one below.
        bias: without it the layer has no weight whose name begins with ``bias``.
        batch_first: inputs and outputs are (B T ·) in place of (T B ·).
        dropout: probability of a zero between two layers, while training.
        bidirectional: a second direction reads every sequence from its end: D = 2.
        device: of the weights.
        dtype: of the weights.
        settings: the recurrence's own, by name.

    A call takes the input (T B I), (T I) without a batch, or a PackedSequence, and, unless it
    starts at zero, the state (D·L B H): a tuple of such tensors where the state has several
    ``parts``. It returns the output of the last layer (T B D·H) at every step, and the final state.

    The weights are parameters named as torch names them: ``weight_ih_l0``, ``bias_l1_reverse``.

    Raises:
        InputError: options, an input or a state that do not fit.
    """

    recurrence: ClassVar[type[Driven]]
    parts: ClassVar[tuple[str, ...]] = ("h",)
    """The parts of the state, H numbers each, in the order in which it holds them."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        settings: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        check_options(type(self).__name__, input_size, hidden_size, num_layers, dropout)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional = float(dropout), bidirectional
        self.settings = dict(settings or {})
        for layer in range(num_layers):
            reads = input_size if layer == 0 else hidden_size * self.directions
            for suffix in self._suffixes(layer):
                for name, shape in self._shapes(reads).items():
                    weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(name + suffix, weight)
        self.reset_parameters()

    @abstractmethod
    def shapes(self, reads: int) -> Shapes:
        """The shape of every weight of one layer, by the recurrence's names; ``reads`` features."""

    def initialise_(self, weights: dict[str, Tensor], layer: int) -> None:
        """Draw the weights of one layer and direction, in place: U(−1/√H, 1/√H), as torch does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in weights.values():
            weight.uniform_(-bound, bound)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                self.initialise_(self.weights_of(suffix), layer)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return next(self.parameters()).dtype

    @property
    def directions(self) -> int:
        """D: 2 where it is bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def weights_of(self, suffix: str) -> dict[str, Tensor]:
        """The weights of one layer in one direction, by the recurrence's names."""
        named = ((name, getattr(self, name + suffix, None)) for name in self.recurrence.names)
        return {name: weight for name, weight in named if weight is not None}

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002  — as torch names it
        hx: State | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """The output of the last layer at every step, and the final state."""
        batch = as_batch(self, input)
        states = initial_states(self, batch, hx)
        inputs, scale, finals = batch.inputs, None, []
        for layer in range(self.num_layers):
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                initial = states[layer * self.directions + direction]
                place = self._place(layer, bool(direction), batch, scale)
                output, final = self._run(inputs, initial, suffix, place, batch)
                outputs.append(output)
                finals.append(final)
            inputs = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
            if layer < self.num_layers - 1:
                inputs, scale = self._drop(inputs)
        parts = torch.stack(finals).split(self.hidden_size, -1)
        state = tuple(batch.state(part) for part in parts)
        return batch.output(inputs), state if len(state) > 1 else state[0]

    def _run(
        self, inputs: Tensor, initial: Tensor, suffix: str, place: Place, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """One layer in one direction: what the layer above reads, and the final state (B S)."""
        weights = self.weights_of(suffix)
        given = [weights.get(name) for name in self.recurrence.names]
        inputs = batch.turned(inputs) if place.reverse else inputs
        states = unroll(self.recurrence, self.settings, inputs, initial, given, place)
        output = self.recurrence(*given, **self.settings).outputs(states)
        return batch.turned(output) if place.reverse else output, batch.last(states)

    def _place(self, layer: int, reverse: bool, batch: Batch, scale: Tensor | None) -> Place:
        name = (f".l{layer}" if self.num_layers > 1 else "") + (".reverse" if reverse else "")
        return Place(name, reverse, batch.lengths, batch.unsorted, scale)

    def _drop(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Dropout between layers, and its mask."""
        if not (self.training and self.dropout > 0):
            return outputs, None
        keep = 1 - self.dropout
        scale = torch.empty_like(outputs).bernoulli_(keep)
        scale = scale.div_(keep) if keep else scale
        return outputs * scale, scale

    def _shapes(self, reads: int) -> Shapes:
        shapes = self.shapes(reads)
        return {n: s for n, s in shapes.items() if self.bias or not n.startswith("bias")}

    def _suffixes(self, layer: int) -> tuple[str, ...]:
        return (f"_l{layer}", f"_l{layer}_reverse")[: self.directions]

    def extra_repr(self) -> str:
        said = [f"{self.input_size}, {self.hidden_size}"]
        defaults: dict[str, object] = {"num_layers": 1, "bias": True, "batch_first": False}
        defaults |= {"dropout": 0.0, "bidirectional": False}
        said += [
            f"{n}={getattr(self, n)}" for n, value in defaults.items() if getattr(self, n) != value
        ]
        said += [f"{name}={value:g}" for name, value in self.settings.items()]
        return ", ".join(said)
