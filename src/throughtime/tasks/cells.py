"""The recurrent layers that every task offers by name."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from throughtime.errors import InputError

CellName = Literal["rnn", "lstm", "gru"]

LAYERS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def recurrent_layer(
    cell: CellName, inputs: int, hidden: int, forget_bias: float | None = None
) -> nn.RNN | nn.LSTM | nn.GRU:
    """``nn.RNN`` (Elman, tanh), ``nn.LSTM`` or ``nn.GRU``: input (T B I), output (T B H).

    Args:
        cell: which one.
        inputs: input features I.
        hidden: hidden units H.
        forget_bias: for an LSTM, the bias that its forget gates start with, so that they start near
            ``σ(forget_bias)`` (Gers, Schmidhuber & Cummins 2000); None leaves torch's own, near 0.

    Raises:
        InputError: the cell is not known, or has no forget gate to set the bias of.
    """
    if cell not in LAYERS:
        raise InputError(f"cell {cell!r} is not known: choose one of {', '.join(LAYERS)}")
    layer = LAYERS[cell](inputs, hidden)
    if forget_bias is not None:
        if cell != "lstm":
            raise InputError(f"forget_bias is for an lstm: a {cell} has no forget gate")
        with torch.no_grad():
            # torch adds two biases, in blocks i f g o: together they must make forget_bias.
            layer.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = forget_bias
            layer.get_parameter("bias_hh_l0")[hidden : 2 * hidden] = 0.0
    return layer
