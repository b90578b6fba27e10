"""RG-LRU (De et al. 2024): ``s_t = a_t ⊙ s_{t−1} + x_t``, the state itself is the output."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.registry import Scan


class RGLRU(Scan):
    """transformers' ``RecurrentGemmaRglru``, whose loop is a method; ``reset`` begins anew."""

    names = ("RecurrentGemmaRglru._rnn_scan",)
    parameters = ("self", "hidden_states", "recurrent_gate", "reset", "recurrent_states")
    probes = ("recurrent_gate", "hidden_states")
    state = "recurrent_states"

    def steps(self, of: Arguments) -> Steps:
        return diagonal(of.timed("recurrent_gate"), of.timed("hidden_states"))

    def as_state(self, final: Tensor) -> Tensor:
        return final.double()[..., None, None]

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(1, 0).unsqueeze(-1)

    def starts(self, of: Arguments) -> Tensor | None:
        reset: Tensor = of["reset"].squeeze(-1).movedim(1, 0)
        if bool(reset[1:].any()):
            return reset
        return reset if of.get("recurrent_states") is not None and bool(reset.any()) else None


def diagonal(decay: Tensor, written: Tensor) -> Steps:
    """``s = a ⊙ s + b`` with a head for every unit; both (T B H)."""
    key = torch.ones(1, 1, 1, 1, dtype=written.dtype, device=written.device)
    return Steps(decay[..., None, None], key, written.unsqueeze(-1))
