"""Where the weights of a recurrent module are: by layer, by direction and by gate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from throughtime.cells.layer import RecurrentLayer
from throughtime.errors import InputError
from throughtime.problem import shown
from throughtime.recurrences import GRU, LSTM, Elman, Recurrence
from throughtime.recurrences.janet import JANET
from throughtime.recurrences.mingru import MinGRU

TORCHS_OWN: dict[type[nn.Module], type[Recurrence]] = {
    nn.RNN: Elman,
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.RNNCell: Elman,
    nn.LSTMCell: LSTM,
    nn.GRUCell: GRU,
}
KEEPING: dict[type[Recurrence], tuple[str, int]] = {
    LSTM: ("f", 1),
    GRU: ("z", 1),  # as in torch: h' = (1 − z) n + z h
    JANET: ("f", 1),
    MinGRU: ("z", -1),  # h' = (1 − z) h + z n
}
"""The gate that keeps the state, and the sign that its bias needs to keep more."""

_WEIGHT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|bias)(|_l\d+|_l\d+_reverse)")


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer in one direction, as views that can be written to.

    Attributes:
        name: as a ``Trace`` of the model calls it: ``"rnn"``; of a stack or a layer that runs both
            ways with what tells them apart: ``"rnn.l0.reverse"``.
        recurrence: what is computed with them.
        module: that has them, under the names of torch and this ``suffix``: ``"_l0_reverse"``.
        weight_ih: reads the input, (G·H, I).
        weight_hh: reads the state, (G·H, H), or (G·H) where every unit reads itself alone; None
            where a layer has none of its own.
        biases: every bias that is added, (G·H) each: torch has two.
    """

    name: str
    recurrence: type[Recurrence]
    module: nn.Module
    suffix: str
    weight_ih: Tensor
    weight_hh: Tensor | None
    biases: tuple[Tensor, ...]

    @property
    def gates(self) -> tuple[str, ...]:
        """What the rows feed, H rows each: ``("i", "f", "g", "o")``."""
        return self.recurrence.gates

    @property
    def keeping(self) -> tuple[str, int] | None:
        """The gate that keeps the state, and the sign of its bias; None without one."""
        kinds = (kind for kind in KEEPING if issubclass(self.recurrence, kind))
        return next((KEEPING[kind] for kind in kinds), None)

    @property
    def recurrent_blocks(self) -> dict[str, Tensor]:
        """The rows of W_hh that feed each gate; empty where these are no matrices of gates."""
        return {} if self.weight_hh is None or not self.gates else self.blocks(self.weight_hh)

    def blocks(self, weight: Tensor) -> dict[str, Tensor]:
        """The rows of ``weight`` that feed each gate, as views."""
        return dict(zip(self.gates, weight.detach().chunk(len(self.gates)), strict=True))

    def bias(self, gate: str) -> Tensor:
        """What the biases of one gate add up to, (H)."""
        return torch.stack([self.blocks(bias)[gate] for bias in self.biases]).sum(0)

    def set_bias(self, gate: str, value: Tensor | float) -> None:
        """Make the biases of one gate add up to ``value``: the first holds it, the others 0."""
        first, *others = (self.blocks(bias)[gate] for bias in self.biases)
        first.copy_(value) if isinstance(value, Tensor) else first.fill_(value)
        for other in others:
            other.zero_()


def square_blocks(
    module: nn.Module, what: str, *, diagonal: bool = False
) -> list[tuple[LayerWeights, list[Tensor]]]:
    """The recurrent blocks of every layer, all found before one is changed: (H H) each.

    Args:
        module: a recurrent layer or cell, or a model that holds some.
        what: that needs them, as the error says it.
        diagonal: whether blocks of single units (H) will do as well.

    Raises:
        InputError: no recurrent layer in it, or one without such blocks.
    """
    found = []
    for weights in recurrent_weights(module):
        blocks = _blocks_of(weights, what).items()
        found.append((weights, [_checked(weights, *one, what, diagonal) for one in blocks]))
    return found


def _blocks_of(weights: LayerWeights, what: str) -> dict[str, Tensor]:
    if weights.recurrent_blocks:
        return weights.recurrent_blocks
    name = f"weight_hh{weights.suffix}"
    if parametrize.is_parametrized(weights.module, name):
        raise InputError(
            f"{weights.name}: its recurrent matrix is parametrised: {what} has to come before "
            f"that, or after torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})"
        )
    raise InputError(
        f"{weights.name}: {weights.recurrence.kind} has no recurrent matrix for {what}: leave it "
        "as it is"
    )


def _checked(weights: LayerWeights, gate: str, block: Tensor, what: str, diagonal: bool) -> Tensor:
    square = block.dim() == 2 and block.shape[0] == block.shape[1]
    if not square and not (diagonal and block.dim() == 1):
        raise InputError(
            f"{weights.name}: its recurrent weights of gate {gate} have the shape "
            f"{tuple(block.shape)}, and {what} needs a square matrix: take a layer "
            "without projection or diagonal weights"
        )
    return block


def recurrent_weights(module: nn.Module) -> list[LayerWeights]:
    """The weights of every recurrent layer in ``module``, layer by layer, direction by direction.

    Raises:
        InputError: there is no such layer in it.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"a remedy takes a torch.nn.Module, not {shown(module)}")
    found = [weights for name, part in module.named_modules() for weights in _weights(name, part)]
    if not found:
        raise InputError(
            f"no recurrent layer in this {type(module).__name__}: give an nn.RNN, nn.LSTM, nn.GRU, "
            "a cell of these, a layer of throughtime.cells, or a model that holds one"
        )
    return found


def with_keeping_gate(module: nn.Module, what: str) -> list[tuple[LayerWeights, str, int]]:
    """Every layer beside the gate that keeps its state, and the sign of the bias that does.

    Args:
        module: a gated layer or cell, or a model that holds some.
        what: that sets the bias, as the error says it.

    Raises:
        InputError: no recurrent layer in it, or one that has no such gate, or no bias.
    """
    found = []
    for weights in recurrent_weights(module):
        if weights.keeping is None:
            raise InputError(
                f"{weights.name} has no gate that keeps its state, and {what} sets the bias of "
                "one: take an LSTM, a GRU, a JANET or a minGRU"
            )
        if not weights.biases:
            raise InputError(f"{weights.name} has no bias for {what} to set: make it with bias")
        found.append((weights, *weights.keeping))
    return found


def _weights(name: str, module: nn.Module) -> Iterator[LayerWeights]:
    recurrence = _recurrence_of(module)
    if recurrence is None:
        return
    layers: dict[str, dict[str, Tensor]] = {}
    for parameter, weight in module.named_parameters(recurse=False):
        if match := _WEIGHT.fullmatch(parameter):
            layers.setdefault(match[2], {})[match[1]] = weight
    for suffix, weights in layers.items():
        yield LayerWeights(
            name=_named(name or type(module).__name__.lower(), module, suffix),
            recurrence=recurrence,
            module=module,
            suffix=suffix,
            weight_ih=weights["weight_ih"],
            weight_hh=weights.get("weight_hh"),
            biases=tuple(weight for key, weight in weights.items() if key.startswith("bias")),
        )


def _named(name: str, module: nn.Module, suffix: str) -> str:
    """What a capture calls the layer and direction of this suffix."""
    layer, _, reverse = suffix.removeprefix("_").partition("_")
    several = getattr(module, "num_layers", 1) > 1
    return ".".join(part for part in (name, layer if several else "", reverse) if part)


def _recurrence_of(module: nn.Module) -> type[Recurrence] | None:
    if isinstance(module, RecurrentLayer):
        return module.recurrence
    return next((TORCHS_OWN[kind] for kind in type(module).__mro__ if kind in TORCHS_OWN), None)
