"""The network that all architectures share: what mixes time differs, and the MLPs make up for it.

Every network has about ``BUDGET`` numbers: the MLPs are as wide as the mixers leave room for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.modern.mixers.mixer import WIDTH, Mixer

BUDGET = 14_000  # trained numbers for each block, all in all


class Block(nn.Module):
    """A mixer, then an MLP; each behind an RMSNorm, each beside the way past it."""

    def __init__(self, mixer: nn.Module, inner: int) -> None:
        super().__init__()
        self.mixer, self.before, self.between = mixer, nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, inner), nn.GELU(), nn.Linear(inner, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.before(x))
        out: Tensor = x + self.mlp(self.between(x))
        return out


class Network(nn.Module):
    """Embeds tokens, runs the blocks, and reads out a distribution over tokens."""

    def __init__(self, mixers: list[nn.Module], tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, WIDTH)
        inner = _inner(mixers, tokens)
        self.blocks = nn.ModuleList(Block(mixer, inner) for mixer in mixers)
        self.norm, self.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, tokens, bias=False)

    def forward(self, words: Tensor) -> Tensor:
        return self.read(self.embedding(words))

    def read(self, x: Tensor) -> Tensor:
        """From embeddings (B T D) to logits (B T tokens)."""
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def _inner(mixers: list[nn.Module], tokens: int) -> int:
    """The width of the MLPs."""
    spent = sum(one.numel() for mixer in mixers for one in mixer.parameters())
    spent += 2 * tokens * WIDTH + (3 * len(mixers) + 1) * WIDTH  # words; norms and last biases
    return max(8, round((BUDGET * len(mixers) - spent) / len(mixers) / (2 * WIDTH + 1)))


def built(mixer: Mixer, tokens: int, seed: int) -> Network:
    """The network of one architecture, with the weights of a seed."""
    torch.manual_seed(seed)
    return Network(mixer.make(), tokens)


def sizes(network: Network) -> tuple[int, int]:
    """Trained numbers of the mixers, and of the whole network."""
    mixers = sum(one.numel() for block in network.blocks for one in block.mixer.parameters())
    return mixers, sum(one.numel() for one in network.parameters())
