"""Initialisations of scans in public models whose gates read nothing: decays by the formula."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from benchmarks.models.model import Pair
from benchmarks.models.packages import of_state_spaces, of_transformers

TIME = 40.0
# By family: the verb, and the weights through which the input reaches the gate (the last rows).
FAMILIES: dict[str, tuple[Callable[..., nn.Module], str, int]] = {
    "mamba": (tt.remedies.step_sizes_, "dt_proj.weight", 0),
    "falcon_mamba": (tt.remedies.step_sizes_, "dt_proj.weight", 0),
    "jamba": (tt.remedies.step_sizes_, "dt_proj.weight", 0),
    "zamba": (tt.remedies.step_sizes_, "dt_proj_weight", 0),
    "mamba2": (tt.remedies.step_sizes_, "in_proj.weight", 4),
    "bamba": (tt.remedies.step_sizes_, "in_proj.weight", 4),
    "falcon_h1": (tt.remedies.step_sizes_, "in_proj.weight", 4),
    "nemotron_h": (tt.remedies.step_sizes_, "in_proj.weight", 4),
    "qwen3_next": (tt.remedies.step_sizes_, "in_proj_ba.weight", 0),
    "olmo_hybrid": (tt.remedies.step_sizes_, "a_proj.weight", 0),
    "kimi_linear": (tt.remedies.step_sizes_, "f_b_proj.weight", 0),
    "recurrent_gemma": (tt.remedies.decay_ring_, "recurrent_gate_weight", 0),
    "rwkv": (tt.remedies.decay_scales_, "", 0),
    "minimax": (tt.remedies.decay_scales_, "", 0),
    "xlstm": (tt.remedies.forget_ramp_, "fgate_preact.weight", 0),
    "mambapy": (tt.remedies.step_sizes_, "dt_proj.weight", 0),
    "mLSTM": (tt.remedies.forget_ramp_, "fgate.weight", 0),
}


def pair(family: str) -> Pair:
    package = {"mambapy": "mambapy", "mLSTM": "xlstm"}.get(family, "transformers")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install {package}")
    if family == "mambapy":
        return of_state_spaces._mambapy(True)
    return of_state_spaces._mlstm() if family == "mLSTM" else of_transformers.built(family)


@torch.no_grad()
def unread(model: nn.Module, weight: str, rows: int) -> None:
    """Let the input add nothing to the gates."""
    found = [one for name, one in model.named_parameters() if weight and name.endswith(weight)]
    assert found or not weight
    for one in found:
        one[-rows:].zero_()  # all of them, where none are counted


@pytest.mark.parametrize("family", FAMILIES)
def test_the_slowest_state_decays_over_the_time_that_was_asked_for(family: str) -> None:
    model, closure = pair(family)
    verb, weight, rows = FAMILIES[family]
    verb(model, TIME, TIME)
    unread(model, weight, rows)
    for layer in tt.observe(model, closure):
        decays = layer.linear.activations()["decay"][1:].double()
        slowest = decays.amax((0, 1))
        assert float(slowest.max()) == pytest.approx(math.exp(-1 / TIME), rel=1e-5)
        assert layer.verified is not None
        assert layer.verified < 1e-4


@pytest.mark.parametrize("family", ["bamba", "jamba", "mamba2"])
def test_a_sick_one_is_prescribed_what_brings_its_gradient_to_the_span(family: str) -> None:
    model, closure = pair(family)
    with torch.no_grad():  # as Bamba starts: Δ above 1
        for name, one in model.named_parameters():
            if name.endswith(("dt_bias", "dt_proj.bias")):
                one.fill_(1.0)
    found = tt.prescribe(_first_layer_alone(model), closure, 20, updates=2)
    assert found.before.verdict == "vanishing"
    assert "step-sizes" in found.options[0].name
    assert found.options[0].verdict == "healthy"


def _first_layer_alone(model: Any) -> nn.Module:
    """Layers in series are measured one by one: one is left."""
    layers = getattr(model, "backbone", model).layers if hasattr(model, "backbone") else None
    if layers is not None:
        del layers[1:]
        model.config.num_hidden_layers = 1
    found: nn.Module = model
    return found


def test_units_of_an_slstm_have_a_ramp_each() -> None:
    pytest.importorskip("xlstm")
    from xlstm.blocks.slstm.cell import sLSTMCell_vanilla, sLSTMCellConfig

    settings: dict[str, Any] = {"dtype": "float32", "bias_init": "standard"}
    cell = sLSTMCell_vanilla(sLSTMCellConfig(8, 2, backend="vanilla", **settings))
    before = cell.bias.clone().detach()
    tt.remedies.forget_ramp_(cell)
    after: Tensor = cell.bias.clone().detach()
    torch.testing.assert_close(
        after[:, 1], torch.linspace(3, 6, 4).expand(2, -1), atol=0.03, rtol=0
    )
    torch.testing.assert_close(after[:, [0, 2, 3]], before[:, [0, 2, 3]], rtol=0, atol=0)
