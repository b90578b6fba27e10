"""What is read along time is read in the order in which a layer computes; what chaos needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.diagnosis import reach
from throughtime.diagnosis.chaos import LaterHalf
from throughtime.diagnosis.evidence import Evidence
from throughtime.measures.lags import LagSweep
from throughtime.measures.lyapunov import Stretches
from throughtime.trace import LayerTrace

H, B, INPUTS = 24, 6, 4


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layers(
    kind: str, scale: float, steps: int, seed: int, hidden: int = H
) -> tuple[LayerTrace, LayerTrace]:
    """The reverse half of a bidirectional layer, and the same weights on the input turned round."""
    both, one = (getattr(nn, kind)(INPUTS, hidden, bidirectional=b) for b in (True, False))
    with torch.no_grad():
        for n, (name, weight) in enumerate(both.named_parameters()):
            weight.copy_(scale * drawn(*weight.shape, seed=seed + n) / hidden**0.5)
            if kind == "LSTM" and "bias_hh" in name:
                weight[hidden : 2 * hidden] = 5.0
        for name, weight in one.named_parameters():
            weight.copy_(getattr(both, f"{name}_reverse"))
    x = drawn(steps, B, INPUTS, seed=seed)
    with tt.capture(both) as first:
        both(x)[0][..., hidden:].square().sum().backward()
    with tt.capture(one) as second:
        one(x.flip(0))[0].square().sum().backward()
    return first.trace[-1], second.trace[0]


def evidence(layer: LayerTrace) -> Evidence:
    sweep = LagSweep.run(layer, anchors=4)
    found = reach.read(sweep.gains(), layer.steps, None)
    return Evidence(layer.name, sweep, found, layer.walls, layer.steps, layer)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_reverse_layer_is_measured_as_its_mirror_image_is(kind: str) -> None:
    turned, straight = (evidence(layer) for layer in layers(kind, 1.0, 40, 1))
    figures = [(e.growth, e.exponent["mean"], e.later.low) for e in (turned, straight)]  # type: ignore[index,union-attr]  # the run is long enough
    assert figures[0] == pytest.approx(figures[1], rel=1e-4, abs=1e-6)


def diseases(layer: LayerTrace) -> tuple[str, ...]:
    return tt.diagnose(tt.Trace((layer,))).diseases


@pytest.mark.parametrize("steps", [24, 40, 100])
@pytest.mark.parametrize("seed", range(3))
def test_an_open_lstm_that_fills_its_cells_is_not_chaotic(steps: int, seed: int) -> None:
    assert not any("chaotic" in diseases(one) for one in layers("LSTM", 1.5, steps, 10 * seed))


@pytest.mark.parametrize("gain", [2.0, 3.0])
def test_a_chaotic_network_is_found_in_both_directions(gain: float) -> None:
    assert all("chaotic" in diseases(one) for one in layers("RNN", gain, 120, 5, hidden=150))


def test_the_sentence_says_over_how_many_steps() -> None:
    found = tt.diagnose(tt.Trace((layers("RNN", 3.0, 120, 5, hidden=150)[1],)))
    said = next(one for one in found.findings if one.disease == "chaotic")
    assert "over the 96 steps measured" in said.sentence
    assert "측정한 96스텝" in said.korean
    assert "ever" not in said.sentence.replace("every", "")
    assert "diverge" not in said.sentence


def stretches(rates: list[float], sequences: int, noise: float = 0.0) -> Stretches:
    """Ten stretches of 5 steps, of these rates, with noise of each sequence and stretch."""
    jitter = noise * np.random.default_rng(0).standard_normal((len(rates), sequences, 1))
    steps = np.full((len(rates), sequences, 1), 5)
    return Stretches((np.array(rates)[:, None, None] + jitter) * steps, steps, np.zeros(1), "")


def test_the_second_half_stands_alone() -> None:
    """A transient that lasts for half of the run leaves nothing of its exponent."""
    later = LaterHalf.of(stretches([0.5] * 5 + [0.0] * 5, 4))
    assert (later.exponent, later.low, later.steps) == (0.0, 0.0, 50)


@pytest.mark.parametrize("sequences", [1, 8])
def test_the_interval_covers_the_rate_as_often_as_it_says(sequences: int) -> None:
    """And is narrower for more sequences."""
    inside = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        steps = np.full((10, sequences, 1), 5)
        sums = (0.1 + 0.1 * draw.standard_normal((10, sequences, 1))) * steps
        later = LaterHalf.of(Stretches(sums, steps, np.zeros(1), ""))
        inside += later.low <= 0.1 <= later.high
    assert inside / 200 > (0.7 if sequences == 1 else 0.85)
