"""The delta rule, gated (Yang, Kautz & Hatamizadeh 2025), and KDA with a decay for each key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.recording.scans.cores.heads import OfHeads
from throughtime.recording.scans.form import Arguments, Steps

_EPSILON = 1e-6  # of the norm that keys and queries are divided by


class GatedDelta(OfHeads):
    """``S_t = (I − β_t k_t k_tᵀ) α_t S_{t−1} + β_t k_t v_tᵀ``, ``y_t = S_tᵀ q_t``, α = exp(g).

    A decay for the whole head, or one for each key channel (KDA): then g has an axis more.
    """

    names: ClassVar[Sequence[str]] = (
        "torch_chunk_gated_delta_rule",
        "torch_recurrent_gated_delta_rule",
        "chunk_gated_delta_rule",
        "fused_recurrent_gated_delta_rule",
        "naive_recurrent_gated_delta_rule",
        "naive_chunk_gated_delta_rule",
        "chunk_kimi_delta_attention",
        "recurrent_kimi_delta_attention",
        "chunk_kda",
        "fused_recurrent_kda",
        "naive_recurrent_kda",
        "naive_chunk_kda",
    )
    parameters: ClassVar[Sequence[str | Sequence[str]]] = (
        ("query", "q"),
        ("key", "k"),
        ("value", "v"),
        "g",
        "beta",
    )
    probes: ClassVar[Sequence[str]] = ("beta", "g")
    width_from = "value"

    def steps(self, of: Arguments) -> Steps:
        query, key, value = (self.part(of, name) for name in ("query", "key", "value"))
        if of.get("use_qk_l2norm_in_kernel", False):
            query, key = _normed(query), _normed(key)
        decay, beta = self.decay(of, key), self.part(of, "beta")
        beta = beta.unsqueeze(-1) if beta.dim() == 3 else beta
        left, right, written = -beta * key, decay * key, value * beta
        return Steps(decay.unsqueeze(-1), key, written, self.scaled(of, query), left, right)

    def decay(self, of: Arguments, key: Tensor) -> Tensor:
        """α (T B H ·)."""
        decay = torch.exp(self.part(of, "g"))
        return decay.unsqueeze(-1) if decay.dim() == 3 else decay


class Delta(GatedDelta):
    """The delta rule without a gate (Schlag, Irie & Schmidhuber 2021)."""

    names: ClassVar[Sequence[str]] = (
        "chunk_delta_rule",
        "fused_chunk_delta_rule",
        "fused_recurrent_delta_rule",
    )
    parameters: ClassVar[Sequence[str | Sequence[str]]] = (
        ("query", "q"),
        ("key", "k"),
        ("value", "v"),
        "beta",
    )
    probes: ClassVar[Sequence[str]] = ("beta",)

    def decay(self, of: Arguments, key: Tensor) -> Tensor:
        return torch.ones_like(key[..., :1])


class DeltaOfHeadsFirst(Delta):
    """The same, (B H T ·)."""

    names = ("delta_rule_recurrence", "delta_rule_chunkwise")
    time = 2


def _normed(rows: Tensor) -> Tensor:
    return rows * torch.rsqrt((rows * rows).sum(-1, keepdim=True) + _EPSILON)
