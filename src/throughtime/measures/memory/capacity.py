"""Memory capacity (Jaeger 2001): how well a linear read-out of s_t recovers the input x_{t−k}.

One ridge regression for every lag, all on the same samples, so that one eigendecomposition serves
them all. Its strength is chosen on data that it was not fitted to, and it is judged on others again
(``_Split``). R² counts what is explained of the squared deviation from the mean of the fitted data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from throughtime.findings import Measurement
from throughtime.trace import LayerTrace

Samples = tuple[Tensor, Tensor]

FIGURES = ("held out", "baseline")

_LONGEST = 100
_COMPONENTS = 8
_FEWEST, _MOST = 8, 4096  # samples in each part of the split
_STRENGTHS = tuple(10.0**n for n in range(-9, 2, 2))  # of the ridge, times the mean variance
_CONSTANT = 1e-9  # of the largest input: a deviation below is rounding


def memory_capacity(
    layer: LayerTrace, inputs: Float[Tensor, "T B I"], longest: int | None
) -> Measurement:
    """R² by lag, held out and of the baseline; see ``throughtime.measures.memory``."""
    states, inputs = layer.turned(layer.states).double(), inputs.double()
    alive = layer.turned(layer.alive())
    finite = states.isfinite().all(-1) & inputs.isfinite().all(-1)
    whole = (finite | ~alive).all(0)  # sequences
    split = _Split.of(alive & whole, longest)
    if not bool(whole.any()):
        return _nothing("no sequence has finite states and inputs")
    if split is None:
        return _nothing(
            f"{layer.steps} steps of {int(whole.sum())} sequences are too few for a read-out that "
            "is judged on data it was not fitted to"
        )
    components, share = _components(inputs, split.fit)
    if not components.shape[-1]:
        return _nothing("the input is constant: there is nothing to remember")
    values = np.stack([_explained(read, components, split) for read in (states, components)])
    size = states.shape[-1]
    how = (
        f"R² of a ridge read-out of the input of k steps ago ({components.shape[-1]} principal "
        f"components, {100 * share:.0f} % of its variance) from the {size} numbers of the state, "
        f"fitted to {len(split.fit[0])} samples and judged on {len(split.test[0])} of "
        f"{split.of_what}; baseline: from the input of the same step alone"
    )
    coords = {"figure": FIGURES, "lag": tuple(range(split.longest + 1))}
    return Measurement("memory capacity", values, ("figure", "lag"), "R^2", how, coords)


def _nothing(why: str) -> Measurement:
    coords: dict[str, tuple[object, ...]] = {"figure": FIGURES, "lag": ()}
    return Measurement(
        "memory capacity",
        np.zeros((2, 0)),
        ("figure", "lag"),
        "R^2",
        f"not measured: {why}",
        coords,
    )


@dataclass(frozen=True, eq=False)
class _Split:
    """Samples (step, sequence) to fit to, to choose the ridge by, and to judge by.

    They are of other sequences, or of other times with a gap between them that is as long as the
    longest lag. A sample reaches back over all lags, inside its own sequence.
    """

    longest: int
    fit: Samples
    choose: Samples
    test: Samples
    of_what: str

    @classmethod
    def of(cls, alive: Bool[Tensor, "T B"], longest: int | None) -> _Split | None:
        """None where a part would have too few samples."""
        steps, sequences = len(alive), alive.any(0).nonzero().flatten()
        by_sequence = len(sequences) >= 4
        most = min(_LONGEST, steps // 2 if by_sequence else steps // 8)
        most = most if longest is None else min(longest, most)
        part = torch.full_like(alive, -1, dtype=torch.int8)
        if by_sequence:
            quarter = torch.arange(len(sequences), device=alive.device) % 4
            part[:, sequences] = (quarter - 1).clamp(min=0).to(part.dtype)
        else:
            room = max(0, steps - 3 * most)
            first, second = most + room // 2, 2 * most + 3 * room // 4
            part[:first], part[first + most : second], part[second + most :] = 0, 1, 2
        part[:most] = -1
        part[most:][~(alive[most:] & alive[: steps - most])] = -1
        parts = [_samples(part == n) for n in range(3)]
        if min(len(t) for t, _ in parts) < _FEWEST:
            return None
        what = "other sequences" if by_sequence else "later times"
        return cls(most, parts[0], parts[1], parts[2], what)


def _samples(chosen: Bool[Tensor, "T B"]) -> Samples:
    """Steps and sequences; if there are too many of them, evenly thinned."""
    found = chosen.nonzero()
    if len(found) > _MOST:
        found = found[torch.linspace(0, len(found) - 1, _MOST, device=found.device).long()]
    return found[:, 0], found[:, 1]


def _components(
    inputs: Float[Tensor, "T B I"], fit: Samples
) -> tuple[Float[Tensor, "T B C"], float]:
    """The leading principal components of the input, and their share of its variance."""
    seen = inputs[fit]
    centred = seen - seen.mean(0)
    scale = seen.abs().amax() if seen.numel() else seen.new_zeros(())
    if not centred.numel() or centred.abs().amax() <= _CONSTANT * scale:
        return inputs[..., :0], 0.0
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    leading = values.flip(0)[:_COMPONENTS]
    kept = int((leading > _CONSTANT * leading[0]).sum())
    share = float(leading[:kept].sum() / values.clamp(min=0).sum())
    return (inputs - seen.mean(0)) @ vectors.flip(-1)[:, :kept], share


def _lagged(
    components: Float[Tensor, "T B C"], samples: Samples, longest: int
) -> Float[Tensor, "N K C"]:
    """The components of the inputs of 0 … ``longest`` steps before each sample."""
    steps, sequences = samples
    lags = torch.arange(longest + 1, device=components.device)
    return components[steps.unsqueeze(1) - lags, sequences.unsqueeze(1)]


def _explained(
    read: Float[Tensor, "T B F"], components: Float[Tensor, "T B C"], split: _Split
) -> NDArray[np.float64]:
    """R² on the held-out samples by lag, no less than 0."""
    fit, choose, test = (
        _lagged(components, samples, split.longest)
        for samples in (split.fit, split.choose, split.test)
    )
    features = read[split.fit]
    mean, target_mean = features.mean(0), fit.mean(0)
    centred, shape, size = features - mean, fit.shape[1:], features.shape[1]
    values, vectors = _axes(centred)
    projected = vectors.T @ (centred.T @ (fit - target_mean).flatten(1))
    choosing = (read[split.choose] - mean) @ vectors
    missed = []
    for strength in _STRENGTHS:
        weights = _shrunk(values, strength, size) * projected
        errors = choose - target_mean - (choosing @ weights).unflatten(-1, shape)
        missed.append(errors.square().sum((0, 2)))
    best = torch.stack(missed).argmin(0)  # by lag
    shrunk = torch.cat([_shrunk(values, one, size) for one in _STRENGTHS], -1)[:, best]
    weights = projected.unflatten(-1, shape) * shrunk.unsqueeze(-1)
    deviations = test - target_mean
    found = ((read[split.test] - mean) @ vectors) @ weights.flatten(1)
    missed_in_test = (deviations - found.unflatten(-1, shape)).square().sum((0, 2))
    r2 = 1 - missed_in_test / deviations.square().sum((0, 2))
    result: NDArray[np.float64] = r2.clamp(min=0).cpu().numpy()
    return result


def _axes(centred: Float[Tensor, "N F"]) -> tuple[Float[Tensor, " E"], Float[Tensor, "F E"]]:
    """Eigenvalues and eigenvectors of XᵀX; of the smaller XXᵀ where samples are few."""
    if len(centred) >= centred.shape[1]:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        return values.clamp(min=0), vectors
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    seen = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    values = values[seen]
    return values, centred.T @ vectors[:, seen] / values.sqrt()


def _shrunk(values: Float[Tensor, " E"], strength: float, size: int) -> Float[Tensor, "E 1"]:
    """1 / (λ + ridge) of every eigenvalue; 0 where nothing varies at all."""
    ridged = values + strength * values.sum() / size
    return torch.where(ridged > 0, 1 / ridged, torch.zeros_like(ridged)).unsqueeze(-1)
