"""RWKV-7 (Peng et al. 2025) and RWKV-6 (Peng et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.recording.scans.cores.heads import OfHeads
from throughtime.recording.scans.form import Arguments, Steps


class RWKV7(OfHeads):
    """``S_t = (Diag(exp w_t) + b_t a_tᵀ) S_{t−1} + k_t v_tᵀ``, ``y_t = S_tᵀ r_t``.

    The paper has the transpose of S, multiplied from the right. DPLR delta rules are the same
    with other names.
    """

    names: ClassVar[Sequence[str]] = (
        "chunk_rwkv7",
        "fused_recurrent_rwkv7",
        "fused_mul_recurrent_rwkv7",
        "chunk_dplr_delta_rule",
        "fused_recurrent_dplr_delta_rule",
    )
    parameters: ClassVar[Sequence[str | Sequence[str]]] = (
        ("r", "q"),
        ("w", "gk"),
        "k",
        "v",
        "a",
        "b",
    )
    probes: ClassVar[Sequence[str]] = ("w", "a")

    def steps(self, of: Arguments) -> Steps:
        query, key, value, right, left = (self.part(of, name) for name in "rkvab")
        decay = torch.exp(self.part(of, "w")).unsqueeze(-1)
        return Steps(decay, key, value, self.scaled(of, query), left, right)

    def takes(self, of: Arguments) -> bool:
        return isinstance(of.get("w"), Tensor)


class DPLRRecurrence(RWKV7):
    """The same, (B H T ·)."""

    names = ("dplr_recurrence", "dplr_chunkwise")
    parameters = (("r", "q"), ("w", "gk"), "k", "v", ("a", "alpha"), ("b", "beta"))
    time = 2


class RWKV6(OfHeads):
    """``S_t = Diag(exp w_t) S_{t−1} + k_t v_tᵀ``, ``y_t = (S_{t−1} + (u ⊙ k_t) v_tᵀ)ᵀ r_t``."""

    names = ("chunk_rwkv6", "fused_recurrent_rwkv6", "naive_recurrent_rwkv6")
    parameters = ("r", "k", "v", "w", "u")
    probes = ("w", "k")
    reads_before = True

    def steps(self, of: Arguments) -> Steps:
        query, key, value = (self.part(of, name) for name in "rkv")
        decay = torch.exp(self.part(of, "w")).unsqueeze(-1)
        return Steps(decay, key, value, self.scaled(of, query))

    def read(self, of: Arguments, steps: Steps, reads: Tensor) -> Tensor:
        assert steps.query is not None
        bonus = (steps.query * of.fixed("u") * steps.key).sum(-1, keepdim=True)
        return reads + bonus * steps.value
