"""Linear attention with a decay: lightning attention, retention, GLA (Sun 2023, Yang 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.packing import starts_of
from throughtime.recording.scans.registry import Scan


class _LinearAttention(Scan):
    """What both share: an initial state, and packed sequences."""

    state = "initial_state"

    def starts(self, of: Arguments) -> Tensor | None:
        return starts_of(of, of["v"].shape[:2])


class GatedLinearAttention(_LinearAttention):
    """``S_t = Diag(exp g_t) S_{t−1} + k_t v_tᵀ``, ``y_t = S_tᵀ q_t``: a decay for each key channel.

    ``simple_gla`` has one for each head instead, in ``g``.
    """

    names = (
        "chunk_gla",
        "fused_chunk_gla",
        "fused_recurrent_gla",
        "chunk_simple_gla",
        "fused_recurrent_simple_gla",
    )
    parameters = ("q", "k", "v", ("g", "gk"))
    probes = ("g", "k")

    def steps(self, of: Arguments) -> Steps:
        decay = torch.exp(of.timed("g"))
        decay = decay.unsqueeze(-1) if decay.dim() == 3 else decay
        return _attention(of, decay.unsqueeze(-1))

    def takes(self, of: Arguments) -> bool:
        return isinstance(of.get("g"), Tensor)


class Retention(_LinearAttention):
    """``S_t = γ_h S_{t−1} + k_t v_tᵀ``, ``γ_h = 1 − 2^(−5−h)``, the same at all times."""

    names = (
        "chunk_retention",
        "fused_chunk_retention",
        "fused_recurrent_retention",
        "parallel_retention",
    )
    parameters = ("q", "k", "v")
    probes = ("k", "v")

    def steps(self, of: Arguments) -> Steps:
        heads = of["v"].shape[2]
        numbers = torch.arange(heads, dtype=torch.float64, device=of["v"].device)
        return _attention(of, (1 - 2 ** (-5 - numbers))[None, None, :, None, None])


def _attention(of: Arguments, decay: Tensor) -> Steps:
    query, key, value = of.timed("q"), of.timed("k"), of.timed("v")
    heads = value.shape[2]
    query, key = (part.repeat_interleave(heads // part.shape[2], 2) for part in (query, key))
    return Steps(decay, key, value, query * of.get("scale", key.shape[-1] ** -0.5))
