"""Layers of one's own with the parameter names of published ones; each shows its scan.

The input adds nothing to their gates: a decay is what the parameters alone say.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

import throughtime as tt

D, H, K, N = 8, 4, 3, 4


class Diagonal(nn.Module):
    """``s_t = a ⊙ s_{t−1} + x_t`` with a decay for every entry; reads the sum of the last state."""

    def log_decay(self) -> Tensor:
        """log a, of the shape of the state."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B T D) to (B)."""
        own = self.log_decay().exp()
        written = x.mean(-1).view(*x.shape[:2], *[1] * own.dim()).expand(-1, -1, *own.shape)
        decay = own.expand_as(written)
        states, state = [], torch.zeros_like(written[:, 0])
        for kept, step in zip(decay.unbind(1), written.unbind(1), strict=True):
            state = kept * state + step
            states.append(state)
        shown = tt.scan(torch.stack(states, 1), decay=decay, name="own")
        return shown[:, -1].flatten(1).sum(-1)


class S6(Diagonal):
    """Mamba's names."""

    def __init__(self) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.full((D, N), 3.0))
        self.dt_proj = nn.Linear(2, D)

    def log_decay(self) -> Tensor:
        return -softplus(self.dt_proj.bias)[:, None] * self.A_log.exp()


class SSD(Diagonal):
    """Mamba-2's, and those of gated delta rules."""

    def __init__(self) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.linspace(1, 2, H))
        self.dt_bias = nn.Parameter(torch.ones(H))

    def log_decay(self) -> Tensor:
        return -softplus(self.dt_bias) * self.A_log.exp()


class KDA(Diagonal):
    """A rate for a head, a step size for each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.linspace(1, 2, H))
        self.dt_bias = nn.Parameter(torch.ones(H * K))

    def log_decay(self) -> Tensor:
        return -softplus(self.dt_bias).view(H, K) * self.A_log.exp()[:, None]


class S4D(Diagonal):
    """``log_dt``, ``log_A_real``, ``A_imag``; of its complex state the modulus."""

    def __init__(self) -> None:
        super().__init__()
        self.log_dt = nn.Parameter(torch.zeros(H))
        self.log_A_real = nn.Parameter(torch.ones(H, N))
        self.A_imag = nn.Parameter(torch.zeros(H, N))

    def log_decay(self) -> Tensor:
        return -self.log_dt.exp()[:, None] * self.log_A_real.exp()


class RGLRU(Diagonal):
    """Griffin's."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent_param = nn.Parameter(torch.full((D,), 2.0))
        self.recurrent_gate_bias = nn.Parameter(torch.linspace(-1, 1, D).view(2, -1))

    def log_decay(self) -> Tensor:
        gate = self.recurrent_gate_bias.sigmoid().flatten()
        return -8 * gate * softplus(self.recurrent_param)


class LRU(Diagonal):
    """Orvieto's."""

    def __init__(self) -> None:
        super().__init__()
        self.nu_log = nn.Parameter(torch.zeros(D))
        self.gamma_log = nn.Parameter(torch.zeros(D))

    def log_decay(self) -> Tensor:
        return -self.nu_log.exp()


class WKV(Diagonal):
    """RWKV-4's."""

    def __init__(self) -> None:
        super().__init__()
        self.time_decay = nn.Parameter(torch.ones(D))

    def log_decay(self) -> Tensor:
        return -self.time_decay.exp()


class RWKV7(Diagonal):
    """RWKV-7's, whose decay is bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.w0, self.w1, self.w2 = (nn.Parameter(torch.ones(1, 1, D)) for _ in range(3))

    def log_decay(self) -> Tensor:
        return -(softplus(-self.w0).neg() - 0.5).exp().flatten()


class Slopes(Diagonal):
    """Lightning attention's, which are not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope_rate", torch.ones(H, 1, 1))
        self.scale = nn.Parameter(torch.ones(()))

    def log_decay(self) -> Tensor:
        return -self.slope_rate.flatten() * self.scale


class MLSTM(Diagonal):
    """xLSTM's."""

    def __init__(self) -> None:
        super().__init__()
        self.fgate = nn.Linear(2, H)
        nn.init.zeros_(self.fgate.bias)

    def log_decay(self) -> Tensor:
        return logsigmoid(self.fgate.bias)


class Capped(Diagonal):
    """Those of xLSTM 7B: i and f side by side, under a soft cap."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"gate_soft_cap": 15.0})()
        self.ifgate_preact = nn.Linear(2, 2 * H)
        nn.init.zeros_(self.ifgate_preact.bias)

    def log_decay(self) -> Tensor:
        capped = 15 * torch.tanh(self.ifgate_preact.bias / 15)
        return logsigmoid(capped[H:])


def sequences(steps: int, batch: int = 2) -> Tensor:
    """Inputs (B T D)."""
    return torch.randn(batch, steps, D, generator=torch.Generator().manual_seed(0))


def decades(lag: float, time: float) -> float:
    """log10 of what is left after ``lag`` steps of a state that decays over ``time``."""
    return -lag / time / math.log(10)
