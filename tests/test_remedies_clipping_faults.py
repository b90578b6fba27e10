"""NaN and infinity in the gradient: one entry costs that entry, and poisons no clipper."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from throughtime.remedies.clipping import (
    AGC,
    AutoClip,
    GradientClipper,
    Lost,
    LostGradientError,
    LostGradientWarning,
    ZClip,
    clip_grad_norm_,
    clip_grad_value_,
    zero_nonfinite_,
)

Clip = Callable[[list[nn.Parameter]], object]
FUNCTIONS: dict[str, Callable[[], Clip]] = {
    "norm": lambda: partial(clip_grad_norm_, max_norm=0.5),
    "largest entry": lambda: partial(clip_grad_norm_, max_norm=0.1, norm_type=math.inf),
    "no foreach": lambda: partial(clip_grad_norm_, max_norm=0.5, foreach=False),
    "value": lambda: partial(clip_grad_value_, clip_value=0.1),
}
OBJECTS: dict[str, Callable[[], GradientClipper]] = {
    "AutoClip": AutoClip,
    "AutoClip, the median": partial(AutoClip, 50.0),
    "ZClip": partial(ZClip, warm_up=5),
    "ZClip, never warm": ZClip,
    "AGC": AGC,
}
CLIPPERS = {**FUNCTIONS, **OBJECTS}
BAD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
STEPS, BAD_STEPS = 12, (0, 4, 5, 11)

Place = tuple[int, Any]  # of the parameter, and of the entries in it
PLACES: dict[str, list[Place]] = {
    "the first entry": [(0, (0, 0))],
    "the last entry": [(2, ())],
    "one in the middle": [(1, (2,))],
    "a row": [(0, 1)],
    "two parameters": [(0, (2, 1)), (1, (0,))],
}
EVERYWHERE: list[Place] = [(0, ...), (1, ...), (2, ...)]


def parameters_at(step: int, kind: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator, found = torch.Generator().manual_seed(step), []
    for shape in ((3, 4), (5,), ()):
        found.append(nn.Parameter(torch.ones(shape, dtype=kind)))
        found[-1].grad = torch.randn(shape, generator=generator, dtype=kind)
    return found


def put(parameters: list[nn.Parameter], places: list[Place], value: float) -> None:
    for place, entries in places:
        gradient = parameters[place].grad
        assert gradient is not None
        gradient[entries] = value


def gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [one.grad for one in parameters if one.grad is not None]


def run(clip: Clip, bad_step: int, places: list[Place], value: float) -> list[list[Tensor]]:
    """The gradients of a training with ``value`` at these places in one of its steps."""
    left = []
    for step in range(STEPS):
        parameters = parameters_at(step)
        if step == bad_step:
            put(parameters, places, value)
        clip(parameters)
        left.append(gradients(parameters))
    return left


LOST = "ignore::throughtime.remedies.clipping.LostGradientWarning"
what_is_lost_is_told = pytest.mark.filterwarnings(LOST)  # here what is left; the telling below


@what_is_lost_is_told
@pytest.mark.parametrize("step", BAD_STEPS)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("places", [*PLACES.values(), EVERYWHERE], ids=[*PLACES, "everywhere"])
@pytest.mark.parametrize("name", CLIPPERS)
def test_all_is_as_if_the_bad_entries_had_been_0(
    name: str, places: list[Place], bad: float, step: int
) -> None:
    clip, twin = CLIPPERS[name](), CLIPPERS[name]()
    instead = 0.0
    if name == "value" and not math.isnan(bad):
        instead = math.copysign(1e30, bad)  # what is infinite has a sign, and is cut to its bound
    found, expected = (run(c, step, places, v) for c, v in ((clip, bad), (twin, instead)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    if isinstance(clip, GradientClipper) and isinstance(twin, GradientClipper):
        assert clip.lost_steps == 1
        torch.testing.assert_close({**clip.state_dict(), "lost_steps": 0}, twin.state_dict())


@what_is_lost_is_told
@pytest.mark.parametrize("step", BAD_STEPS)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("name", OBJECTS)
def test_a_gradient_that_is_lost_as_a_whole_is_as_if_it_had_not_been(
    name: str, bad: float, step: int
) -> None:
    clip, twin = OBJECTS[name](), OBJECTS[name]()
    run(clip, step, EVERYWHERE, bad)
    for other in [one for one in range(STEPS) if one != step]:
        twin(parameters_at(other))
    counters = {"steps": 0, "lost_steps": 0}
    torch.testing.assert_close({**clip.state_dict(), **counters}, {**twin.state_dict(), **counters})


@what_is_lost_is_told
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", CLIPPERS)
def test_bad_entries_of_any_type_are_lost_alone(name: str, kind: torch.dtype) -> None:
    parameters = parameters_at(0, kind)
    put(parameters, PLACES["a row"], math.nan)
    CLIPPERS[name]()(parameters)
    zero = [int((one == 0).sum()) for one in gradients(parameters)]
    assert zero == [4, 0, 0]


@what_is_lost_is_told
@pytest.mark.parametrize("bad", [complex(math.nan, 1), complex(1, math.inf)], ids=["nan", "inf"])
@pytest.mark.parametrize("name", [name for name in CLIPPERS if name != "value"])
def test_a_complex_entry_is_lost_as_a_whole(name: str, bad: complex) -> None:
    parameter = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    parameter.grad = torch.tensor([bad, 1 + 1j, 2j])
    CLIPPERS[name]()([parameter])
    assert parameter.grad[0] == 0
    assert parameter.grad[1:].isfinite().all()


@what_is_lost_is_told
@pytest.mark.parametrize("name", CLIPPERS)
def test_a_bad_entry_of_a_sparse_gradient_is_lost_alone(name: str) -> None:
    embedding = nn.Embedding(6, 2, sparse=True)
    scale = torch.tensor([[1.0, math.nan], [1.0, 1.0]])
    (embedding(torch.tensor([1, 4])) * scale).sum().backward()
    CLIPPERS[name]()(list(embedding.parameters()))
    assert embedding.weight.grad is not None
    assert (embedding.weight.grad.to_dense() != 0).sum() == 3


@pytest.mark.parametrize("name", CLIPPERS)
def test_what_was_lost_is_told_where_it_was_asked_for(name: str) -> None:
    parameters = parameters_at(0)
    put(parameters, PLACES["two parameters"], math.nan)
    clip = CLIPPERS[name]()
    with pytest.warns(LostGradientWarning, match=r"1 nan in parameter 0 of shape \(3, 4\)") as seen:
        clip(parameters)
    lost = (Lost(0, (3, 4), nan=1, inf=0), Lost(1, (5,), nan=1, inf=0))
    assert [(one.message.lost, one.filename) for one in seen] == [(lost, __file__)]


@pytest.mark.parametrize("name", OBJECTS)
def test_a_clipper_knows_what_the_last_step_lost(name: str) -> None:
    clip, parameters = OBJECTS[name](), parameters_at(0)
    put(parameters, PLACES["a row"], -math.inf)
    with pytest.warns(LostGradientWarning):
        clip(parameters)
    told = clip.lost
    clip(parameters_at(1))
    assert (told, clip.lost) == ((Lost(0, (3, 4), nan=0, inf=4),), ())


def test_parameters_are_numbered_as_they_were_given() -> None:
    parameters = [nn.Parameter(torch.ones(2)), *parameters_at(0)]
    put(parameters[1:], PLACES["the last entry"], math.nan)
    assert zero_nonfinite_(parameters) == (Lost(3, (), nan=1, inf=0),)


def test_only_some_of_many_are_named() -> None:
    parameters = [one for step in range(3) for one in parameters_at(step)]
    for one in gradients(parameters):
        one.fill_(math.nan)
    with pytest.warns(LostGradientWarning, match=r"parameter 2 of shape \(\) and some in 6 more"):
        clip_grad_norm_(parameters, 1.0)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_an_error_is_raised_where_it_was_asked_for(bad: float) -> None:
    parameters = parameters_at(0)
    put(parameters, PLACES["a row"], bad)
    before = copy.deepcopy(gradients(parameters))
    with pytest.raises(RuntimeError, match="norm is not finite") as error:
        clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    assert isinstance(error.value, LostGradientError)
    torch.testing.assert_close(gradients(parameters), before, equal_nan=True)


def test_a_norm_that_only_overflows_is_no_error() -> None:
    parameter = nn.Parameter(torch.zeros(100))
    parameter.grad = torch.full((100,), 1e19)
    norm = clip_grad_norm_(parameter, 1.0, error_if_nonfinite=True)
    assert norm.item() == pytest.approx(1e20)


@pytest.mark.parametrize("kind", [LostGradientWarning, LostGradientError])
def test_what_tells_of_a_loss_can_be_sent_to_another_process(kind: type[Exception]) -> None:
    one = kind((Lost(0, (3,), 1, 2),))
    sent = pickle.loads(pickle.dumps(one))  # noqa: S301  — our own
    assert (str(sent), sent.lost) == (str(one), one.lost)


def scaled_step(clip: Clip, scale: float, weight: nn.Parameter) -> float:
    """One update with the loss scaled as for half precision; the scale of the next one."""
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    scaler.scale((weight * 3).sum()).backward()
    scaler.unscale_(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LostGradientWarning)  # too large a scale is meant to
        clip([weight])
    scaler.step(optimizer)
    scaler.update()
    next_scale: float = scaler.get_scale()
    return next_scale


@pytest.mark.parametrize("name", CLIPPERS)
def test_an_overflow_of_a_scaled_loss_skips_the_update_as_ever(name: str) -> None:
    weight = nn.Parameter(torch.ones(2))
    next_scale = scaled_step(CLIPPERS[name](), 2.0**127, weight)
    assert (weight.tolist(), next_scale) == ([1.0, 1.0], 2.0**126)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_scaled_loss_is_remembered_as_it_is_unscaled(name: str) -> None:
    states = []
    for scale in (1.0, 2.0**10):
        clip = OBJECTS[name]()
        scaled_step(clip, scale, nn.Parameter(torch.ones(2)))
        states.append(clip.state_dict())
    torch.testing.assert_close(*states)


@pytest.mark.parametrize("name", CLIPPERS)
def test_a_training_goes_on_after_a_batch_of_nan(name: str) -> None:
    """Of an LSTM, through which one NaN of the input spreads to every weight."""
    generator = torch.Generator().manual_seed(0)
    model, clip = nn.LSTM(2, 4), CLIPPERS[name]()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(6):
        inputs = torch.randn(5, 3, 2, generator=generator)
        inputs[2, 1, 0] = math.nan if step == 3 else 0.0
        optimizer.zero_grad()
        model(inputs)[0].square().mean().backward()
        with warnings.catch_warnings():
            told = "ignore" if step == 3 else "error"
            warnings.simplefilter(told, LostGradientWarning)  # one bad step, and no other
            clip(list(model.parameters()))
        optimizer.step()
    assert all(weight.isfinite().all() for weight in model.parameters())
