"""A suggested threshold: of norms that are steady, spiked, spread, drifting or lost."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime.errors import InputError
from throughtime.remedies.clipping import ClipSuggestion, suggest_clip
from throughtime.runs import RunDirectory

N = 1000


def noise(spread: float, seed: int = 0) -> np.ndarray:
    """Log-normal norms around 1; ``spread`` is the standard deviation in decades."""
    return 10 ** (spread * np.random.default_rng(seed).standard_normal(N))


def spiked(count: int, height: float) -> np.ndarray:
    norms = noise(0.05)
    norms[:: N // count][:count] = height
    return norms


def lost(norms: np.ndarray) -> list[float]:
    return [*norms, math.nan, math.inf]


WIDE = noise(0.6)
USUAL = WIDE[np.median(WIDE) * 10 >= WIDE]
FALLING = noise(0.05) * np.logspace(2, -1, N)
NORMS: dict[str, tuple[object, float | None, float, str]] = {
    # norms, threshold (None: do not clip), share that is clipped, reason
    "constant": (np.full(N, 0.3), None, 0.0, "steady: the largest of 1,000 is 1 times"),
    "steady": (noise(0.05), None, 0.0, "the norms are steady"),
    "wide, and no spike": (noise(0.2), None, 0.0, "the norms are steady"),
    "spikes": (spiked(10, 1e3), noise(0.05).max(), 0.01, "spikes in 10 of 1,000 norms"),
    "spikes of 5 times": (spiked(10, 5.0), noise(0.05).max(), 0.01, "10 of 1,000"),
    "a bump of twice": (spiked(10, 2.0), None, 0.0, "the norms are steady"),
    "one spike of 1e30": (spiked(1, 1e30), noise(0.05).max(), 0.001, "up to 1.01e[+]30 times"),
    "ten times at most": (WIDE, USUAL.max(), 1 - len(USUAL) / N, "spikes in"),
    "decades apart": (noise(3.0), np.percentile(noise(3.0), 10), 0.9, "there is no usual one"),
    "steady, some lost": (lost(noise(0.05)), noise(0.05).max(), 0.0, "but 2 norms were not finite"),
    "spikes, some lost": (lost(spiked(10, 1e3)), noise(0.05).max(), 0.01, "; 2 norms were not"),
    "falling": (FALLING, None, 0.0, "fell by 2.3 decades, and this is from the last 250"),
    "rising": (FALLING[::-1], None, 0.0, "rose by 2.3 decades"),
}


@pytest.mark.parametrize(("norms", "threshold", "share", "reason"), NORMS.values(), ids=NORMS)
def test_a_threshold_is_suggested(
    norms: object, threshold: float | None, share: float, reason: str
) -> None:
    found = suggest_clip(norms)
    assert found.threshold == (None if threshold is None else pytest.approx(threshold, rel=0.01))
    assert found.share == pytest.approx(share, abs=2e-3)
    assert found.norms in (N, N // 4)
    assert re.search(reason, found.reason)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@pytest.mark.parametrize("name", ["steady", "spikes", "decades apart"])
def test_a_suggestion_follows_the_scale_of_the_norms(name: str, scale: float) -> None:
    norms = NORMS[name][0]
    assert isinstance(norms, np.ndarray)
    plain, scaled = suggest_clip(norms), suggest_clip(norms * scale)
    expected = None if plain.threshold is None else pytest.approx(plain.threshold * scale, rel=0.01)
    assert scaled.threshold == expected


def run_directory(folder: Path) -> RunDirectory:
    run = RunDirectory.create(folder / "run")
    with run.lock():
        run.append({"step": 0, "horizon": 3, "gain_at_span": None})
        for step, norm in enumerate(NORMS["spikes"][0][:100], start=1):
            run.append({"step": step, "loss": 1.0, "norm": float(norm)})
    return run


SOURCES: dict[str, Callable[[list[float], Path], object]] = {
    "a list": lambda norms, _: norms,
    "a generator": lambda norms, _: (one for one in norms),
    "an array": lambda norms, _: np.array(norms),
    "a tensor": lambda norms, _: torch.tensor(norms, dtype=torch.float64),
    "tensors": lambda norms, _: [torch.tensor(one, dtype=torch.float64) for one in norms],
    "a training": lambda norms, _: SimpleNamespace(norms=norms),
    "a run": lambda _, folder: run_directory(folder),
    "a run's history": lambda _, folder: run_directory(folder).history(),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_norms_may_come_from_anywhere(
    source: Callable[[list[float], Path], object], tmp_path: Path
) -> None:
    norms = [float(one) for one in NORMS["spikes"][0][:100]]
    assert suggest_clip(source(norms, tmp_path)) == suggest_clip(norms)


POSITIVE = st.floats(min_value=5e-324, allow_infinity=False)
NO_NUMBER = st.sampled_from([0.0, math.nan, math.inf])


@given(st.lists(POSITIVE, min_size=20, max_size=60), st.lists(NO_NUMBER, max_size=3))
def test_any_norms_give_a_suggestion(norms: list[float], others: list[float]) -> None:
    found = suggest_clip([*norms, *others])
    assert found.threshold is None or 0 < found.threshold < math.inf


SAID = {
    "do not clip: steady": ClipSuggestion(None, "steady", 0.0, 30),
    "clip at 2.5: spikes": ClipSuggestion(2.5, "spikes", 0.1, 30),
}


@pytest.mark.parametrize(("sentence", "suggestion"), SAID.items(), ids=SAID)
def test_a_suggestion_is_a_sentence(sentence: str, suggestion: ClipSuggestion) -> None:
    assert str(suggestion) == sentence


REFUSED: dict[str, tuple[object, str]] = {
    "nothing": ([], "at least 20 norms that are finite and above 0, and was given 0"),
    "a few": ([1.0] * 19, "was given 19"),
    "zeros": ([0.0] * 50, "was given 0"),
    "lost alone": ([math.nan] * 50, "was given 0"),
    "records without norms": ([{"step": 1, "loss": 2.0}] * 50, "was given 0"),
    "below 0": ([*[1.0] * 50, -1.0], "a norm is -1"),
    "words": (["one"] * 50, "a norm is of type str"),
    "a sentence": ("1.0", "was given str"),
    "something else": (SimpleNamespace(losses=[1.0]), "was given SimpleNamespace"),
}


@pytest.mark.parametrize(("history", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(history: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        suggest_clip(history)
