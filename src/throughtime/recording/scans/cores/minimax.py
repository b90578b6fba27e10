"""Lightning attention (Qin et al. 2024) as MiniMax has it, inside of its module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.registry import Scan


class LightningAttention(Scan):
    """``S_t = λ_h S_{t−1} + k_t v_tᵀ``, ``y_t = S_tᵀ q_t``; λ is fixed, one for each head.

    The core stands between two parts of the module: it reads what ``qkv_proj`` gives, through an
    activation and a mask, and ``norm`` reads what it gives.
    """

    names = ("MiniMaxLightningAttention.forward",)
    parameters = ("self", "hidden_states", "attention_mask")
    probes = ("qkv",)
    state = "before"
    at_most = None

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: dict[str, Any],
        watched: dict[str, Tensor],
    ) -> tuple[Any, Any]:
        module, cache = given["self"], given.get("cache")
        before = None if cache is None else cache.get_linear_cache(module.layer_idx)
        given["before"] = before if isinstance(before, Tensor) else None
        output: list[Tensor] = []

        def projected(_: Any, __: Any, qkv: Tensor) -> Tensor:
            given["qkv"] = qkv
            if not qkv.requires_grad:
                return qkv
            watched["qkv"] = qkv.view_as(qkv)
            return watched["qkv"]

        def normed(_: Any, read: tuple[Tensor, ...]) -> None:
            output.append(read[0])

        hooks = (
            module.qkv_proj.register_forward_hook(projected),
            module.norm.register_forward_pre_hook(normed),
        )
        try:
            result = function(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        return result, output[0]

    def steps(self, of: Arguments) -> Steps:
        module, qkv = of["self"], of.timed("qkv")
        states = module.act_fn(qkv)
        if of.get("attention_mask") is not None:
            states = states * of.timed("attention_mask").unsqueeze(-1)
        heads = states.unflatten(-1, (module.num_attention_heads, -1))
        query, key, value = heads.split(module.head_dim, -1)
        decay = torch.exp(-module.slope_rate.double().flatten())[None, None, :, None, None]
        return Steps(decay, key, value, query)

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        heads: Tensor = output.movedim(1, 0).unflatten(-1, (of["self"].num_attention_heads, -1))
        return heads
