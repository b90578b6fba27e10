"""Scans in closed form against autograd itself, in float64: states, gradients, gains by lag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scan_references as cores
import torch
from torch import Tensor, nn

import throughtime as tt

B, T, H, K, V, D, N = 2, 7, 4, 3, 5, 4, 3
NEGATIVE = ("g", "A", "w", "log_coeffs")
POSITIVE = ("dt", "beta", "gates", "recurrent_gate")


@dataclass(frozen=True)
class Core:
    """A call of a core: the shapes of its arguments, and its options.

    ``largest_key_is_0``: the states of the trace are those of the paper over ``exp max key``.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)
    time: int = 1
    largest_key_is_0: bool = False
    reads_before: bool = False


_S6 = {"hidden_states": (B, D, T), "dt": (B, D, T), "A": (D, N), "B": (B, N, T), "C": (B, N, T)}
_SSD = {
    "hidden_states": (B, T, H, V),
    "dt": (B, T, H),
    "A": (H,),
    "B": (B, T, 2, K),
    "C": (B, T, 2, K),
}
_DELTA = {
    "query": (B, T, 2, K),
    "key": (B, T, 2, K),
    "value": (B, T, H, V),
    "g": (B, T, H),
    "beta": (B, T, H),
}
_QKV = {"q": (B, T, H, K), "k": (B, T, H, K), "v": (B, T, H, V)}
_SPLIT = {
    "zxbcdt": (B, T, 2 * H * V + 2 * 2 * K + H),
    "conv1d_weight": (H * V + 2 * 2 * K, 3),
    "conv1d_bias": (H * V + 2 * 2 * K,),
    "dt_bias": (H,),
    "A": (H,),
    "D": (H,),
    "rmsnorm_weight": (H * V,),
    "outproj_weight": (3, H * V),
}
_SPLIT_OPTIONS = {"chunk_size": 4, "headdim": V, "ngroups": 2}
_PACKED = {name: (1, *shape[1:]) for name, shape in _DELTA.items()}
_RESET = torch.tensor([[True, *[False] * (T - 1)], [True, False, False, True, *[False] * (T - 4)]])

CASES = {
    "S6": Core("mamba_selective_scan", _S6, time=2),
    "S6 with skip, gate, bias and softplus": Core(
        "mamba_selective_scan",
        {**_S6, "D": (D,), "z": (B, D, T), "delta_bias": (D,)},
        {"delta_softplus": True},
        time=2,
    ),
    "Mamba's mixer in one kernel": Core(
        "mamba_inner_fn",
        {
            "xz": (B, 2 * D, T),
            "conv1d_weight": (D, 1, 3),
            "conv1d_bias": (D,),
            "x_proj_weight": (2 + 2 * N, D),
            "delta_proj_weight": (D, 2),
            "out_proj_weight": (3, D),
            "out_proj_bias": (3,),
            "A": (D, N),
            "D": (D,),
            "delta_bias": (D,),
        },
    ),
    "Mamba-2's mixer in one kernel": Core(
        "mamba_split_conv1d_scan_combined", _SPLIT, _SPLIT_OPTIONS
    ),
    "Mamba-2's mixer, the gate first": Core(
        "mamba_split_conv1d_scan_combined", _SPLIT, _SPLIT_OPTIONS | {"norm_before_gate": False}
    ),
    "SSD in groups": Core("mamba2_chunk_scan", _SSD, {"chunk_size": 4}),
    "SSD with a clamped step": Core(
        "mamba2_chunk_scan",
        {**_SSD, "D": (H,), "z": (B, T, H, V), "dt_bias": (H,)},
        {"chunk_size": 4, "dt_softplus": True, "dt_limit": (0.3, 0.9)},
    ),
    "SSD from a state, which it returns": Core(
        "mamba2_chunk_scan",
        {**_SSD, "initial_states": (B, H, V, K)},
        {"chunk_size": 4, "return_final_states": True},
    ),
    "SSD of packed sequences": Core(
        "mamba2_chunk_scan",
        _SSD,
        {"chunk_size": 4, "seq_idx": torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 2, 2]])},
    ),
    "gated delta rule": Core("torch_chunk_gated_delta_rule", _DELTA),
    "gated delta rule of unit keys": Core(
        "torch_chunk_gated_delta_rule", _DELTA, {"use_qk_l2norm_in_kernel": True}
    ),
    "gated delta rule from a state, which it returns": Core(
        "torch_chunk_gated_delta_rule",
        {**_DELTA, "initial_state": (B, H, K, V)},
        {"output_final_state": True},
    ),
    "gated delta rule of packed sequences": Core(
        "torch_chunk_gated_delta_rule", _PACKED, {"cu_seqlens": torch.tensor([0, 3, T])}
    ),
    "KDA": Core("chunk_kda", {**_DELTA, "g": (B, T, H, K)}),
    "GLA": Core("chunk_gla", {**_QKV, "g": (B, T, H, K)}),
    "GLA, one gate a head": Core("chunk_simple_gla", {**_QKV, "g": (B, T, H)}),
    "retention": Core("chunk_retention", _QKV),
    "lightning attention": Core("MiniMaxLightningAttention", {"hidden_states": (B, T, 2 * 9)}),
    "lightning attention, masked": Core(
        "MiniMaxLightningAttention",
        {"hidden_states": (B, T, 2 * 9)},
        {"attention_mask": torch.tensor([[0.0, 0, 1, 1, 1, 1, 1], [1.0] * T])},
    ),
    "RG-LRU": Core(
        "RecurrentGemmaRglru",
        {"hidden_states": (B, T, H), "recurrent_gate": (B, T, H)},
        {"reset": torch.zeros(B, T, 1, dtype=torch.bool)},
    ),
    "RG-LRU with resets": Core(
        "RecurrentGemmaRglru",
        {"hidden_states": (B, T, H), "recurrent_gate": (B, T, H)},
        {"reset": _RESET.unsqueeze(-1)},
    ),
    "WKV-4": Core(
        "rwkv_linear_attention",
        {"time_decay": (H,), "time_first": (H,), "key": (B, T, H), "value": (B, T, H)},
        largest_key_is_0=True,
        reads_before=True,
    ),
    "mLSTM": Core(
        "parallel_stabilized_simple",
        {
            "queries": (B, H, T, K),
            "keys": (B, H, T, K),
            "values": (B, H, T, V),
            "igate_preact": (B, H, T, 1),
            "fgate_preact": (B, H, T, 1),
        },
        {"eps": 0.0},
        time=2,
    ),
    "RWKV-7": Core(
        "chunk_rwkv7",
        dict.fromkeys("rwkab", (B, T, H, K)) | {"v": (B, T, H, V)},
    ),
    "RWKV-6": Core(
        "chunk_rwkv6",
        dict.fromkeys("rwk", (B, T, H, K)) | {"v": (B, T, H, V), "u": (H, K)},
        reads_before=True,
    ),
    "delta rule, heads first": Core(
        "delta_rule_recurrence",
        {"q": (B, H, T, K), "k": (B, H, T, K), "v": (B, H, T, V), "beta": (B, H, T)},
        time=2,
    ),
    "HGRN": Core("chunk_hgrn", {"x": (B, T, H), "g": (B, T, H)}),
    "minGRU by logarithms": Core(
        "heinsen_associative_scan_log", {"log_coeffs": (B, T, H), "log_values": (B, T, H)}
    ),
    "accelerated_scan": Core("scan", {"gates": (B, H, T), "tokens": (B, H, T)}, time=2),
}


class Net(nn.Module):
    """A core on arguments that are parameters, and a loss of each step's own."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self.core, draw = core, torch.Generator().manual_seed(len(core.name))
        self.drawn = nn.ParameterList(
            _drawn(name, shape, core, draw) for name, shape in core.shapes.items()
        )
        function = getattr(cores, core.name)
        slopes = {"slope_rate": torch.tensor([0.3, 0.9], dtype=torch.float64)}
        made = isinstance(function, type)
        self.module = function(**slopes if "Lightning" in core.name else {}) if made else None
        self.weights = torch.randn(3, 4096, generator=draw, dtype=torch.float64)

    @property
    def arguments(self) -> dict[str, Tensor]:
        return dict(zip(self.core.shapes, self.drawn, strict=True))

    def losses(self) -> list[Tensor]:
        """The loss of each step, and of the final state where there is one."""
        core = self.core
        run = getattr(cores, core.name) if self.module is None else self.module
        result = run(**self.arguments, **core.options)
        output, *rest = result if isinstance(result, tuple) else (result,)
        steps = output.movedim(core.time, 0).flatten(1)
        losses = list((self.weights[0, : steps.shape[1]] * steps.sin()).sum(1))
        final = [one.flatten() for one in rest if isinstance(one, Tensor)]
        return losses + [(self.weights[1, : len(one)] * one).sum() for one in final]


def _drawn(name: str, shape: tuple[int, ...], core: Core, draw: torch.Generator) -> nn.Parameter:
    values = torch.randn(*shape, generator=draw, dtype=torch.float64)
    if core.largest_key_is_0 and name == "key":
        values = values - values.amax(1, keepdim=True)
    if name in POSITIVE:
        values = values.sigmoid()
    if name in NEGATIVE:
        values = -values.sigmoid()
    return nn.Parameter(values)


def traced(net: Net) -> tt.LayerTrace:
    (layer,) = tt.observe(net, lambda: torch.stack(net.losses()).sum())
    return layer


def flat(states: list[Tensor]) -> Tensor:
    return torch.stack([state.detach().flatten(1) for state in states])


def asked(loss: Tensor, states: list[Tensor]) -> Tensor:
    """What autograd sends to every state."""
    found = torch.autograd.grad(loss, states, retain_graph=True, allow_unused=True)
    pairs = zip(found, states, strict=True)
    return flat([torch.zeros_like(s) if one is None else one for one, s in pairs])


@pytest.mark.parametrize("core", CASES.values(), ids=CASES)
def test_states_and_gradients_are_autograds(core: Core) -> None:
    net = Net(core)
    layer = traced(net)
    with cores.keeping() as states:
        losses = net.losses()
    truth = flat(states), asked(torch.stack(losses).sum(), states)
    ours = layer.states, layer.gradients
    for one, other in zip(ours, truth, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    assert not layer.spoilt
    assert layer.verified is not None
    assert layer.verified < 1e-9


@pytest.mark.parametrize("core", CASES.values(), ids=CASES)
def test_blocks_of_time_change_nothing(core: Core) -> None:
    net = Net(core)
    (layer,) = tt.observe(net, lambda: torch.stack(net.losses()).sum(), memory=1)
    torch.testing.assert_close(layer.gradients, traced(net).gradients)
    assert layer.verified is not None
    assert layer.verified < 1e-9


@pytest.mark.parametrize("core", CASES.values(), ids=CASES)
def test_the_gain_by_lag_is_autograds(core: Core) -> None:
    net = Net(core)
    matrix = np.asarray(tt.measures.lags(traced(net), anchors=[T - 2]).values)[0]
    with cores.keeping() as states:
        losses = net.losses()
    read = T - 1 if core.reads_before else T - 2
    norms = asked(losses[read], states).norm(dim=-1).log10().numpy()
    defined = np.isfinite(matrix)
    assert defined.sum() >= T - 4
    np.testing.assert_allclose(matrix[defined], norms[defined], atol=1e-8)


def test_the_largest_exponent_of_mamba_is_not_positive() -> None:
    """Its decays are below 1 for any input (2406.00209)."""
    shapes = {name: tuple(16 if n == T else n for n in shape) for name, shape in _S6.items()}
    core = Core("mamba_selective_scan", shapes, {"delta_softplus": True}, time=2)
    found = tt.measures.lyapunov(traced(Net(core)), k=3)
    mean = np.asarray(found.values)[found.coords["figure"].index("mean")]
    assert (mean < 0).all()


def test_a_contraction_needs_unit_keys() -> None:
    """``α (I − β k kᵀ)`` shrinks every direction for unit keys and β ≤ 2, not for longer keys."""
    shapes = {**_DELTA, "query": (B, T, H, K), "key": (B, T, H, K)}
    grown = {}
    for unit in (True, False):
        net = Net(Core("torch_chunk_gated_delta_rule", shapes, {"use_qk_l2norm_in_kernel": unit}))
        with torch.no_grad():
            net.arguments["g"].zero_()
            net.arguments["beta"].fill_(2.0)
            net.arguments["key"].mul_(3.0)
        layer = traced(net)
        matrix = np.asarray(tt.measures.lags(layer).values)
        steps = np.diff(matrix, axis=1)
        grown[unit] = -float(np.nanmin(steps[np.isfinite(steps)]))
    assert grown[True] < 1e-6
    assert grown[False] > 1.0
