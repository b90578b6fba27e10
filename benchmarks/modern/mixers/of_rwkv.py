"""RWKV-7's time mixing, from the equations of its paper (Peng et al. 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, normalize

from benchmarks.modern.mixers.mixer import DEPTH, WIDTH, Mixer

_HEADS, _RANK = 4, 8
_BOUND = 0.606531  # exp(−½)


def fused_recurrent_rwkv7(
    r: Tensor, w: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, scale: float
) -> tuple[Tensor, None]:
    """``S_t = (Diag(exp w_t) + b_t a_tᵀ) S_{t−1} + k_t v_tᵀ``, read as ``S_tᵀ r_t``; (B T H ·).

    The name and parameters are those by which kernels for it go: a capture knows the call.
    """
    state = k.new_zeros(*k.shape[:1], *k.shape[2:], v.shape[-1])
    read = []
    for t in range(r.shape[1]):
        taken = (a[:, t].unsqueeze(-1) * state).sum(-2, keepdim=True)
        state = w[:, t].exp().unsqueeze(-1) * state + b[:, t].unsqueeze(-1) * taken
        state = state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        read.append((scale * r[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(read, 1), None


class TimeMixing(nn.Module):
    """Token shift, low-rank decay and in-context learning rate, delta rule, bonus, gate."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        depth, place = layer / DEPTH, torch.arange(WIDTH) / WIDTH
        self.shift = nn.Parameter((1 - place ** (0.5 * (1 - depth))).expand(6, -1).clone())
        self.receptance, self.key, self.value, self.output = (
            nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)
        )
        self.w1, self.w2 = nn.Parameter(torch.zeros(WIDTH, _RANK)), _small(_RANK, WIDTH)
        self.a1, self.a2 = nn.Parameter(torch.zeros(WIDTH, _RANK)), _small(_RANK, WIDTH)
        self.g1, self.g2 = nn.Parameter(torch.zeros(WIDTH, _RANK)), _small(_RANK, WIDTH)
        speeds = -6 + 5 * (torch.arange(WIDTH) / (WIDTH - 1)) ** (0.85 + depth**0.5)
        self.w0 = nn.Parameter(speeds)
        self.a0 = nn.Parameter(torch.zeros(WIDTH))
        self.removed = nn.Parameter(torch.full((WIDTH,), 0.85))
        self.replaced = nn.Parameter(torch.ones(WIDTH))
        self.bonus = nn.Parameter(torch.zeros(_HEADS, WIDTH // _HEADS))
        nn.init.orthogonal_(self.output.weight, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        xr, xw, xk, xv, xa, xg = (x + (before - x) * part for part in self.shift)
        r, k, v = self.receptance(xr), self.key(xk), self.value(xv)
        log_decay = -_BOUND * torch.sigmoid(self.w0 + torch.tanh(xw @ self.w1) @ self.w2)
        rate = torch.sigmoid(self.a0 + xa @ self.a1 @ self.a2)
        gate = 1 + torch.sigmoid(xg @ self.g1) @ self.g2
        erased = normalize(_heads(k * self.removed), dim=-1)
        k = k * (1 + (rate - 1) * self.replaced)
        r, w, k, v, rate = map(_heads, (r, log_decay, k, v, rate))
        read, _ = fused_recurrent_rwkv7(r, w, k, v, -erased, erased * rate, scale=1.0)
        mixed = group_norm(read.flatten(0, 1).flatten(1), _HEADS, eps=64e-5).view_as(x)
        mixed = mixed + ((r * k * self.bonus).sum(-1, keepdim=True) * v).flatten(-2)
        return self.output(mixed * gate)


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (_HEADS, -1))


def _small(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(nn.init.orthogonal_(torch.empty(rows, columns), 0.1))


MIXERS = [
    Mixer(
        "RWKV-7",
        "torch",
        lambda: [TimeMixing(layer) for layer in range(DEPTH)],
        "written here from the paper's equations: 4 heads, states of 8 × 8; its output starts "
        "small, not at zero, from which no gradient would come",
    )
]
