"""Gain at the inputs by every route, against a gradient of every single loss step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import throughtime as tt

T, B, F = 12, 3, 4
CLOSE = 1e-6  # decades


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(model: nn.Module, seed: int = 1) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))
    return model.double().eval()


class Causal(nn.Module):
    """A transformer layer under a causal mask, with its skips."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(F, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(T, dtype=x.dtype)
        out: Tensor = self.layer(x, src_mask=mask, is_causal=True)
        return out


class Read(nn.Module):
    """A recurrence, what ``after`` makes of all its outputs, and a read-out at every step."""

    def __init__(self, layer: nn.Module, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.after, self.head = layer, after, nn.Linear(F, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.after(self.layer(x)[0]))
        return out


def attended(h: Tensor) -> Tensor:
    """Scaled dot products with all steps that came before, and this one (B T F)."""
    scores = h @ h.transpose(1, 2) / F**0.5
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    return h + scores.masked_fill(later, -torch.inf).softmax(-1) @ h


class Convolved(nn.Module):
    """Two causal convolutions (B F T), the second one dilated."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(F, F, 2), nn.Conv1d(F, F, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(nn.functional.pad(x.transpose(1, 2), (1, 0))).tanh()
        out: Tensor = self.second(nn.functional.pad(x, (4, 0))).transpose(1, 2)
        return out


MODELS: dict[str, Callable[[], nn.Module]] = {
    "transformer": Causal,
    "LSTM": lambda: Read(nn.LSTM(F, F, batch_first=True), lambda h: h),
    "GRU and attention": lambda: Read(nn.GRU(F, F, batch_first=True), attended),
    "RNN, summed up": lambda: Read(nn.RNN(F, F, batch_first=True), lambda h: h.cumsum(1)),
    "convolutions": Convolved,
}


def by_brute_force(model: nn.Module, x: Tensor, steps: list[int]) -> np.ndarray:
    """log10 ‖∂L_t/∂x_{t−k}‖ of every step and sequence, relative to lag 1 (N T)."""
    rows = []
    for t in steps:
        given = x.clone().requires_grad_()
        loss = model(given)[:, t].square().sum()
        (gradient,) = torch.autograd.grad(loss, given)
        norms = gradient.norm(dim=-1).log10().numpy()
        row = np.full((B, T), np.nan)
        row[:, : t + 1] = norms[:, t::-1]
        rows.append(row - row[:, 1:2])
    return np.concatenate(rows)


def nearest_quantile(samples: np.ndarray, q: float) -> list[float]:
    found = []
    for column in samples.T:
        known = np.sort(column[~np.isnan(column)])
        found.append(known[round(q * (len(known) - 1))] if len(known) else np.nan)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_gain_at_the_inputs_is_that_of_every_single_loss_step(name: str) -> None:
    model, x = filled(MODELS[name]()), normal(B, T, F)
    found = tt.measures.reach(model, lambda: model(x).square().sum(), anchors=T)
    steps = list(range(1, T))
    truth = by_brute_force(model, x, steps)
    for n, q in enumerate((0.1, 0.5, 0.9)):
        expected = np.array(nearest_quantile(truth, q))
        np.testing.assert_allclose(np.asarray(found.values)[n][1:], expected[1:], atol=CLOSE)


def test_a_source_and_a_target_can_be_named() -> None:
    model = filled(Read(nn.GRU(F, F, batch_first=True), attended))
    x = normal(B, T, F)
    found = tt.measures.reach(
        model, lambda: model(x).square().sum(), source="layer", target="head", anchors=1
    )
    assert "'layer'" in found.how
    assert "'head'" in found.how


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "source": ({"source": "encoder"}, "source is 'encoder', which is not in the model"),
    "target": ({"target": "decoder"}, "target is 'decoder', which is not in the model"),
    "count": ({"anchors": 0}, "anchors"),
    "tensor": ({"target": torch.zeros(3)}, "it cannot be a tensor"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_there_is_named(case: str) -> None:
    more, message = WRONG[case]
    model, x = filled(MODELS["LSTM"]()), normal(B, T, F)
    with pytest.raises(tt.InputError, match=message):
        tt.measures.reach(model, lambda: model(x).square().sum(), **more)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_in_the_model_changes(name: str) -> None:
    model, x = filled(MODELS[name]()), normal(B, T, F)
    before = [weight.clone() for weight in model.parameters()]
    tt.measures.reach(model, lambda: model(x).square().sum())
    assert all(map(torch.equal, before, model.parameters()))
    assert all(weight.grad is None for weight in model.parameters())
    assert not x.requires_grad


@pytest.mark.parametrize("name", ["transformer", "convolutions"])
def test_a_model_without_a_recurrence_is_judged_by_its_inputs(name: str) -> None:
    model, x = filled(MODELS[name]()), normal(B, T, F)
    span = {"transformer": 8, "convolutions": 8}[name]
    found = tt.diagnose(model, lambda: model(x).square().sum(), span)
    (layer,) = found.layers
    truth = nearest_quantile(by_brute_force(model, x, list(range(1, T))), 0.5)[span]
    assert layer.kind == "inputs"
    assert found.verdict == ("healthy" if truth >= -2 else "vanishing")
    assert [one.disease for one in found.findings].count("not recorded") == 1


def test_the_message_names_what_ran_instead() -> None:
    model = filled(Causal())
    with tt.capture(model) as run:
        model(normal(B, T, F)).sum().backward()
    with pytest.raises(tt.NothingRecordedError, match="no recurrence was recorded"):
        _ = run.trace


def test_a_gradient_that_is_gone_before_the_span_is_vanishing_and_says_where() -> None:
    model, x = filled(Convolved()), normal(B, T, F)
    found = tt.diagnose(model, lambda: model(x).square().sum(), 9)
    assert (found.verdict, found.horizon) == ("vanishing", 5)  # 1 + 2·2 steps are read


def test_no_rate_is_made_of_the_skip_at_lag_0() -> None:
    model, x = filled(Causal()), normal(B, T, F)
    (layer,) = tt.diagnose(model, lambda: model(x).square().sum(), 8).layers
    gain = np.array(layer.measurement("gain").values)[0, 1]  # type: ignore[union-attr]  # it has one
    beyond = np.polyfit(np.arange(1, T), gain[1:], 1)[0]
    assert gain[0] > 1
    assert layer.rate == pytest.approx(beyond, abs=0.02)
