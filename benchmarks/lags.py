"""The lag matrix of all anchors of an LSTM: one sweep against one derivative for each anchor."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import todays_lags
from benchmarks.networks import Size, Task
from benchmarks.tables import Table, at_least, milliseconds
from benchmarks.timing import Spread, Stage, interleaved, last, ratio, total
from benchmarks.todays_lags import LagWay

SIZES = (Size(64, 16, 128), Size(128, 16, 128), Size(256, 16, 128))
ROUNDS = (7, 5, 3)
BARS = {64: 8.0, 256: 15.0}
EXACT = Size(16, 4, 8)  # for the comparison in float64
AGREE, AGREE_EXACTLY = 1e-3, 1e-10  # decades
# What is smaller has lost digits, or is zero, in the float32 of an ordinary derivative.
MEANINGFUL = -30.0

# log10 of what a sum in float32 cannot see beside a 1.
FLOOR = math.log10(torch.finfo(torch.float32).eps)
FADING = Size(256, 16, 128)
FADING_BAR = 25.0

HEADER = (
    "T", "way", "run ms", "derivatives ms", "all in all", "derivatives alone", "bar", "difference",
)  # fmt: skip
OURS, OURS_TO_THE_FLOOR = "throughtime", "throughtime, to the floor"
BATCHED = "one batched `autograd.grad`, cell loop"
TODAY: dict[str, Callable[[Task], LagWay]] = {
    "one `autograd.grad` per anchor, cell loop": todays_lags.grad_per_anchor,
    "one `autograd.grad` per anchor, fused kernel (h alone)": todays_lags.fused_grad_per_anchor,
    BATCHED: todays_lags.batched_grad,
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
        f"way has to drag denormal numbers along. Medians of at most {counts} interleaved rounds; "
        "a ratio is how many times as long as throughtime a way takes.",
        HEADER,
        tuple(rows),
        "The run: ours is a captured training step and its trace, the others' a forward pass that "
        "keeps its graph. The bar is set against the quickest way with one derivative per anchor, "
        "all in all. A batched derivative holds T² B S numbers at once. The difference is the "
        f"largest one, in decades, where the norm is at least 1e{MEANINGFUL:.0f}; in float64 "
        f"({EXACT}) it is {exactly:.0e}.",
    )


def measure_fading(size: Size = FADING, rounds: int = ROUNDS[-1]) -> Table:
    """The same where the rows of a vanishing network are given up below a floor."""
    task = Task.make("LSTM", size)
    ours = {OURS_TO_THE_FLOOR: todays_lags.throughtime(task, floor=FLOOR)}
    rows = _compared(task, ours | {OURS: todays_lags.throughtime(task)}, rounds, FADING_BAR)
    return Table(
        "The lag matrix of a network that vanishes",
        f"nn.LSTM as torch initialises it, {size}, float32. A loss is followed back until its gain "
        f"is below {10**FLOOR:.1e}, the epsilon of float32, in every sequence: what is smaller "
        "cannot change a sum in float32, and all of it is given as this floor. Medians of at most "
        f"{rounds} interleaved rounds; a ratio is how many times as long as ours a way takes.",
        HEADER,
        tuple(rows),
        "The bar is set against the quickest way with one derivative per anchor, all in all. The "
        "difference is the largest one, in decades, where the gain is above the floor.",
    )


def make_task(size: Size) -> Task:
    """The LSTM of the table: its gradient stays in the range of float32."""
    task = Task.make("LSTM", size)
    forget = slice(size.hidden, 2 * size.hidden)
    with torch.no_grad():
        for bias in (task.model.rnn.bias_ih_l0, task.model.rnn.bias_hh_l0):
            bias[forget] += 1
    return task


def differences(task: Task, floor: float | None = None) -> dict[str, float]:
    """The largest difference of each way from ours, in decades, over all t ≥ k."""
    ways = {name: way(task) for name, way in TODAY.items()}
    return _agreement(task, {name: (way.part, _matrix(way)) for name, way in ways.items()}, floor)


def _agreement(
    task: Task, seen: dict[str, tuple[str, Tensor]], floor: float | None = None
) -> dict[str, float]:
    """What each way has seen, of that part of the state, against ours."""
    ours = {part: _matrix(todays_lags.throughtime(task, part, floor)) for part in ("s", "h")}
    return {name: _difference(theirs, ours[part], floor) for name, (part, theirs) in seen.items()}


def _difference(theirs: Tensor, ours: Tensor, floor: float | None) -> float:
    """Where the norm is one that float32 can hold, and the gain is above the floor."""
    if not torch.equal(theirs.isnan(), ours.isnan()):
        raise RuntimeError("the ways do not agree on which anchors can see which steps")
    meaningful = theirs >= MEANINGFUL
    if floor is not None:
        at_the_loss = theirs.diagonal().T.unsqueeze(1)
        meaningful &= theirs - at_the_loss >= floor
    return float((theirs - ours)[meaningful].abs().max())


def _matrix(way: LagWay) -> Tensor:
    return way.sweep(way.prepare())


def _rows(size: Size, rounds: int) -> list[tuple[str, ...]]:
    task = make_task(size)
    return _compared(task, {OURS: todays_lags.throughtime(task)}, rounds, BARS.get(size.steps))


def _compared(
    task: Task, ours: dict[str, LagWay], rounds: int, bar: float | None
) -> list[tuple[str, ...]]:
    """One row for every way; all are measured against the first of ``ours``."""
    ways = {**ours, **{name: way(task) for name, way in TODAY.items()}}
    first, seen = next(iter(ours)), dict[str, Tensor]()

    def stages(name: str, way: LagWay) -> tuple[Stage, Stage]:
        return way.prepare, lambda graph: seen.update({name: way.sweep(graph)})

    laps = interleaved({name: stages(name, way) for name, way in ways.items()}, rounds, warm_up=0)
    floor = FLOOR if first == OURS_TO_THE_FLOOR else None
    others = {name: (way.part, seen[name]) for name, way in ways.items() if name != first}
    agreement = _agreement(task, others, floor)
    if max(agreement.values()) > AGREE:
        raise RuntimeError(f"{task.size}: the ways do not agree with each other: {agreement}")
    overall = {name: ratio(total(laps[name]), total(laps[first])) for name in others}
    said = {} if bar is None else _bar(bar, {name: overall[name] for name in TODAY})
    rows = []
    for name, mine in laps.items():
        prepare, sweep = (milliseconds([lap[i] for lap in mine]) for i in (0, 1))
        if name == first:
            rows.append((str(task.size.steps), name, prepare, sweep, "1", "1", "", ""))
            continue
        alone = str(ratio(last(mine), last(laps[first])))
        rows.append(
            ("", name, prepare, sweep, str(overall[name]), alone, said.get(name, ""),
             f"{agreement[name]:.0e}")
        )  # fmt: skip
    return rows


def _bar(bar: float, overall: dict[str, Spread]) -> dict[str, str]:
    """The bar, at the quickest way with one derivative per anchor."""
    quickest = min(overall.keys() - {BATCHED}, key=lambda name: overall[name].median)
    return {quickest: at_least(bar, overall[quickest])}
