"""mamba_ssm's kernels for a whole mixer: the scan, the convolution before it, what is behind it.

What the scan reads is computed from their arguments, and their output from what the scan gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, linear, pad, silu

from throughtime.recording.scans.cores.ssd import step_sizes
from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.packing import starts_of
from throughtime.recording.scans.registry import Scan


class MambaInner(Scan):
    """Mamba's mixer: ``out_proj(scan(silu(conv(x))) ⊙ silu(z))``, x and z in ``xz`` (B 2D T)."""

    names = ("mamba_inner_fn", "mamba_inner_ref")
    parameters = (
        "xz",
        "conv1d_weight",
        "conv1d_bias",
        "x_proj_weight",
        "delta_proj_weight",
        "out_proj_weight",
        "out_proj_bias",
        "A",
        "D",
        "delta_bias",
    )
    probes = ("A", "delta_bias")

    def takes(self, of: Arguments) -> bool:
        fixed = ("B", "C", "b_rms_weight", "c_rms_weight", "dt_rms_weight")
        return all(of.get(name) is None for name in fixed)

    def steps(self, of: Arguments) -> Steps:
        x, decays = self._x(of), of.fixed("A")
        rank, size = of["delta_proj_weight"].shape[1], decays.shape[1]
        made = linear(x, of.fixed("x_proj_weight"))
        small, key, query = made[..., :rank], made[..., rank : rank + size], made[..., -size:]
        dt = linear(small, of.fixed("delta_proj_weight"))
        dt = step_sizes(of, dt, of.get("delta_bias"), bool(of.get("delta_softplus", True)))
        decay = torch.exp(dt.unsqueeze(-1) * decays).unsqueeze(-1)
        return Steps(decay, key.unsqueeze(2), (x * dt).unsqueeze(-1), query.unsqueeze(2))

    def read(self, of: Arguments, steps: Steps, reads: Tensor) -> Tensor:
        y, gate = reads.squeeze(-1), of.timed("xz", -1).chunk(2, -1)[1]
        if of.get("D") is not None:
            y = y + self._x(of) * of.fixed("D")
        bias = of.get("out_proj_bias")
        return linear(y * silu(gate), of.fixed("out_proj_weight"), _double(bias)).unsqueeze(-1)

    def _x(self, of: Arguments) -> Tensor:
        width = of["xz"].shape[1] // 2
        convolved = _convolved(of, of["xz"][:, :width], "conv1d_weight", "conv1d_bias")
        return silu(convolved)

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(1, 0).unsqueeze(-1)


class MambaSplitCombined(Scan):
    """Mamba-2's mixer in one; z, x, B, C and dt side by side in ``zxbcdt`` (B T ·)."""

    names = (
        "mamba2_split_conv1d_scan_combined",
        "mamba_split_conv1d_scan_combined",
        "mamba_split_conv1d_scan_ref",
    )
    parameters = ("zxbcdt", "conv1d_weight", "conv1d_bias", "dt_bias", "A", "D", "chunk_size")
    probes = ("dt_bias", "A")
    state = "initial_states"

    def takes(self, of: Arguments) -> bool:
        return of.get("headdim") is not None and of.get("activation", "silu") in ("silu", "swish")

    def steps(self, of: Arguments) -> Steps:
        _, x, key, query, dt = self._split(of)
        dt = step_sizes(of, dt, of.get("dt_bias"), True)
        decay = torch.exp(dt * of.fixed("A"))[..., None, None]
        return Steps(decay, key, x * dt.unsqueeze(-1), query)

    def read(self, of: Arguments, steps: Steps, reads: Tensor) -> Tensor:
        gate, x, *_ = self._split(of)
        skip = of.fixed("D")
        y = (reads + x * (skip if skip.dim() == 2 else skip[:, None])).flatten(-2)
        norm, first = of.get("rmsnorm_weight"), bool(of.get("norm_before_gate", True))
        if norm is None:
            y = y * silu(gate)
        else:
            y = y if first else y * silu(gate)
            groups = y.unflatten(-1, (int(of.get("ngroups", 1)), -1))
            mean = groups.square().mean(-1, keepdim=True) + float(of.get("rmsnorm_eps", 1e-6))
            y = (groups * torch.rsqrt(mean)).flatten(-2) * norm.double()
            y = y * silu(gate) if first else y
        projection = of.get("outproj_weight")
        if projection is not None:
            y = linear(y, projection.double(), _double(of.get("outproj_bias")))
        return y.unsqueeze(-1)

    def _split(self, of: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """z (T B D), x (T B H P), B and C (T B H N), and dt (T B H)."""
        heads, width = len(of["A"]), int(of["headdim"]) * len(of["A"])
        groups, whole = int(of.get("ngroups", 1)), of["zxbcdt"]
        states = (whole.shape[-1] - 2 * width - heads) // (2 * groups)
        inner = width + 2 * groups * states
        mixed = whole[..., width : width + inner].movedim(1, -1)
        convolved = silu(_convolved(of, mixed, "conv1d_weight", "conv1d_bias"))
        x, *shared = convolved.split([width, groups * states, groups * states], -1)
        key, query = (
            part.unflatten(-1, (groups, states)).repeat_interleave(heads // groups, 2)
            for part in shared
        )
        z, dt = of.cut(whole[..., :width]), of.cut(whole[..., -heads:])
        return z, x.unflatten(-1, (heads, -1)), key, query, dt

    def as_state(self, final: Tensor) -> Tensor:
        return final.double().transpose(-1, -2)

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(1, 0).unsqueeze(-1)

    def starts(self, of: Arguments) -> Tensor | None:
        return starts_of(of, of["zxbcdt"].shape[:2])


def _convolved(of: Arguments, x: Tensor, weight: str, bias: str) -> Tensor:
    """The causal convolution (T B D) of x (B D T), for these steps and with those before them."""
    kernel = of.fixed(weight)
    kernel = kernel if kernel.dim() == 3 else kernel.unsqueeze(1)
    before = kernel.shape[-1] - 1
    part = of.part or slice(0, x.shape[-1])
    first = max(0, part.start - before)
    seen = pad(x[..., first : part.stop].double(), (before - (part.start - first), 0))
    return conv1d(seen, kernel, _double(of.get(bias)), groups=len(kernel)).movedim(-1, 0)


def _double(tensor: Any) -> Tensor | None:
    return tensor.double() if isinstance(tensor, Tensor) else None
