"""LSTM, GRU and attention, as torch has them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.modern.mixers.mixer import DEPTH, WIDTH, Called, Mixer

_HEADS = 4


class Attention(nn.Module):
    """Causal softmax attention with rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        split = self.qkv(x).unflatten(-1, (3, _HEADS, -1)).movedim(2, 0).transpose(2, 3)
        query, key, value = split
        mixed = scaled_dot_product_attention(_turned(query), _turned(key), value, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(-2))


def _turned(heads: Tensor) -> Tensor:
    """Each pair of features (B H T 2·P) turned by an angle that grows with the step."""
    half = heads.shape[-1] // 2
    speeds = torch.exp(-math.log(10_000.0) * torch.arange(half) / half)
    angles = torch.arange(heads.shape[-2])[:, None] * speeds
    first, second = heads.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def _first(layer: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = layer(x)[0]
    return output


def _recurrent(kind: type[nn.RNNBase]) -> list[nn.Module]:
    return [Called(kind(WIDTH, WIDTH, batch_first=True), _first) for _ in range(DEPTH)]


MIXERS = [
    Mixer("LSTM", "torch", lambda: _recurrent(nn.LSTM), "nn.LSTM as torch initialises it"),
    Mixer("GRU", "torch", lambda: _recurrent(nn.GRU), "nn.GRU as torch initialises it"),
    Mixer(
        "transformer",
        "torch",
        lambda: [Attention() for _ in range(DEPTH)],
        "causal softmax attention, 4 heads, rotary positions",
        recurrent=False,
    ),
]
