"""transformers: every family with a recurrent core, by its configuration."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.model import Pair, PublicModel

_STEPS, _BATCH, _WORDS = 24, 2, 32
# Built for another torch they fail to load, and transformers imports both where they are found.
_UNNEEDED = ("torchaudio", "torchvision")

_ALL: dict[str, Any] = {
    "vocab_size": _WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32}
_S6 = {"state_size": 4, "time_step_rank": 4}
_OWN_S6 = {"mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False}
_SSD = {
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 2,
    "mamba_chunk_size": 8,
}
_DELTA = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 6,
}
_EXPERTS = {
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_LOCAL_EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
_MIXED = {"layer_types": ["linear_attention", "full_attention"]}
_ZAMBA = {
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "attention_hidden_size": 32,
    "attention_head_dim": 16,
    "intermediate_size": 32,
    "layers_block_type": ["mamba", "hybrid"] * 2,
    "num_hidden_layers": 4,
}

_SHORT = (
    "no recurrence: a gated convolution over 3 steps, and attention; see the gain at the inputs"
)

# By family: its recurrent layers, and what its configuration says beside _ALL.
_FAMILIES: dict[str, tuple[int, dict[str, Any]]] = {
    "mamba": (2, _S6),
    "falcon_mamba": (2, _S6),
    "jamba": (
        1,
        {**_HEADS, **_OWN_S6, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1}
        | {"expert_layer_period": 2, "expert_layer_offset": 1},
    ),
    "zamba": (8, {**_ZAMBA, **_OWN_S6, "n_mamba_heads": 2}),
    "mamba2": (2, {"num_heads": 4, "head_dim": 8, "state_size": 8, "n_groups": 2, "chunk_size": 8}),
    "bamba": (1, {**_HEADS, **_SSD, "attn_layer_indices": [1]}),
    "falcon_h1": (2, {**_HEADS, **_SSD, "head_dim": 8, "mamba_d_ssm": 32}),
    "granitemoehybrid": (
        1,
        {**_HEADS, **_SSD, **_LOCAL_EXPERTS, "shared_intermediate_size": 16}
        | {"layer_types": ["mamba", "attention"]},
    ),
    "nemotron_h": (
        2,
        {**_HEADS, "head_dim": 8, "mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8}
        | {"n_groups": 2, "chunk_size": 8, "layers_block_type": ["mamba", "attention", "mamba"]},
    ),
    "zamba2": (
        4,
        {**_ZAMBA, "mamba_d_state": 8, "mamba_ngroups": 2, "n_mamba_heads": 4, "mamba_expand": 2}
        | {"chunk_size": 8, "num_mem_blocks": 1},
    ),
    "qwen3_next": (1, {**_HEADS, **_DELTA, **_EXPERTS, **_MIXED, "head_dim": 8}),
    "qwen3_5_text": (1, {**_HEADS, **_DELTA, **_MIXED, "head_dim": 8}),
    "qwen3_5_moe_text": (1, {**_HEADS, **_DELTA, **_EXPERTS, **_MIXED, "head_dim": 8}),
    "olmo_hybrid": (1, {**_HEADS, **_DELTA, **_MIXED, "linear_num_key_heads": 4}),
    "kimi_linear": (
        1,
        {**_HEADS, **_MIXED, "num_key_value_heads": 2, "linear_num_heads": 2}
        | {"linear_head_dim": 4},
    ),
    "minimax": (1, {**_HEADS, **_LOCAL_EXPERTS, **_MIXED, "head_dim": 8, "block_size": 8}),
    "recurrent_gemma": (
        2,
        {**_HEADS, "num_hidden_layers": 3, "lru_width": 16, "attention_window_size": 16},
    ),
    "rwkv": (2, {"attention_hidden_size": 16, "intermediate_size": 32, "context_length": 64}),
    "xlstm": (
        2,
        {"num_heads": 2, "num_blocks": 2, "chunk_size": 8, "mode": "train", "use_cache": False}
        | {"return_last_states": True},
    ),
    "lara_mini": (1, {**_HEADS, **_DELTA, **_EXPERTS, **_MIXED, "head_dim": 8}),
    "bailing_hybrid": (
        1,
        {**_HEADS, **_MIXED, "num_key_value_heads": 2, "linear_num_heads": 2, "linear_head_dim": 4}
        | {"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
        | {"num_experts": 2, "num_experts_per_token": 1, "num_expert_group": 1, "topk_group": 1}
        | {"moe_intermediate_size": 16, "head_dim": 4, "mlp_layer_types": ["dense", "dense"]},
    ),
    "lfm2": (0, {**_HEADS, "layer_types": ["conv", "full_attention"]}),
}


def built(family: str, steps: int = _STEPS) -> Pair:
    """The model of a family, and its loss on random words."""
    _, more = _FAMILIES[family]
    auto = _transformers()
    torch.manual_seed(0)
    model = auto.AutoModelForCausalLM.from_config(
        auto.AutoConfig.for_model(family, **{**_ALL, **more})
    )
    draw = torch.Generator().manual_seed(1)
    words = torch.randint(3, _WORDS, (_BATCH, steps), generator=draw)

    def closure() -> Tensor:
        loss: Tensor = model(input_ids=words, labels=words).loss
        return loss

    return model, closure


def _transformers() -> Any:
    """The package, which is not to import what it does not need here."""
    found: Callable[..., Any] = importlib.util.find_spec

    def needed(name: str, package: str | None = None) -> Any:
        return None if name.partition(".")[0] in _UNNEEDED else found(name, package)

    importlib.util.find_spec = needed
    try:
        import transformers
        from transformers import (
            AutoModelForCausalLM,  # noqa: F401  — loads what asks for them
            modeling_utils,  # noqa: F401
        )
    finally:
        importlib.util.find_spec = found
    transformers.logging.set_verbosity_error()
    return transformers


MODELS = [
    PublicModel("transformers", family, partial(built, family), layers, "" if layers else _SHORT)
    for family, (layers, _) in _FAMILIES.items()
]
