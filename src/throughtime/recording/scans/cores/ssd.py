"""Mamba-2, state space duality (Dao & Gu 2024): one decay a head, ``exp(Δ_t a)``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.packing import starts_of
from throughtime.recording.scans.registry import Scan


def step_sizes(of: Arguments, dt: Tensor, bias: Tensor | None, soft: bool) -> Tensor:
    """Δ as the kernels make it: a bias, a softplus, a limit."""
    dt = dt if bias is None else dt + bias.double()
    dt = softplus(dt) if soft else dt
    low, high = of.get("dt_limit", (0.0, float("inf")))
    return dt.clamp(low, high)


class SSD(Scan):
    """``S_t = exp(Δ_t a) S_{t−1} + B_t (Δ_t x_t)ᵀ``, ``y_t = S_tᵀ C_t + D x_t``, then a gate z."""

    names = ("mamba2_chunk_scan", "mamba_chunk_scan_combined")
    parameters = (("hidden_states", "x"), "dt", "A", "B", "C")
    probes = ("dt", "A")
    state = "initial_states"

    def steps(self, of: Arguments) -> Steps:
        x, key, query = of.timed("hidden_states"), of.timed("B"), of.timed("C")
        heads = x.shape[2]
        soft = bool(of.get("dt_softplus", False))
        dt = step_sizes(of, of.timed("dt"), of.get("dt_bias"), soft)
        decay = torch.exp(dt * of.fixed("A"))[..., None, None]
        key, query = (part.repeat_interleave(heads // part.shape[2], 2) for part in (key, query))
        return Steps(decay, key, x * dt.unsqueeze(-1), query)

    def read(self, of: Arguments, steps: Steps, reads: Tensor) -> Tensor:
        skip, gate = of.get("D"), of.get("z")
        if skip is not None:
            skip = skip.double()
            reads = reads + of.timed("hidden_states") * (skip if skip.dim() == 2 else skip[:, None])
        return reads if gate is None else reads * torch.nn.functional.silu(of.timed("z"))

    def as_state(self, final: Tensor) -> Tensor:
        return final.double().transpose(-1, -2)  # theirs is (B H P N)

    def starts(self, of: Arguments) -> Tensor | None:
        return starts_of(of, of["dt"].shape[:2])
