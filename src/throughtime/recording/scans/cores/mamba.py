"""Mamba's selective scan, S6 (Gu & Dao 2023): a decay for each channel and entry of its state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

from throughtime.recording.scans.cores.ssd import step_sizes
from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.registry import Scan


class SelectiveScan(Scan):
    """``s_t = exp(Δ_t A) ⊙ s_{t−1} + Δ_t x_t B_t``, ``y_t = s_t · C_t + D x_t``, then a gate z.

    Heads are the channels, and K is the size of the state of each.
    """

    names = ("mamba_selective_scan", "selective_scan_fn", "selective_scan_ref")
    parameters = (("hidden_states", "u"), ("dt", "delta"), "A", "B", "C")
    probes = ("dt", "A")

    def steps(self, of: Arguments) -> Steps:
        dt, decays = self._dt(of), of.fixed("A")
        decay = torch.exp(dt.unsqueeze(-1) * decays).unsqueeze(-1)
        x = of.timed("hidden_states", -1)
        return Steps(decay, _shared(of, "B"), (x * dt).unsqueeze(-1), _shared(of, "C"))

    def _dt(self, of: Arguments) -> Tensor:
        return step_sizes(
            of, of.timed("dt", -1), of.get("delta_bias"), bool(of.get("delta_softplus", False))
        )

    def read(self, of: Arguments, steps: Steps, reads: Tensor) -> Tensor:
        skip = of.get("D")
        if skip is not None:
            reads = reads + (of.timed("hidden_states", -1) * skip.double()).unsqueeze(-1)
        return reads if of.get("z") is None else reads * silu(of.timed("z", -1)).unsqueeze(-1)

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(-1, 0).unsqueeze(-1)

    def as_state(self, final: Tensor) -> Tensor:
        return final.double().unsqueeze(-1)


def _shared(of: Arguments, name: str) -> Tensor:
    """B or C (T B H K): (B N T) for all channels, (B G N T) for groups of them, (D N) for good."""
    given = of[name]
    if given.dim() == 2:
        return of.fixed(name)[None, None]
    timed = of.timed(name, -1)
    if given.dim() == 3:
        return timed.unsqueeze(2)
    channels = of["hidden_states"].shape[1]
    return timed.repeat_interleave(channels // timed.shape[2], 2)


class MambaPy(Scan):
    """The same of mambapy, whose tensors are (B T D): ``MambaBlock.selective_scan``."""

    names = ("MambaBlock.selective_scan", "MambaBlock.selective_scan_seq")
    parameters = ("self", "x", "delta", "A", "B", "C", "D")
    probes = ("delta", "A")

    def steps(self, of: Arguments) -> Steps:
        dt = of.timed("delta")
        decay = torch.exp(dt.unsqueeze(-1) * of.fixed("A")).unsqueeze(-1)
        key, query = of.timed("B").unsqueeze(2), of.timed("C").unsqueeze(2)
        return Steps(decay, key, (of.timed("x") * dt).unsqueeze(-1), query)

    def read(self, of: Arguments, steps: Steps, reads: Tensor) -> Tensor:
        return reads + (of.timed("x") * of.fixed("D")).unsqueeze(-1)

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(1, 0).unsqueeze(-1)


class PScan(Scan):
    """mambapy's parallel scan by itself: ``H_t = A_t ⊙ H_{t−1} + X_t``, all (B T D N)."""

    names = ("pscan",)
    parameters = ("A_in", "X_in")
    package = "mambapy"
    probes = ("A_in",)
    at_most = None

    def steps(self, of: Arguments) -> Steps:
        decay, written = of.timed("A_in").flatten(2), of.timed("X_in").flatten(2)
        key = torch.ones(1, 1, 1, 1, dtype=written.dtype, device=written.device)
        return Steps(decay[..., None, None], key, written.unsqueeze(-1))

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(1, 0).flatten(2).unsqueeze(-1)
