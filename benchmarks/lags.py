"""The lag matrix of all anchors of an LSTM: one sweep against one derivative for each anchor."""

from __future__ import annotations

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

HEADER = (
    "T", "way", "run ms", "derivatives ms", "all in all", "derivatives alone", "bar", "difference",
)  # fmt: skip
OURS = "throughtime"
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
    ways = {name: way(task) for name, way in TODAY.items()}
    return _agreement(task, {name: (way.part, _matrix(way)) for name, way in ways.items()})


def _agreement(task: Task, seen: dict[str, tuple[str, Tensor]]) -> dict[str, float]:
    """What each way has seen, of that part of the state, against ours."""
    ours = {part: _matrix(todays_lags.throughtime(task, part)) for part in ("s", "h")}
    return {name: _difference(theirs, ours[part]) for name, (part, theirs) in seen.items()}


def _difference(theirs: Tensor, ours: Tensor) -> float:
    if not torch.equal(theirs.isnan(), ours.isnan()):
        raise RuntimeError("the ways do not agree on which anchors can see which steps")
    meaningful = theirs >= MEANINGFUL
    return float((theirs - ours)[meaningful].abs().max())


def _matrix(way: LagWay) -> Tensor:
    return way.sweep(way.prepare())


def _rows(size: Size, rounds: int) -> list[tuple[str, ...]]:
    task = make_task(size)
    ways = {OURS: todays_lags.throughtime(task), **{name: way(task) for name, way in TODAY.items()}}
    seen: dict[str, Tensor] = {}

    def stages(name: str, way: LagWay) -> tuple[Stage, Stage]:
        return way.prepare, lambda graph: seen.update({name: way.sweep(graph)})

    laps = interleaved({name: stages(name, way) for name, way in ways.items()}, rounds, warm_up=0)
    agreement = _agreement(task, {name: (ways[name].part, seen[name]) for name in TODAY})
    if max(agreement.values()) > AGREE:
        raise RuntimeError(f"{size}: the ways do not agree with each other: {agreement}")
    overall = {name: ratio(total(laps[name]), total(laps[OURS])) for name in TODAY}
    bar = _bar(size, overall)
    rows = []
    for name, mine in laps.items():
        prepare, sweep = (milliseconds([lap[i] for lap in mine]) for i in (0, 1))
        if name == OURS:
            rows.append((str(size.steps), OURS, prepare, sweep, "1", "1", "", ""))
            continue
        alone = str(ratio(last(mine), last(laps[OURS])))
        rows.append(
            ("", name, prepare, sweep, str(overall[name]), alone, bar.get(name, ""),
             f"{agreement[name]:.0e}")
        )  # fmt: skip
    return rows


def _bar(size: Size, overall: dict[str, Spread]) -> dict[str, str]:
    """The bar of this length, at the quickest way with one derivative per anchor."""
    if size.steps not in BARS:
        return {}
    quickest = min(overall.keys() - {BATCHED}, key=lambda name: overall[name].median)
    return {quickest: at_least(BARS[size.steps], overall[quickest])}
