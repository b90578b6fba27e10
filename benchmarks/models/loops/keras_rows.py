"""Keras 3 on torch: its own loops, where the fused kernels of a GPU are not used."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from torch import Tensor, nn

from benchmarks.models.loops import B, Build, Built, H, T, inputs, over


def _built(layer: nn.Module, x: Tensor | None = None) -> Built:
    layer(inputs() if x is None else x)  # its weights are made by its first call
    return over(layer, x)


ROWS: dict[str, Build] = {
    "LSTM": lambda: _built(keras.layers.LSTM(H, return_sequences=True)),
    "GRU": lambda: _built(keras.layers.GRU(H, return_sequences=True)),
    "SimpleRNN": lambda: _built(keras.layers.SimpleRNN(H, return_sequences=True)),
    "ConvLSTM1D": lambda: _built(
        keras.layers.ConvLSTM1D(2, 3, return_sequences=True), inputs(B, T, 8, 1)
    ),
}
