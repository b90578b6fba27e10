"""The gated delta rule (Yang, Kautz & Hatamizadeh 2025), and KDA with a decay for each key."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.packing import starts_of
from throughtime.recording.scans.registry import Scan

_EPSILON = 1e-6  # of the norm that keys and queries are divided by


class GatedDelta(Scan):
    """``S_t = (I − β_t k_t k_tᵀ) α_t S_{t−1} + β_t k_t v_tᵀ``, ``y_t = S_tᵀ q_t``, α = exp(g).

    A decay for the whole head, or one for each key channel (KDA): then g has an axis more.
    """

    names = (
        "torch_chunk_gated_delta_rule",
        "torch_recurrent_gated_delta_rule",
        "chunk_gated_delta_rule",
        "fused_recurrent_gated_delta_rule",
        "chunk_kimi_delta_attention",
        "recurrent_kimi_delta_attention",
        "chunk_kda",
        "fused_recurrent_kda",
    )
    parameters = (("query", "q"), ("key", "k"), ("value", "v"), "g", "beta")
    probes = ("beta", "g")
    state = "initial_state"

    def steps(self, of: Arguments) -> Steps:
        query, key, value = of.timed("query"), of.timed("key"), of.timed("value")
        heads, size = value.shape[2], key.shape[-1]
        query, key = (part.repeat_interleave(heads // part.shape[2], 2) for part in (query, key))
        if of.get("use_qk_l2norm_in_kernel", False):
            query, key = _normed(query), _normed(key)
        decay = torch.exp(of.timed("g"))
        decay = decay.unsqueeze(-1) if decay.dim() == 3 else decay
        beta = of.timed("beta")
        beta = beta.unsqueeze(-1) if beta.dim() == 3 else beta
        query = query * of.get("scale", size**-0.5)
        return Steps(
            decay.unsqueeze(-1), key, value * beta, query, left=-beta * key, right=decay * key
        )

    def starts(self, of: Arguments) -> Tensor | None:
        return starts_of(of, of["value"].shape[:2])


def _normed(rows: Tensor) -> Tensor:
    return rows * torch.rsqrt((rows * rows).sum(-1, keepdim=True) + _EPSILON)
