"""What a state is made of comes back the same, and what could not is refused when it is saved."""

import enum
import math
import random
import struct
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from run_states import assert_same
from torch import Tensor, nn
from torch.optim import lr_scheduler

from throughtime.errors import RunError
from throughtime.runs.checkpoint import decode, encode

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    *(torch.complex128, torch.complex64, torch.complex32),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
]
QUIET_NAN_OF_ITS_OWN = struct.unpack(">d", bytes.fromhex("fff8000000000abc"))[0]


def again(state: Any) -> Any:
    return decode(encode(state, "", 0)).state


def raw(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Any bits at all; of booleans the two that are."""
    generator = torch.Generator().manual_seed(0)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    size = math.prod(shape) * dtype.itemsize
    data = torch.randint(0, 256, (size,), generator=generator, dtype=torch.uint8)
    return data.view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (4, 5)], ids=str)
def test_a_tensor_of_any_type_comes_back_bit_by_bit(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    state = {"x": raw(dtype, shape)}
    assert_same(again(state), state)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.T,
    "strided": lambda x: x[::2, 1:],
    "expanded": lambda x: x[:1].expand(7, -1),
    "conjugate": lambda x: torch.complex(x, x).conj(),
    "negative": lambda x: torch.complex(x, x).conj().imag,
    "negative and whole": torch._neg_view,
    "with a graph": lambda x: x.clone().requires_grad_().exp(),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_comes_back_as_the_numbers_that_it_shows(view: Callable[[Tensor], Tensor]) -> None:
    x = view(torch.arange(30.0).reshape(5, 6))
    found = again({"x": x})["x"]
    assert_same(found, x.detach().clone())
    assert found.grad_fn is None


def test_parts_of_one_tensor_come_back_each_by_itself() -> None:
    x = torch.arange(12.0)
    state = {"all": x, "first": x[:6], "middle": x[3:9], "other shape": x.view(3, 4)}
    assert_same(again(state), state)


def test_one_tensor_at_two_places_is_stored_once_and_comes_back_as_one() -> None:
    x = torch.zeros(1000)
    found = again({"encoder": x, "decoder": x.detach()})
    assert found["encoder"] is found["decoder"]
    assert len(encode({"a": x, "b": x}, "", 0)) < 1.5 * x.nbytes


KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False))
PLAIN = st.one_of(KEYS, st.floats(), st.binary(), st.integers(min_value=2**60))
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner),
        st.dictionaries(KEYS, inner).map(OrderedDict),
    ),
)


@given(NESTED)
def test_any_nesting_of_plain_values_comes_back(value: Any) -> None:
    assert_same(again({"value": value}), {"value": value})


ODD: dict[str, Any] = {
    "numbers": [0.0, -0.0, math.inf, -math.inf, math.nan, QUIET_NAN_OF_ITS_OWN, 5e-324, 2**53],
    "large": [2**53 + 1, -(2**64), 10**5000],
    "booleans and numbers": [True, 1, 1.0, False, 0, None],
    "looks like a tag": {"tensor": "x", "dict": []},
    "alone": {"float": "nan"},
    "keys": {(1, "a"): 1, None: 2, b"\0": 3, 2**70: 4, "\ud800": torch.ones(2)},
    "names": {"": torch.ones(1), "__metadata__": torch.zeros(1), "\0\n": torch.ones(2)},
    "same names": {"a/b": torch.ones(1), "a": {"b": torch.zeros(2)}, 1: torch.ones(3), "1": 4},
    "text": "\0\ud800\u2028</script>\x1b[31m한글",
    "counter": Counter({3: 2}),
    "random": random.Random(0).getstate(),
    "numpy": np.random.default_rng(0).bit_generator.state,
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_odd_values_and_names_come_back(value: Any) -> None:
    assert_same(again({"value": value}), {"value": value})


@pytest.mark.parametrize("key", ["", "__metadata__", "a/b", "\ud800"])
def test_names_at_the_top_come_back(key: str) -> None:
    state = {key: torch.ones(2), "a": {"b": torch.zeros(1)}}
    assert_same(again(state), state)


OPTIMISERS = [
    *(torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad),
    *(torch.optim.Adadelta, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax),
    *(torch.optim.Rprop, torch.optim.LBFGS, torch.optim.ASGD),
    partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
]


def stepped(make: Callable[..., torch.optim.Optimizer]) -> torch.optim.Optimizer:
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 4, generator=generator))
    optimiser = make([weight])
    for _ in range(3):
        weight.grad = torch.randn(3, 4, generator=generator)
        optimiser.step(lambda: weight.detach().square().sum())
    return optimiser


@pytest.mark.parametrize("make", OPTIMISERS, ids=lambda make: getattr(make, "__name__", "SGD"))
def test_every_optimiser_of_torch_can_be_saved(make: Callable[..., torch.optim.Optimizer]) -> None:
    state = stepped(make).state_dict()
    assert_same(again(state), state)


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "multi-step": lambda o: lr_scheduler.MultiStepLR(o, [1, 3, 3]),
    "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9),
    "plateau": lr_scheduler.ReduceLROnPlateau,
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 9),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (step + 1)),
    "chain": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_the_schedules_of_torch_can_be_saved(make: Callable[..., Any]) -> None:
    state = make(stepped(partial(torch.optim.SGD, lr=0.1, momentum=0.9))).state_dict()
    assert_same(again(state), state)


def test_equal_states_are_equal_bytes() -> None:
    states = [{"w": torch.ones(3), "n": {"a": 1.5, "b": [torch.zeros(2)]}} for _ in range(2)]
    assert encode(states[0], "", 0) == encode(states[1], "", 0)


Point = namedtuple("Point", "x y")
Colour = enum.IntEnum("Colour", "RED")
CYCLE: list[Any] = []
CYCLE.append(CYCLE)
REFUSED: dict[str, tuple[Any, str]] = {
    "function": (len, r"state\['a'\]\[1\] is of type builtins.builtin_function_or_method"),
    "module": (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    "subclass of a tuple": (Point(1, 2), "Point"),
    "subclass of a number": (Colour.RED, "Colour"),
    "numpy number": (np.float64(1.5), "numpy.float64"),
    "numpy array": (np.ones(2), "numpy.ndarray"),
    "set": ({1}, "builtins.set"),
    "complex": (1j, "builtins.complex"),
    "sparse": (torch.ones(2, 2).to_sparse(), "sparse_coo"),
    "meta": (torch.ones(2, device="meta"), "on meta"),
    "itself": (CYCLE, "holds itself"),
}


@pytest.mark.parametrize(("value", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_would_not_come_back_is_refused_with_its_place(value: Any, reason: str) -> None:
    with pytest.raises(RunError, match=reason):
        encode({"a": [0, value]}, "", 0)


def test_more_plain_values_than_the_format_holds_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("throughtime.runs.checkpoint._LONGEST", 1000)
    with pytest.raises(RunError, match="keep long lists of numbers as tensors"):
        encode({"losses": [0.1] * 1000}, "", 0)
