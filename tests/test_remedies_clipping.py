"""Clipping functions: torch's numbers where these are right, float64's where they are not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import utils

from throughtime.errors import InputError, ThroughtimeWarning
from throughtime.remedies.clipping import clip_grad_norm_, clip_grad_value_, total_norm

Gradients = list[Tensor]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_gradients(gradients: Gradients) -> list[nn.Parameter]:
    found = []
    for gradient in gradients:
        found.append(nn.Parameter(torch.ones(gradient.shape, dtype=gradient.dtype)))
        found[-1].grad = gradient.clone()
    return found


sparse = partial(torch.sparse_coo_tensor, check_invariants=True)


def of_an_lstm() -> Gradients:
    torch_seed = torch.Generator().manual_seed(1)
    model = nn.LSTM(5, 16, num_layers=2)
    for weight in model.parameters():
        nn.init.uniform_(weight, -0.4, 0.4, generator=torch_seed)
    model(draw(30, 4, 5))[0].square().sum().backward()
    return [weight.grad for weight in model.parameters() if weight.grad is not None]


def together(gradients: Gradients) -> Tensor:
    """All entries as one vector of float64, or of complex numbers."""
    wide = [one.to_dense() for one in gradients]
    kind = torch.complex128 if any(one.is_complex() for one in wide) else torch.float64
    return torch.cat([one.to(kind).flatten() for one in wide])


def left_in(parameters: list[nn.Parameter]) -> Tensor:
    return together([one.grad for one in parameters if one.grad is not None])


def reference(vector: Tensor, order: float = 2.0) -> float:
    largest = torch.view_as_real(vector) if vector.is_complex() else vector
    scale = largest.abs().max()
    return scale.item() * torch.linalg.vector_norm(vector / scale, order).item() if scale else 0.0


ORDINARY: dict[str, Gradients] = {
    "one": [draw(7)],
    "an LSTM": of_an_lstm(),
    "float64": [draw(3, 4, dtype=torch.float64), draw(5, dtype=torch.float64)],
    "two types": [draw(3), draw(4, dtype=torch.float64), draw(2)],
    "complex": [draw(4, dtype=torch.complex64), draw(3, dtype=torch.complex64)],
    "a scalar": [torch.tensor(3.0)],
    "zero": [torch.zeros(3), torch.zeros(2, 2)],
    "far apart": [torch.tensor([1e6]), torch.tensor([1e-6, 1e-30])],
}


@pytest.mark.parametrize("foreach", [None, False])
@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e9, math.inf])
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_gradients_are_clipped_as_torch_clips_them(
    name: str, max_norm: float, order: float, foreach: bool | None
) -> None:
    ours, theirs = with_gradients(ORDINARY[name]), with_gradients(ORDINARY[name])
    found = clip_grad_norm_(ours, max_norm, order, foreach=foreach)
    expected = utils.clip_grad_norm_(theirs, max_norm, order, foreach=foreach)
    torch.testing.assert_close(
        [found, *(one.grad for one in ours)],
        [expected, *(one.grad for one in theirs)],
        rtol=3e-6,
        atol=0,
    )


@pytest.mark.parametrize("max_norm", [1.0, 2.5])
def test_the_gradients_of_an_lstm_are_torchs_to_the_last_bit(max_norm: float) -> None:
    ours, theirs = with_gradients(of_an_lstm()), with_gradients(of_an_lstm())
    found, expected = clip_grad_norm_(ours, max_norm), utils.clip_grad_norm_(theirs, max_norm)
    assert torch.equal(found, expected)
    assert torch.equal(left_in(ours), left_in(theirs))


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_what_is_short_enough_is_left_as_it_is(clip: Callable[..., object]) -> None:
    parameters = with_gradients(of_an_lstm())
    before = left_in(parameters)
    clip(parameters, 1e3)
    assert torch.equal(left_in(parameters), before)


HARD: dict[str, Gradients] = {
    "squares overflow": [torch.full((100,), 1e19)],
    "squares underflow": [torch.full((100,), 1e-30)],
    "subnormal": [torch.full((5,), 1e-42)],
    "the norm overflows": [torch.full((100,), 1e38), draw(3)],
    "float64 overflows": [torch.full((100,), 1e200, dtype=torch.float64)],
    "float64 underflows": [torch.full((3,), 1e-250, dtype=torch.float64)],
    "half overflows": [torch.full((300, 7), 6e4, dtype=torch.float16)],
    "half underflows": [torch.full((9,), 1e-6, dtype=torch.float16)],
    "bfloat16": [torch.full((9,), 1e30, dtype=torch.bfloat16)],
    "half beside float32": [draw(4).half(), torch.full((5,), 1e25)],
    "complex overflows": [torch.full((3,), 3e38 + 3e38j)],
    "large and small": [torch.full((3,), 1e30), torch.full((3,), 1e-30)],
    "small, below torch's 1e-6": [torch.full((4,), 1e-9)],
    "one type overflows": [torch.full((9,), 1e20), draw(3, dtype=torch.float64)],
    "sparse": [sparse([[1, 1, 3]], torch.full((3, 4), 1e25), (9, 4))],
}
TYPES = {torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("name", HARD)
def test_the_norm_is_that_of_float64(name: str, order: float) -> None:
    found = clip_grad_norm_(with_gradients(HARD[name]), math.inf, order).item()
    assert found == pytest.approx(reference(together(HARD[name]), order), rel=1e-5, abs=0)


@pytest.mark.parametrize("share", [0.5, 1e-3])
@pytest.mark.parametrize("order", [2.0, math.inf])
@pytest.mark.parametrize("name", [name for name in HARD if name != "half underflows"])
def test_it_is_shortened_to_the_norm_that_was_asked(name: str, order: float, share: float) -> None:
    before = together(HARD[name])
    max_norm = share * reference(before, order)
    parameters = with_gradients(HARD[name])
    clip_grad_norm_(parameters, max_norm, order)
    expected = before * share
    # Entries so small beside the norm are subnormal, or zero, in their own type afterwards.
    floor = max(1e-5 * expected.abs().max().item(), 0.0 if name != "subnormal" else 2e-45)
    tolerance = max([TYPES.get(one.dtype, 3e-6) for one in HARD[name]])
    torch.testing.assert_close(left_in(parameters), expected, rtol=tolerance, atol=floor)


@pytest.mark.parametrize("name", HARD)
def test_what_is_hard_and_short_enough_is_left_as_it_is(name: str) -> None:
    parameters = with_gradients(HARD[name])
    clip_grad_norm_(parameters, 1.01 * reference(together(HARD[name])))
    assert torch.equal(left_in(parameters), together(HARD[name]))


def test_a_norm_that_no_float64_holds_is_shortened_all_the_same() -> None:
    parameters = with_gradients([torch.full((100,), 1e308, dtype=torch.float64)])
    clip_grad_norm_(parameters, 1.0)
    torch.testing.assert_close(left_in(parameters), torch.full((100,), 0.1, dtype=torch.float64))


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_no_finite_gradient_is_lost(entries: list[float], max_norm: float) -> None:
    parameters = with_gradients([torch.tensor(entries), torch.tensor(entries[:1])])
    before = left_in(parameters)
    norm = clip_grad_norm_(parameters, max_norm).item()
    expected = reference(before)
    factor = min(1.0, max_norm / expected) if expected else 1.0
    assert norm == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(left_in(parameters), before * factor, rtol=1e-5, atol=1e-5)


def test_many_equal_entries_are_summed_as_exactly_as_few() -> None:
    (parameter,) = with_gradients([torch.full((2_000_003,), 0.1)])
    norm = clip_grad_norm_(parameter, 1.0).item()
    assert norm == pytest.approx(0.1 * math.sqrt(2_000_003), rel=1e-4)


def sparse_embedding() -> nn.Embedding:
    embedding = nn.Embedding(9, 4, sparse=True, _weight=torch.zeros(9, 4))
    embedding(torch.tensor([1, 1, 3])).sum().backward()
    return embedding


def test_a_sparse_gradient_stays_sparse_and_counts_its_doubles_together() -> None:
    embedding = sparse_embedding()
    norm = clip_grad_norm_(embedding.parameters(), 1.0)
    grad = embedding.weight.grad
    assert norm.item() == pytest.approx(math.sqrt(20))
    assert grad is not None
    assert grad.is_sparse
    assert grad.to_dense().norm().item() == pytest.approx(1.0)


def test_a_sparse_gradient_is_clipped_by_value() -> None:
    embedding = sparse_embedding()
    clip_grad_value_(embedding.parameters(), 1.5)
    grad = embedding.weight.grad
    assert grad is not None
    assert grad.to_dense()[:, 0].tolist() == [0, 1.5, 0, 1, 0, 0, 0, 0, 0]


GIVEN: dict[str, Callable[[list[nn.Parameter]], object]] = {
    "a list": lambda found: found,
    "a tuple": tuple,
    "a generator": lambda found: (one for one in found),
    "an iterator": iter,
    "doubles": lambda found: [*found, *found],
    "some without a gradient": lambda found: [nn.Parameter(torch.ones(3)), *found],
    "one without entries": lambda found: [*found, *with_gradients([torch.empty(0, 3)])],
    "a module's": lambda found: nn.ParameterList(found).parameters(),
}


@pytest.mark.parametrize("order", [2.0, math.inf])
@pytest.mark.parametrize("how", GIVEN)
def test_parameters_may_be_given_in_any_way(how: str, order: float) -> None:
    alone, given = with_gradients([draw(3), draw(2, 2)]), with_gradients([draw(3), draw(2, 2)])
    expected = clip_grad_norm_(alone, 0.1, order)
    found = clip_grad_norm_(GIVEN[how](given), 0.1, order)
    torch.testing.assert_close((found, left_in(given)), (expected, left_in(alone)))


def test_a_tensor_by_itself_is_clipped() -> None:
    (parameter,) = with_gradients([torch.tensor([3.0, 4.0])])
    assert clip_grad_norm_(parameter, 1.0).item() == 5.0


@pytest.mark.parametrize("nothing", [[], [nn.Parameter(torch.ones(2))]], ids=["empty", "no grad"])
def test_nothing_has_the_norm_0(nothing: list[nn.Parameter]) -> None:
    assert clip_grad_norm_(nothing, 1.0).item() == 0.0


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_a_generator_that_was_used_before_is_told(clip: Callable[..., object]) -> None:
    used = (one for one in with_gradients([draw(2)]))
    list(used)
    with pytest.warns(ThroughtimeWarning, match="generator of parameters is empty") as seen:
        clip(used, 1.0)
    assert seen[0].filename == __file__


def test_max_norm_may_be_a_tensor() -> None:
    parameters = with_gradients([torch.tensor([3.0, 4.0])])
    clip_grad_norm_(parameters, torch.tensor(2.5))
    assert left_in(parameters).tolist() == pytest.approx([1.5, 2.0])


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("bound", [0.3, math.inf])
@pytest.mark.parametrize("name", [name for name in ORDINARY if name != "complex"])
def test_values_are_clipped_as_torch_clips_them(
    name: str, bound: float, foreach: bool | None
) -> None:
    ours, theirs = with_gradients(ORDINARY[name]), with_gradients(ORDINARY[name])
    clip_grad_value_(ours, bound, foreach)
    utils.clip_grad_value_(theirs, bound, foreach)
    assert torch.equal(left_in(ours), left_in(theirs))


@pytest.mark.parametrize("name", HARD)
def test_the_total_norm_of_gradients_is_that_of_float64(name: str) -> None:
    dense = [one.to_dense() for one in HARD[name]]
    assert total_norm(dense).item() == pytest.approx(reference(together(dense)), rel=1e-5, abs=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_total_norm_tells_what_is_not_finite(bad: float) -> None:
    assert not math.isfinite(total_norm([torch.tensor([1.0, bad])]).item())


class Other(torch.Tensor):
    """A kind of tensor that torch's foreach functions do not know."""


def unusual() -> list[nn.Parameter]:
    parameters = with_gradients([draw(3)])
    parameters[0].grad = parameters[0].grad.as_subclass(Other)
    return parameters


def test_another_kind_of_tensor_is_clipped() -> None:
    parameters = unusual()
    clip_grad_norm_(parameters, 0.5)
    assert left_in(parameters).as_subclass(Tensor).norm().item() == pytest.approx(0.5)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a norm of 0": (lambda: clip_grad_norm_([], 0.0), "max_norm is 0, and must be above 0"),
    "a norm below 0": (lambda: clip_grad_norm_([], -1.0), "max_norm is -1"),
    "no number": (lambda: clip_grad_norm_([], math.nan), "max_norm is nan"),
    "text": (lambda: clip_grad_norm_([], "one"), "max_norm is 'one'"),
    "an order of 0": (lambda: clip_grad_norm_([], 1.0, 0.0), "norm_type is 0"),
    "an order below 0": (lambda: clip_grad_norm_([], 1.0, -math.inf), "norm_type is -inf"),
    "an order that is none": (lambda: clip_grad_norm_([], 1.0, math.nan), "norm_type is nan"),
    "a value of 0": (lambda: clip_grad_value_([], 0.0), "clip_value is 0"),
    "no value": (lambda: clip_grad_value_([], math.nan), "clip_value is nan"),
    "a module": (lambda: clip_grad_norm_(nn.Linear(1, 1), 1.0), "give model.parameters()"),
    "names": (
        lambda: clip_grad_norm_(nn.Linear(1, 1).named_parameters(), 1.0),
        "parameter 0 is of type tuple",
    ),
    "no parameters": (lambda: clip_grad_norm_(None, 1.0), "takes parameters, not NoneType"),
    "complex values": (
        lambda: clip_grad_value_(with_gradients([draw(2, dtype=torch.complex64)]), 1.0),
        r"parameter 0 of shape \(2,\) is complex",
    ),
    "foreach of another kind": (
        lambda: clip_grad_norm_(unusual(), 1.0, foreach=True),
        "foreach=True cannot be had",
    ),
}


@pytest.mark.parametrize(("asked", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(asked: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        asked()


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@needs_gpu
@pytest.mark.parametrize("name", [*ORDINARY, *HARD])
def test_gradients_on_two_devices_have_one_norm(name: str) -> None:
    here = {**ORDINARY, **HARD}[name]
    there = with_gradients(here)
    for one in there:
        one.data, one.grad = one.data.cuda(), one.grad.cuda()
    both, alone = [*there, *with_gradients(here)], with_gradients([*here, *here])
    norm, expected = clip_grad_norm_(both, 1e-3), clip_grad_norm_(alone, 1e-3)
    assert norm.is_cuda
    left = together([one.grad.cpu() for one in both if one.grad is not None])
    torch.testing.assert_close(
        (norm.cpu().double(), left), (expected.double(), left_in(alone)), rtol=1e-3, atol=1e-9
    )
