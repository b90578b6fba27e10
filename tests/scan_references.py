"""The cores of scans as their papers write them: one step after another, in the caller's precision.

Each function has the name and the parameters of the one that it stands for, so that a capture sees
it; each hands its states (B H K V) to ``keep``, so that a test can ask autograd itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, silu, softplus

_kept: list[list[Tensor]] = []


@contextmanager
def keeping() -> Iterator[list[Tensor]]:
    """The states of the scan that runs inside, in order."""
    _kept.append([])
    try:
        yield _kept[-1]
    finally:
        _kept.pop()


def keep(state: Tensor) -> Tensor:
    """A state of its own in autograd's graph, which everything behind it reads."""
    if _kept:
        state = state.clone()
        _kept[-1].append(state)
    return state


def repeated(tensor: Tensor, heads: int) -> Tensor:
    """Groups of heads that share a key or a query."""
    return tensor.repeat_interleave(heads // tensor.shape[2], 2)


def first_of(cu_seqlens: Tensor | None, t: int) -> bool:
    return cu_seqlens is not None and t in cu_seqlens.tolist()


def mamba_selective_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    x, state = hidden_states, torch.zeros(len(dt), *A.shape, 1, dtype=dt.dtype)
    dt = dt if delta_bias is None else dt + delta_bias[:, None]
    dt = softplus(dt) if delta_softplus else dt
    outputs = []
    for t in range(x.shape[-1]):
        written = dt[..., t, None] * x[..., t, None] * B[:, None, :, t]
        state = keep(torch.exp(dt[..., t, None] * A).unsqueeze(-1) * state + written.unsqueeze(-1))
        y = (state.squeeze(-1) * C[:, None, :, t]).sum(-1)
        y = y if D is None else y + D * x[..., t]
        outputs.append(y if z is None else y * silu(z[..., t]))
    return torch.stack(outputs, -1)


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B D T), causal, one step after another."""
    width = weight.shape[-1]
    padded = torch.cat([torch.zeros_like(x[..., : width - 1]), x], -1)
    windows = [padded[..., t : t + width] for t in range(x.shape[-1])]
    rows = weight.reshape(len(weight), width)
    return torch.stack([(rows * window).sum(-1) for window in windows], -1) + bias[:, None]


def mamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    D: Tensor,
    delta_bias: Tensor,
) -> Tensor:
    x, z = xz.chunk(2, 1)
    x = silu(convolved(x, conv1d_weight, conv1d_bias))
    rank = delta_proj_weight.shape[1]
    dt, B, C = (x_proj_weight @ x).split([rank, A.shape[1], A.shape[1]], 1)
    dt = delta_proj_weight @ dt
    y = mamba_selective_scan(x, dt, A, B, C, D, z, delta_bias, delta_softplus=True)
    out = y.mT @ out_proj_weight.T
    return out if out_proj_bias is None else out + out_proj_bias


def mamba_split_conv1d_scan_combined(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    chunk_size: int,
    rmsnorm_weight: Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: Tensor | None = None,
    headdim: int = 1,
    ngroups: int = 1,
    norm_before_gate: bool = True,
) -> Tensor:
    heads, width = len(A), headdim * len(A)
    inner = conv1d_weight.shape[0]
    z, mixed, dt = zxbcdt.split([width, inner, heads], -1)
    mixed = silu(convolved(mixed.mT, conv1d_weight, conv1d_bias)).mT
    rest = (inner - width) // 2
    x, B, C = mixed.split([width, rest, rest], -1)
    x, B, C = (part.unflatten(-1, (n, -1)) for part, n in ((x, heads), (B, ngroups), (C, ngroups)))
    y = mamba2_chunk_scan(x, dt, A, B, C, chunk_size, D, None, dt_bias, dt_softplus=True)
    y = y.flatten(-2)
    y = y if norm_before_gate else y * silu(z)
    if rmsnorm_weight is not None:
        parts = y.unflatten(-1, (ngroups, -1))
        parts = parts / torch.sqrt(parts.square().mean(-1, keepdim=True) + rmsnorm_eps)
        y = parts.flatten(-2) * rmsnorm_weight
    y = y * silu(z) if norm_before_gate else y
    return y if outproj_weight is None else y @ outproj_weight.T


def mamba2_chunk_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,  # noqa: ARG001  — the parameters are what a core is known by
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
) -> Any:
    x, heads = hidden_states, hidden_states.shape[2]
    dt = dt if dt_bias is None else dt + dt_bias
    dt = (softplus(dt) if dt_softplus else dt).clamp(*dt_limit)
    B, C = repeated(B, heads), repeated(C, heads)
    state = x.new_zeros(len(x), heads, B.shape[-1], x.shape[-1])
    state = state if initial_states is None else initial_states.transpose(-1, -2)
    outputs = []
    for t in range(x.shape[1]):
        if seq_idx is not None and t:
            state = state * (seq_idx[:, t] == seq_idx[:, t - 1])[:, None, None, None]
        decay = torch.exp(dt[:, t] * A)[..., None, None]
        state = keep(
            decay * state + B[:, t, :, :, None] * (dt[:, t, :, None] * x[:, t])[:, :, None]
        )
        y = torch.einsum("bhkv,bhk->bhv", state, C[:, t])
        y = y if D is None else y + D[:, None] * x[:, t]
        outputs.append(y if z is None else y * silu(z[:, t]))
    y = torch.stack(outputs, 1)
    return (y, state.transpose(-1, -2)) if return_final_states else y


def torch_chunk_gated_delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    heads, size = value.shape[2], key.shape[-1]
    query, key = repeated(query, heads), repeated(key, heads)
    if use_qk_l2norm_in_kernel:
        query, key = (p / torch.sqrt(p.square().sum(-1, keepdim=True) + 1e-6) for p in (query, key))
    decay = torch.exp(g if g.dim() == 4 else g.unsqueeze(-1))
    state = value.new_zeros(len(value), heads, size, value.shape[-1])
    state = state if initial_state is None else initial_state
    outputs = []
    for t in range(value.shape[1]):
        if first_of(cu_seqlens, t):
            state = torch.zeros_like(state)
        k, b = key[:, t], beta[:, t, :, None, None]
        state = decay[:, t].unsqueeze(-1) * state
        erased = torch.einsum("bhk,bhl,bhlv->bhkv", k, k, state)
        state = keep(state - b * erased + b * torch.einsum("bhk,bhv->bhkv", k, value[:, t]))
        outputs.append(torch.einsum("bhk,bhkv->bhv", query[:, t], state) / size**0.5)
    return torch.stack(outputs, 1), state if output_final_state else None


chunk_kda = torch_chunk_gated_delta_rule


def chunk_gla(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, scale: float | None = None
) -> tuple[Tensor, None]:
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    decay = torch.exp(g if g.dim() == 4 else g.unsqueeze(-1))
    state, outputs = torch.zeros(len(v), v.shape[2], k.shape[-1], v.shape[-1], dtype=v.dtype), []
    for t in range(v.shape[1]):
        written = torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        state = keep(decay[:, t].unsqueeze(-1) * state + written)
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, 1), None


def chunk_simple_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, None]:
    return chunk_gla(q, k, v, g)


def chunk_retention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, None]:
    rates = torch.log(1 - 2.0 ** (-5 - torch.arange(v.shape[2], dtype=v.dtype)))
    return chunk_gla(q, k, v, rates.expand(v.shape[:3]))


def chunk_rwkv7(
    r: Tensor, w: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, scale: float = 1.0
) -> tuple[Tensor, None]:
    # S_t = S_{t-1} (Diag(w) + a bᵀ) + v kᵀ, y = S r, as the paper has it: (V K).
    state, outputs = torch.zeros(len(v), v.shape[2], v.shape[-1], k.shape[-1], dtype=v.dtype), []
    for t in range(v.shape[1]):
        factor = torch.diag_embed(torch.exp(w[:, t])) + a[:, t, :, :, None] * b[:, t, :, None]
        state = state @ factor + v[:, t, :, :, None] * k[:, t, :, None]
        state = keep(state.transpose(-1, -2)).transpose(-1, -2)
        outputs.append(scale * (state @ r[:, t].unsqueeze(-1)).squeeze(-1))
    return torch.stack(outputs, 1), None


def chunk_rwkv6(
    r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, scale: float = 1.0
) -> tuple[Tensor, None]:
    state, outputs = torch.zeros(len(v), v.shape[2], k.shape[-1], v.shape[-1], dtype=v.dtype), []
    for t in range(v.shape[1]):
        written = k[:, t, :, :, None] * v[:, t, :, None]
        read = state + u[..., None] * written
        outputs.append(scale * (r[:, t, :, None] @ read).squeeze(-2))
        state = keep(torch.exp(w[:, t]).unsqueeze(-1) * state + written)
    return torch.stack(outputs, 1), None


def delta_rule_recurrence(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> tuple[Tensor, None]:
    q, k, v, beta = (part.transpose(1, 2) for part in (q, k, v, beta))
    result = torch_chunk_gated_delta_rule(q, k, v, torch.zeros_like(beta), beta)
    return result[0].transpose(1, 2), None


def chunk_hgrn(x: Tensor, g: Tensor) -> tuple[Tensor, None]:
    return _diagonal(torch.exp(g), x), None


def rwkv_linear_attention(
    time_decay: Tensor,
    time_first: Tensor,
    key: Tensor,
    value: Tensor,
    state: Any = None,  # noqa: ARG001  — as above
) -> tuple[Tensor, None]:
    sums, outputs = torch.zeros(*key[:, 0].shape, 1, 2, dtype=key.dtype), []
    for t in range(key.shape[1]):
        bonus = torch.exp(time_first + key[:, t])
        above, below = sums.squeeze(-2).unbind(-1)
        outputs.append((above + bonus * value[:, t]) / (below + bonus))
        fresh = torch.exp(key[:, t])
        written = torch.stack([fresh * value[:, t], fresh], -1).unsqueeze(-2)
        sums = keep(torch.exp(-torch.exp(time_decay))[:, None, None] * sums + written)
    return torch.stack(outputs, 1), None


def parallel_stabilized_simple(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    igate_preact: Tensor,
    fgate_preact: Tensor,
    eps: float = 0.0,  # noqa: ARG001  — as above
) -> Tensor:
    size, outputs = keys.shape[-1], []
    state = torch.zeros(*keys.shape[:2], size, values.shape[-1] + 1, dtype=keys.dtype)
    for t in range(keys.shape[2]):
        counted = torch.cat([values[:, :, t], torch.ones_like(values[:, :, t, :1])], -1)
        written = (
            torch.exp(igate_preact[:, :, t, None]) * keys[:, :, t, :, None] * counted[:, :, None]
        )
        forget = torch.exp(logsigmoid(fgate_preact[:, :, t, None]))
        state = keep(forget * state + written)
        read = torch.einsum("bhk,bhkv->bhv", queries[:, :, t], state) / size**0.5
        outputs.append(read[..., :-1] / read[..., -1:].abs().clamp_min(1))
    return torch.stack(outputs, 2)


def heinsen_associative_scan_log(log_coeffs: Tensor, log_values: Tensor) -> Tensor:
    return _diagonal(torch.exp(log_coeffs), torch.exp(log_values))


def scan(gates: Tensor, tokens: Tensor) -> Tensor:
    return _diagonal(gates.mT, tokens.mT).mT


scan.__module__ = "accelerated_scan.ref"


class RecurrentGemmaRglru(nn.Module):
    def forward(self, hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor) -> Tensor:
        return self._rnn_scan(hidden_states, recurrent_gate, reset, None)[0]

    def _rnn_scan(
        self, hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor, recurrent_states: Any
    ) -> tuple[Tensor, Tensor]:
        states = _diagonal(recurrent_gate * ~reset, hidden_states)
        return states, states[:, -1]


class MiniMaxLightningAttention(nn.Module):
    """What the core needs: ``qkv_proj`` gives what it reads, ``norm`` reads what it gives."""

    def __init__(self, slope_rate: Tensor) -> None:
        super().__init__()
        self.num_attention_heads, self.head_dim, self.act_fn = len(slope_rate), 3, silu
        self.qkv_proj = self.norm = nn.Identity()
        self.norm = nn.Tanh()
        self.slope_rate, self.layer_idx = slope_rate[:, None, None], 0

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        qkv = silu(self.qkv_proj(hidden_states))
        qkv = qkv if attention_mask is None else qkv * attention_mask[..., None]
        q, k, v = qkv.unflatten(-1, (self.num_attention_heads, -1)).split(self.head_dim, -1)
        rates = (-self.slope_rate.flatten()).expand(v.shape[:3])
        return self.norm(chunk_gla(q, k, v, rates, scale=1.0)[0].flatten(2))


def _diagonal(decay: Tensor, written: Tensor) -> Tensor:
    """(B T H)."""
    state, states = torch.zeros_like(written[:, 0])[..., None, None], []
    for t in range(written.shape[1]):
        state = keep(decay[:, t, :, None, None] * state + written[:, t, :, None, None])
        states.append(state.flatten(1))
    return torch.stack(states, 1)
