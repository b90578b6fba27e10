"""RWKV-7 (Peng et al. 2025): a decay for each channel, and a rank-one part of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.packing import starts_of
from throughtime.recording.scans.registry import Scan


class RWKV7(Scan):
    """``S_t = (Diag(exp w_t) + b_t a_tᵀ) S_{t−1} + k_t v_tᵀ``, ``y_t = S_tᵀ r_t``; all (B T H K).

    The paper has the transpose of S, multiplied from the right. DPLR delta rules
    (``chunk_dplr_delta_rule``) are the same with other names.
    """

    names = (
        "chunk_rwkv7",
        "fused_recurrent_rwkv7",
        "fused_mul_recurrent_rwkv7",
        "chunk_dplr_delta_rule",
        "fused_recurrent_dplr_delta_rule",
    )
    parameters = (("r", "q"), ("w", "gk", "log_w"), "k", "v", "a", "b")
    probes = ("w", "a")
    state = "initial_state"

    def steps(self, of: Arguments) -> Steps:
        query = of.timed("r") * of.get("scale", 1.0)
        decay = torch.exp(of.timed("w")).unsqueeze(-1)
        return Steps(decay, of.timed("k"), of.timed("v"), query, of.timed("b"), of.timed("a"))

    def starts(self, of: Arguments) -> Tensor | None:
        return starts_of(of, of["v"].shape[:2])
