"""Layers of transformers, taken out of models that it initialised itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import throughtime as tt
from benchmarks.models.packages.of_transformers import _transformers
from benchmarks.modern.mixers.mixer import DEPTH, DISTANCES, WIDTH, Called, Mixer

_ALL: dict[str, Any] = {
    "vocab_size": 8,
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": WIDTH}
_LINEAR = {**_HEADS, "num_hidden_layers": DEPTH + 1}  # the last layer attends, and is not taken
_TYPES = {"layer_types": ["linear_attention"] * DEPTH + ["full_attention"]}
_DELTA = {
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_EXPERTS = {
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 8,
}


def layers_of(family: str, settings: dict[str, Any], where: str) -> list[nn.Module]:
    """The layers at ``where`` of each block of a model of that family."""
    auto = _transformers()
    configuration = auto.AutoConfig.for_model(family, **{**_ALL, **settings})
    model = auto.AutoModelForCausalLM.from_config(configuration)
    stack, _, path = where.partition(".*.")
    blocks: Any = model.get_submodule(stack)
    return [blocks[n].get_submodule(path) for n in range(DEPTH)]


def _called(
    family: str,
    settings: dict[str, Any],
    where: str,
    call: Callable[[nn.Module, Tensor], Tensor] = lambda layer, x: layer(x),
) -> list[nn.Module]:
    return [Called(layer, call) for layer in layers_of(family, settings, where)]


def _of_block(layer: nn.Module, x: Tensor) -> Tensor:
    """RecurrentGemma's block, without a cache and from position 0."""
    positions = torch.arange(x.shape[1]).expand(x.shape[0], -1)
    output: Tensor = layer(x, positions, None, use_cache=False)[0]
    return output


def _first(layer: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = layer(x)[0]
    return output


def mamba2(states: int) -> list[nn.Module]:
    """Mamba-2 with heads of 16 channels, and so many numbers of state for each channel."""
    settings = {"num_heads": 4, "head_dim": 16, "state_size": states, "n_groups": 1}
    return _called("mamba2", {**settings, "chunk_size": 32}, "backbone.layers.*.mixer")


def _with_step_sizes() -> list[nn.Module]:
    """Qwen3-Next's, with the remedy that ``prescribe`` ranks first for it."""
    found = _called("qwen3_next", _QWEN, _QWEN_AT)
    for layer in found:
        tt.remedies.step_sizes_(layer, 2 * max(DISTANCES))
    return found


def _mixer(name: str, family: str, settings: dict[str, Any], where: str, note: str) -> Mixer:
    return Mixer(name, "transformers", partial(_called, family, settings, where), note)


_DELTA_NET = {**_LINEAR, **_TYPES, **_DELTA}
_QWEN = {**_DELTA_NET, **_EXPERTS, "head_dim": 8}
SICK = "gated DeltaNet (Qwen3-Next)"
TREATED = f"{SICK}, step-sizes"
_QWEN_AT = "model.layers.*.linear_attn"

MIXERS = [
    _mixer(
        "Mamba",
        "mamba",
        {"state_size": 8, "expand": 2, "time_step_rank": 2},
        "backbone.layers.*.mixer",
        "64 channels of 8 states each",
    ),
    Mixer("Mamba-2", "transformers", partial(mamba2, 16), "4 heads, states of 16 × 16"),
    _mixer(
        "gated DeltaNet",
        "olmo_hybrid",
        {**_DELTA_NET, "linear_allow_neg_eigval": False},
        "model.layers.*.linear_attn",
        "OLMo-Hybrid's, β < 1: 4 heads, states of 8 × 8",
    ),
    _mixer(
        SICK,
        "qwen3_next",
        _QWEN,
        _QWEN_AT,
        "Qwen3-Next's, which starts Δ above 1: 4 heads, states of 8 × 8",
    ),
    Mixer(
        TREATED,
        "transformers",
        _with_step_sizes,
        "the same with the remedy `step_sizes_` for twice the longest distance",
    ),
    _mixer(
        "KDA",
        "kimi_linear",
        {**_LINEAR, **_TYPES, **_EXPERTS, "linear_num_heads": 4, "linear_head_dim": 8},
        "model.layers.*.self_attn",
        "Kimi Linear's: 4 heads, states of 8 × 8, a decay for each key",
    ),
    Mixer(
        "mLSTM",
        "transformers",
        partial(
            _called,
            "xlstm",
            {"num_heads": 4, "num_blocks": DEPTH, "chunk_size": 32, "mode": "train"}
            | {"use_cache": False, "return_last_states": True, "qk_dim_factor": 1.0},
            "backbone.blocks.*.mlstm_layer",
            _first,
        ),
        "xLSTM 7B's: 4 heads, states of 8 × (8 + 1)",
    ),
    Mixer(
        "RG-LRU",
        "transformers",
        partial(
            _called,
            "recurrent_gemma",
            {**_HEADS, "num_hidden_layers": 3, "lru_width": WIDTH},
            "model.layers.*.temporal_block",
            _of_block,
        ),
        "RecurrentGemma's recurrent block: 32 units",
    ),
]
