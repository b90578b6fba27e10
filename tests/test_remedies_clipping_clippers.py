"""The clippers against their papers in plain numbers, and against themselves after a reload."""

from __future__ import annotations

import copy
import io
import math
import pickle
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from throughtime.errors import InputError, ThroughtimeWarning
from throughtime.remedies.clipping import AGC, AutoClip, GradientClipper, ZClip
from throughtime.remedies.clipping.norm_counts import NormCounts
from throughtime.runs import RunDirectory
from throughtime.tasks.adding import adding
from throughtime.training import train

Make = Callable[[], GradientClipper]
CLIPPERS: dict[str, Make] = {
    "AutoClip": AutoClip,
    "AutoClip, the median": partial(AutoClip, 50.0),
    "ZClip": ZClip,
    "ZClip, warm at once": partial(ZClip, 0.9, 2.0, 5, 3.0),
    "AGC": AGC,
}


def norms_of_a_training(count: int, seed: int = 0) -> np.ndarray:
    """Log-normal, with a spike now and then."""
    generator = np.random.default_rng(seed)
    spikes = np.where(generator.random(count) < 0.05, 30.0, 1.0)
    return np.exp(0.4 * generator.standard_normal(count)) * spikes


def with_norm(norm: float, kind: torch.dtype = torch.float64) -> list[nn.Parameter]:
    """Two parameters whose gradients have this norm together."""
    found = [nn.Parameter(torch.ones(3, dtype=kind)), nn.Parameter(torch.ones(2, 2, dtype=kind))]
    for parameter, share in zip(found, (0.6, 0.8), strict=True):
        direction = torch.arange(1.0, parameter.numel() + 1, dtype=kind).view_as(parameter)
        parameter.grad = direction * (norm * share / direction.norm())
    return found


def norm_left(parameters: list[nn.Parameter]) -> float:
    gradients = [one.grad.flatten() for one in parameters if one.grad is not None]
    return math.hypot(*torch.cat(gradients).tolist())  # which squares nothing out of range


def lengths(clipper: GradientClipper, norms: np.ndarray) -> list[float]:
    """The norms that the clipper leaves of gradients with these norms."""
    left = []
    for norm in norms:
        parameters = with_norm(norm)
        clipper(parameters)
        left.append(norm_left(parameters))
    return left


@pytest.mark.parametrize("percentile", [0.0, 10.0, 50.0, 99.5, 100.0])
def test_autoclip_cuts_at_the_percentile_of_all_norms_so_far(percentile: float) -> None:
    norms = norms_of_a_training(200)
    thresholds = [np.percentile(norms[: n + 1], percentile) for n in range(len(norms))]
    found = lengths(AutoClip(percentile), norms)
    np.testing.assert_allclose(found, np.minimum(norms, thresholds), rtol=1.1e-3)


def test_the_first_gradient_passes_an_autoclip_as_it_is() -> None:
    parameters = with_norm(7.3)
    before = [one.grad.clone() for one in parameters if one.grad is not None]
    AutoClip()(parameters)
    after = [one.grad for one in parameters]
    torch.testing.assert_close(after, before, rtol=1e-6, atol=0)


def zclip_of_the_paper(norms: np.ndarray, alpha: float, z_max: float, warm_up: int) -> list[float]:
    """Section 3 of the paper, with the variance as such."""
    mean, variance = norms[:warm_up].mean(), norms[:warm_up].var()
    left = list(norms[:warm_up])
    for norm in norms[warm_up:]:
        z = (norm - mean) / math.sqrt(variance)
        cut = norm if z <= z_max else mean + z_max * math.sqrt(variance) / (z / z_max)
        mean = alpha * mean + (1 - alpha) * cut
        variance = alpha * variance + (1 - alpha) * (cut - mean) ** 2
        left.append(cut)
    return left


@pytest.mark.parametrize("settings", [(0.97, 2.5, 25), (0.5, 1.0, 2)])
def test_zclip_cuts_as_its_paper_does(settings: tuple[float, float, int]) -> None:
    norms = norms_of_a_training(300)
    expected = zclip_of_the_paper(norms, *settings)
    np.testing.assert_allclose(lengths(ZClip(*settings), norms), expected, rtol=2e-6)


def test_zclip_lets_steady_norms_pass() -> None:
    clipper = ZClip()
    lengths(clipper, np.full(100, 0.3))
    assert clipper.clipped_steps == 0


def test_zclip_never_lets_more_than_max_norm_pass() -> None:
    assert max(lengths(ZClip(max_norm=2.0), norms_of_a_training(60))) == pytest.approx(2.0)


@pytest.mark.parametrize("make", [AutoClip, ZClip], ids=["AutoClip", "ZClip"])
def test_a_gradient_of_zeros_is_not_remembered(make: Make) -> None:
    norms = norms_of_a_training(60)
    expected = lengths(make(), norms)
    found = lengths(make(), np.insert(norms, [0, 3, 40], 0.0))
    assert [one for one in found if one] == expected


@pytest.mark.parametrize("norm", [1e-200, 1e-20, 1e20, 1e200])
@pytest.mark.parametrize("make", CLIPPERS.values(), ids=CLIPPERS)
def test_a_clipper_works_at_any_scale(make: Make, norm: float) -> None:
    found = lengths(make(), norms_of_a_training(40) * norm)
    assert all(0 < one < math.inf for one in found)


@pytest.mark.parametrize("make", [AutoClip, ZClip], ids=["AutoClip", "ZClip"])
@pytest.mark.parametrize("norm", [1e-200, 1e-8, 1e8, 1e150])
def test_a_threshold_follows_the_scale_of_the_norms(make: Make, norm: float) -> None:
    norms = norms_of_a_training(80)
    expected = np.array(lengths(make(), norms)) * norm
    np.testing.assert_allclose(lengths(make(), norms * norm), expected, rtol=2e-3)


SHAPES = [(6,), (4, 5), (3, 2, 4), ()]


def weights_and_gradients(kind: torch.dtype) -> list[nn.Parameter]:
    generator, found = torch.Generator().manual_seed(4), []
    for shape in SHAPES:
        found.append(nn.Parameter(torch.randn(shape, generator=generator, dtype=kind)))
        found[-1].grad = 0.05 * torch.randn(shape, generator=generator, dtype=kind)
    return found


def units(values: Tensor) -> list[Tensor]:
    return list(values) if values.dim() > 1 else [values]


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.complex64])
@pytest.mark.parametrize("clipping", [0.01, 0.05, 10.0])
def test_agc_cuts_every_unit_to_a_share_of_its_weights(kind: torch.dtype, clipping: float) -> None:
    parameters = weights_and_gradients(kind)
    expected = []
    for one in parameters:
        assert one.grad is not None
        for weight, gradient in zip(units(one.detach()), units(one.grad), strict=True):
            bound = clipping * max(weight.norm().item(), 1e-3)
            expected.append(gradient * min(1.0, bound / gradient.norm().item()))
    AGC(clipping)(parameters)
    found = [unit for one in parameters if one.grad is not None for unit in units(one.grad)]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("weight", [0.0, math.nan, math.inf])
def test_agc_takes_weights_to_be_at_least_eps(weight: float) -> None:
    (parameter,) = [nn.Parameter(torch.full((2, 2), weight))]
    parameter.grad = torch.ones(2, 2)
    AGC(clipping=0.5, eps=0.1)([parameter])
    assert parameter.grad.norm(dim=1).tolist() == pytest.approx([0.05, 0.05])


def test_agc_clips_a_sparse_gradient_as_a_dense_one() -> None:
    found = []
    for sparse in (True, False):
        weight = torch.linspace(0.0, 1.0, 12).view(6, 2)
        embedding = nn.Embedding(6, 2, sparse=sparse, _weight=weight)
        embedding(torch.tensor([1, 4, 4])).sum().backward()
        AGC()(embedding.parameters())
        assert embedding.weight.grad is not None
        found.append(embedding.weight.grad.to_dense())
    torch.testing.assert_close(*found)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(2, 3), nn.Linear(3, 1)

    def run(self) -> None:
        self.zero_grad()
        self.head(self.rnn(torch.ones(4, 2))[0]).sum().backward()


EXCLUDED: dict[str, Callable[[Model], AGC]] = {
    "a module": lambda model: AGC(exclude=model.head),
    "its name": lambda model: AGC(exclude="head", model=model),
    "parameters": lambda model: AGC(exclude=model.head.parameters()),
    "names": lambda model: AGC(exclude=["head.weight", "head.bias"], model=model),
    "a mixture": lambda model: AGC(exclude=[model.head.weight, "head.bias"], model=model),
}


@pytest.mark.parametrize("exclude", EXCLUDED.values(), ids=EXCLUDED)
def test_agc_leaves_the_read_out_alone(exclude: Callable[[Model], AGC]) -> None:
    model = Model()
    model.run()
    before = {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }
    exclude(model)(model.parameters())
    kept = {
        name
        for name, one in model.named_parameters()
        if one.grad is not None and torch.equal(one.grad, before[name])
    }
    assert kept == {"head.weight", "head.bias"}


def test_agc_is_copied_together_with_the_model() -> None:
    model = Model()
    copied, clipper = copy.deepcopy((model, AGC(exclude=model.head)))
    copied.run()
    before = copied.head.weight.grad.clone()
    clipper(copied.parameters())
    assert torch.equal(copied.head.weight.grad, before)


def test_agc_says_when_the_model_was_copied_without_it() -> None:
    model = Model()
    copied = copy.deepcopy(model)
    copied.run()
    clipper = AGC(exclude=model.head)
    with pytest.warns(ThroughtimeWarning, match="was the model copied") as seen:
        clipper(copied.parameters())
    clipper(copied.parameters())  # says it once
    assert [one.filename for one in seen] == [__file__]


def test_a_clipper_counts_what_it_does() -> None:
    clipper = AutoClip(100.0)
    lengths(clipper, np.array([1.0, 2.0, 0.5]))
    assert clipper.state_dict()["steps"] == 3


def through_torch(state: dict[str, Any], _folder: Path) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def through_a_run(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    run = RunDirectory.create(folder / "run")
    with run.lock():
        run.save({"clipper": state}, 1)
    found = RunDirectory.open(folder / "run").load()
    assert found is not None
    loaded: dict[str, Any] = found[1]["clipper"]
    return loaded


@pytest.mark.parametrize("stored", [through_torch, through_a_run])
@pytest.mark.parametrize("steps", [0, 3, 40])
@pytest.mark.parametrize("make", CLIPPERS.values(), ids=CLIPPERS)
def test_a_clipper_goes_on_where_it_was_saved(
    make: Make, steps: int, stored: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    norms = norms_of_a_training(80)
    whole = lengths(make(), norms)
    first, second = make(), make()
    lengths(first, norms[:steps])
    second.load_state_dict(stored(first.state_dict(), tmp_path))
    assert lengths(second, norms[steps:]) == whole[steps:]
    assert second.steps == len(norms)


@pytest.mark.parametrize("make", CLIPPERS.values(), ids=CLIPPERS)
def test_a_training_that_was_resumed_is_the_one_that_was_not(make: Make, tmp_path: Path) -> None:
    whole, begun, resumed = (adding("gru", length=10, hidden=4, batch=4) for _ in range(3))
    expected = train(whole, 12, clip=make()).losses
    train(begun, 7, clip=make(), run=tmp_path / "run")
    found = train(resumed, 12, clip=make(), run=tmp_path / "run", resume=True).losses
    assert found == expected


def pickled(clipper: Any) -> Any:
    return pickle.loads(pickle.dumps(clipper))  # noqa: S301  — our own


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("make", CLIPPERS.values(), ids=CLIPPERS)
def test_a_copy_of_a_clipper_goes_its_own_way(make: Make, copied: Callable[[Any], Any]) -> None:
    norms, clipper = norms_of_a_training(60), make()
    lengths(clipper, norms[:30])
    lengths(copied(clipper), norms[:30] * 1e6)
    assert lengths(clipper, norms[30:]) == lengths(make(), norms)[30:]


@pytest.mark.parametrize("make", CLIPPERS.values(), ids=CLIPPERS)
def test_a_clipper_is_called_by_its_settings_whatever_it_has_seen(make: Make) -> None:
    clipper = make()
    lengths(clipper, norms_of_a_training(30))
    assert repr(clipper) == repr(make()) == repr(eval(repr(clipper)))  # noqa: S307  — our own repr


def broken(make: Make, **changes: object) -> tuple[GradientClipper, dict[str, Any]]:
    clipper = make()
    lengths(clipper, norms_of_a_training(40))
    return clipper, {**clipper.state_dict(), **changes}


BROKEN: dict[str, tuple[Make, dict[str, object], str]] = {
    "an unknown entry": (AutoClip, {"more": 1}, "not the state of AutoClip"),
    "of another": (AGC, {"mean": 1.0}, "not the state of AGC"),
    "no count": (ZClip, {"steps": -1}, "steps of ZClip.* is -1"),
    "a fraction of a step": (AGC, {"clipped_steps": 0.5}, "clipped_steps of AGC"),
    "more bins": (AutoClip, {"bins": torch.arange(99)}, "99 bins and"),
    "half a bin": (AutoClip, {"bins": [0.5], "counts": [1]}, "whole numbers"),
    "no bins": (AutoClip, {"bins": 3, "counts": 4}, "whole numbers"),
    "words": (AutoClip, {"bins": "one"}, "whole numbers"),
    "a bin far away": (AutoClip, {"bins": [10**12], "counts": [1]}, "within ±1,000,000"),
    "a negative count": (AutoClip, {"bins": [1], "counts": [-1]}, "at least 1"),
    "a mean of nan": (ZClip, {"mean": math.nan}, "does not fit ZClip"),
    "a mean of text": (ZClip, {"mean": "1"}, "does not fit ZClip"),
    "a negative deviation": (ZClip, {"deviation": -1.0}, "does not fit ZClip"),
    "another warm-up": (ZClip, {"first": [1.0] * 30, "warm": False}, "other settings"),
    "no norms": (ZClip, {"first": None}, "does not fit ZClip"),
}


@pytest.mark.parametrize(("make", "changes", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    make: Make, changes: dict[str, object], sentence: str
) -> None:
    clipper, state = broken(make, **changes)
    before = clipper.state_dict()
    with pytest.raises(InputError, match=sentence):
        clipper.load_state_dict(state)
    torch.testing.assert_close(clipper.state_dict(), before)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a percentile": (lambda: AutoClip(101), "percentile is 101"),
    "no percentile": (lambda: AutoClip(math.nan), "percentile is nan"),
    "alpha": (lambda: ZClip(alpha=1.0), "alpha is 1.0"),
    "z": (lambda: ZClip(z=0.0), "z is 0, and must be above 0"),
    "a short warm-up": (lambda: ZClip(warm_up=1), "warm_up is 1"),
    "max_norm": (lambda: ZClip(max_norm=-1.0), "max_norm is -1"),
    "clipping": (lambda: AGC(0.0), "clipping is 0"),
    "eps": (lambda: AGC(eps=math.nan), "eps is nan"),
    "a name without a model": (lambda: AGC(exclude="head"), "say in which model"),
    "an unknown name": (
        lambda: AGC(exclude="tail", model=Model()),
        "no parameter or module 'tail'",
    ),
    "a module to clip": (lambda: AutoClip()(Model()), re.escape("give model.parameters()")),
}


@pytest.mark.parametrize(("asked", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(asked: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        asked()


def long_training() -> Iterator[float]:
    generator = np.random.default_rng(0)
    for step in range(100_000):
        yield math.exp(3 * math.sin(step / 9000) + generator.standard_normal())


def test_a_long_training_is_remembered_in_little_memory() -> None:
    counts, norms = NormCounts(), []
    for norm in long_training():
        counts.add(norm)
        counts.percentile(10)
        norms.append(norm)
    assert counts.percentile(10) == pytest.approx(np.percentile(norms, 10), rel=1e-3)
    file = io.BytesIO()
    torch.save(counts.to_state(), file)
    assert len(file.getvalue()) < 300_000


def test_a_long_training_leaves_a_zclip_as_small_as_it_was() -> None:
    clipper = ZClip()
    lengths(clipper, norms_of_a_training(30))
    before = len(pickle.dumps(clipper))
    lengths(clipper, norms_of_a_training(1000))
    assert len(pickle.dumps(clipper)) <= before + 100
