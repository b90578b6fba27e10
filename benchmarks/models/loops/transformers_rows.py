"""transformers: the loops that run where no fast kernel is installed, and layers that are none."""

from __future__ import annotations

from functools import partial

import torch
import transformers
from torch import Tensor

from benchmarks.models.loops import B, Build, Built, T

_WORDS = 20


def _model(family: str, **settings: int) -> Built:
    config = getattr(transformers, f"{family}Config")(vocab_size=_WORDS, hidden_size=8, **settings)
    model = getattr(transformers, f"{family}Model")(config)
    words = torch.randint(_WORDS, (B, T), generator=torch.Generator().manual_seed(1))

    def closure() -> Tensor:
        states: Tensor = model.train()(words).last_hidden_state
        return states.square().mean()

    return model, closure


_HEADS = {"num_attention_heads": 2, "intermediate_size": 16}
_GEMMA = {"num_key_value_heads": 1, "head_dim": 4, "lru_width": 8, "num_hidden_layers": 3}
ROWS: dict[str, Build] = {
    "Rwkv": partial(_model, "Rwkv", num_hidden_layers=2),
    "Mamba": partial(_model, "Mamba", num_hidden_layers=2, state_size=4),
    "FalconMamba": partial(_model, "FalconMamba", num_hidden_layers=2, state_size=4),
    "RecurrentGemma": partial(_model, "RecurrentGemma", **_HEADS, **_GEMMA),
    "Albert, one layer over depth": partial(
        _model, "Albert", **_HEADS, embedding_size=8, num_hidden_layers=8
    ),
    "Bert, no recurrence": partial(_model, "Bert", **_HEADS, num_hidden_layers=12),
}
