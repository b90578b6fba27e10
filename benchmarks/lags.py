"""The lag matrix of all anchors of an LSTM: one sweep against one derivative for each anchor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import todays_lags
from benchmarks.networks import Size, Task
from benchmarks.tables import Table, at_least, milliseconds
from benchmarks.timing import Spread, interleaved, last, ratio, total
from benchmarks.todays_lags import LagWay

SIZES = (Size(64, 16, 128), Size(128, 16, 128), Size(256, 16, 128))
ROUNDS = (7, 5, 3)
LONGEST_FUSED = 128  # beyond it the fused kernel is no quicker, and the table takes minutes longer
BARS = {64: 8.0, 256: 15.0}
EXACT = Size(16, 4, 8)  # for the comparison in float64
AGREE, AGREE_EXACTLY = 1e-3, 1e-10  # decades
# What is smaller has lost digits, or is zero, in the float32 of an ordinary derivative.
MEANINGFUL = -30.0

HEADER = (
    "T", "way", "run ms", "derivatives ms", "all in all", "derivatives alone", "bar", "difference",
)  # fmt: skip
OURS, RIVAL = "throughtime", "one `autograd.grad` per anchor, cell loop"
FUSED = "one `autograd.grad` per anchor, fused kernel (h alone)"
TODAY: dict[str, Callable[[Task], LagWay]] = {
    RIVAL: todays_lags.grad_per_anchor,
    FUSED: todays_lags.fused_grad_per_anchor,
    "one batched `autograd.grad`, cell loop": todays_lags.batched_grad,
}


def measure(sizes: tuple[Size, ...] = SIZES, rounds: tuple[int, ...] = ROUNDS) -> Table:
    """How much longer today's ways take than our sweep, with and without the run before it."""
    rows: list[tuple[str, ...]] = []
    for size, count in zip(sizes, rounds, strict=True):
        rows += _rows(size, count)
    exactly = max(differences(Task.make("LSTM", EXACT, torch.float64)).values())
    if exactly > AGREE_EXACTLY:
        raise RuntimeError(f"in float64 the ways differ by {exactly:.1e} decades")
    counts = ", ".join(map(str, rounds))
    return Table(
        "The lag matrix of all anchors",
        f"nn.LSTM, B={sizes[0].batch}, H={sizes[0].hidden}, float32, log10 of the norm of "
        "∂L_t/∂s_k of the joint state (h, c) for every t ≥ k; forget bias raised by 2, so that no "
        f"way has to drag denormal numbers along. Medians of {counts} interleaved rounds; a ratio "
        "is how many times as long as throughtime a way takes.",
        HEADER,
        tuple(rows),
        "The run: ours is a captured training step and its trace, the others' a forward pass that "
        "keeps its graph. The bar is set against the way with one derivative per anchor that sees "
        "the whole state, all in all. A batched derivative holds T² B S numbers at once. The "
        "difference is the largest one, in decades, where the norm is at least "
        f"1e{MEANINGFUL:.0f}; in float64 ({EXACT}) it is {exactly:.0e}.",
    )


def make_task(size: Size) -> Task:
    """The LSTM of the table: its gradient stays in the range of float32."""
    task = Task.make("LSTM", size)
    forget = slice(size.hidden, 2 * size.hidden)
    with torch.no_grad():
        for bias in (task.model.rnn.bias_ih_l0, task.model.rnn.bias_hh_l0):
            bias[forget] += 1
    return task


def differences(task: Task) -> dict[str, float]:
    """The largest difference of each way from ours, in decades, over all t ≥ k."""
    ours = {part: _matrix(todays_lags.throughtime(task, part)) for part in ("s", "h")}
    found = {}
    for name, way in todays(task).items():
        found[name] = _difference(_matrix(way), ours[way.part])
    return found


def todays(task: Task) -> dict[str, LagWay]:
    """The ways that are worth their time at this length."""
    too_long = {FUSED} if task.size.steps > LONGEST_FUSED else set()
    return {name: make(task) for name, make in TODAY.items() if name not in too_long}


def _difference(theirs: Tensor, ours: Tensor) -> float:
    if not torch.equal(theirs.isnan(), ours.isnan()):
        raise RuntimeError("the ways do not agree on which anchors can see which steps")
    meaningful = theirs >= MEANINGFUL
    return float((theirs - ours)[meaningful].abs().max())


def _matrix(way: LagWay) -> Tensor:
    return way.sweep(way.prepare())


def _rows(size: Size, rounds: int) -> list[tuple[str, ...]]:
    task = make_task(size)
    agreement = differences(task)
    if max(agreement.values()) > AGREE:
        raise RuntimeError(f"{size}: the ways do not agree with each other: {agreement}")
    ways = {OURS: todays_lags.throughtime(task), **todays(task)}
    stages = {name: (way.prepare, way.sweep) for name, way in ways.items()}
    # The comparison above has warmed every way up.
    laps = interleaved(stages, rounds, warm_up=0)
    rows = []
    for name, mine in laps.items():
        prepare, sweep = (milliseconds([lap[i] for lap in mine]) for i in (0, 1))
        if name == OURS:
            rows.append((str(size.steps), OURS, prepare, sweep, "1", "1", "", ""))
            continue
        overall = ratio(total(mine), total(laps[OURS]))
        alone = ratio(last(mine), last(laps[OURS]))
        difference = f"{agreement[name]:.0e}"
        rows.append(
            ("", name, prepare, sweep, str(overall), str(alone), _bar(size, name, overall),
             difference)
        )  # fmt: skip
    return rows


def _bar(size: Size, name: str, found: Spread) -> str:
    if name != RIVAL or size.steps not in BARS:
        return ""
    return at_least(BARS[size.steps], found)
