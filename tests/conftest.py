"""What every test runs under: one thread per worker, and the same examples every time."""

import os
import signal

# Before torch is imported, and inherited by the commands that tests start: two workers with a
# thread pool each would fight over the cores, and one thread sums in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator

import pytest
import torch
from another_processor import AnotherProcessor
from hypothesis import settings

settings.load_profile("ci")  # no deadline; the same examples every time

# What `make processors` sets: another library, another way to round.
if os.environ.get("THROUGHTIME_TEST_ONEDNN") == "0":
    torch.backends.mkldnn.set_flags(False)
_ROUNDING = os.environ.get("THROUGHTIME_TEST_ROUNDING")


@pytest.fixture
def ordinary_signals() -> Iterator[None]:
    """A job in the background, or under nohup, ignores signals, and would hand that on."""
    ordinary = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in ordinary.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Each test, its fixtures too, under another processor's rounding where that is asked for."""
    if _ROUNDING is None:
        return (yield)
    with AnotherProcessor(int(_ROUNDING)):
        return (yield)
