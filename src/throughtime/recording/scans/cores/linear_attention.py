"""Linear attention with a decay: retention (Sun et al. 2023), GLA (Yang et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.recording.scans.cores.heads import OfHeads
from throughtime.recording.scans.form import Arguments, Steps


class GatedLinearAttention(OfHeads):
    """``S_t = Diag(exp g_t) S_{t−1} + k_t v_tᵀ``, ``y_t = S_tᵀ q_t``: a decay for each key channel.

    ``simple_gla`` has one for each head instead, in ``g``.
    """

    names: ClassVar[Sequence[str]] = (
        "chunk_gla",
        "fused_chunk_gla",
        "fused_recurrent_gla",
        "naive_recurrent_gla",
        "chunk_simple_gla",
        "fused_recurrent_simple_gla",
        "naive_recurrent_simple_gla",
        "naive_chunk_simple_gla",
    )
    parameters: ClassVar[Sequence[str | Sequence[str]]] = ("q", "k", "v", ("g", "gk"))
    probes: ClassVar[Sequence[str]] = ("g", "k")

    def steps(self, of: Arguments) -> Steps:
        query, key, value = (self.part(of, name) for name in "qkv")
        return Steps(self.decay(of), key, value, self.scaled(of, query))

    def decay(self, of: Arguments) -> Tensor:
        """The factors of the state (T B H · 1)."""
        decay = torch.exp(self.part(of, "g"))
        return (decay.unsqueeze(-1) if decay.dim() == 3 else decay).unsqueeze(-1)

    def takes(self, of: Arguments) -> bool:
        return isinstance(of.get("g"), Tensor)


class Retention(GatedLinearAttention):
    """``S_t = γ_h S_{t−1} + k_t v_tᵀ``, ``γ_h = 1 − 2^(−5−h)``, the same at all times."""

    names = (
        "chunk_retention",
        "fused_chunk_retention",
        "fused_recurrent_retention",
        "parallel_retention",
        "naive_retention",
    )
    parameters = ("q", "k", "v")
    probes = ("k", "v")

    def decay(self, of: Arguments) -> Tensor:
        numbers = torch.arange(self.heads(of), dtype=torch.float64, device=of["v"].device)
        return (1 - 2 ** (-5 - numbers))[None, None, :, None, None]

    def takes(self, of: Arguments) -> bool:
        return True
