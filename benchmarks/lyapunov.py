"""Lyapunov exponents along a run: tangents, against Jacobians by autograd and QR at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import throughtime as tt
from benchmarks import todays_exponents
from benchmarks.networks import Size, Task
from benchmarks.peak import peak
from benchmarks.tables import Table, at_least, milliseconds
from benchmarks.timing import Spread, Stage, interleaved, ratio, total
from benchmarks.todays_exponents import Exponents
from throughtime.sweeps import frame_growth, random_frame
from throughtime.trace import LayerTrace

BURN_IN = 10
ROUNDS = 5
REPEAT = 10  # ours is over too soon to be timed once
AGREE, AGREE_NEAR_ZERO = 0.01, 1e-3  # of the exponent, or nats


@dataclass(frozen=True)
class Case:
    """Which exponents of which layer, and how many times quicker than a way of today at least."""

    kind: str
    size: Size
    leading: int | None
    bar: float | None = None

    def __str__(self) -> str:
        return "all" if self.leading is None else f"leading {self.leading}"


CASES = (
    Case("RNN", Size(1000, 1, 128), 8, bar=150.0),
    Case("RNN", Size(1000, 1, 128), None, bar=15.0),
    Case("LSTM", Size(200, 1, 128), 8),
)
OURS = "`tt.measures.lyapunov`"
STEP_BY_STEP: dict[str, Exponents] = {
    "`autograd.functional.jacobian` at each step": todays_exponents.by_functional,
    "`func.jacrev` at each step": todays_exponents.by_jacrev,
}
TODAY = STEP_BY_STEP | {"`vmap` of `jacrev`, all steps at once": todays_exponents.all_at_once}
HEADER = (
    "layer", "exponents", "way", "ms", "times throughtime", "bar", "difference", "GFLOP",
    "share of peak",
)  # fmt: skip


def measure(cases: tuple[Case, ...] = CASES, rounds: int = ROUNDS) -> Table:
    """How much longer today's ways take than ours, from the states of the same run."""
    best = {dtype: peak(dtype) for dtype in (torch.float32, torch.float64)}
    rows, bounds = [], []
    for case in cases:
        found, bound = _rows(case, rounds, best[torch.float64])
        rows += found
        bounds.append(bound)
    rates = " and ".join(f"{rate / 1e9:.0f} GFLOP/s in {str(dtype)[6:]}"
                         for dtype, rate in best.items())  # fmt: skip
    return Table(
        "Lyapunov exponents",
        f"One sequence, H={cases[0].size.hidden}, weights and inputs as torch draws them, run in "
        "float32. Every way is given the states of the run and the same frame. Ours linearises "
        "anew in float64, and orthonormalises as often as the conditioning asks; the others "
        "build each Jacobian in float32 and follow it with `torch.linalg.qr`. Medians of at most "
        f"{rounds} interleaved rounds, quartiles of the ratio of neighbours in brackets.",
        HEADER,
        tuple(rows),
        "The bar is set against each way that builds one Jacobian at a time. The difference is the "
        "largest one, in nats per step. GFLOP counts our products with W_hh and our QR's; the peak "
        f"is the best rate of a large product, measured in this run: {rates}. At the peak our own "
        f"operations would take: {'; '.join(bounds)}.",
    )


def make_layer(case: Case, dtype: torch.dtype = torch.float32) -> tuple[Task, LayerTrace]:
    """The network of the case, and the trace of its one layer."""
    task = Task.make(case.kind, case.size, dtype)
    with tt.capture(task.model) as run:
        task.step()
    return task, run.trace[0]


def exponents(case: Case, task: Task, layer: LayerTrace) -> dict[str, Tensor]:
    """What every way finds (A), ours first."""
    return {name: way() for name, way in _ways(case, task, layer).items()}


def _ways(case: Case, task: Task, layer: LayerTrace) -> dict[str, Callable[[], Tensor]]:
    states, inputs = layer.states[:, 0], task.inputs[:, 0]
    before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    frame = _frame(case, layer)[:, 0].T.to(states.dtype)

    def ours() -> Tensor:
        found = tt.measures.lyapunov(layer, k=case.leading, burn_in=BURN_IN)
        return torch.from_numpy(found.values[0])

    def theirs(way: Exponents) -> Callable[[], Tensor]:
        return lambda: way(task.model.rnn, before, inputs, frame, BURN_IN).double()

    return {OURS: ours, **{name: theirs(way) for name, way in TODAY.items()}}


def _frame(case: Case, layer: LayerTrace) -> Tensor:
    size = layer.states.shape[-1]
    return random_frame(case.leading or size, 1, size)


def disagreement(found: dict[str, Tensor]) -> dict[str, float]:
    """The largest difference of each way from ours, in nats; refuses one that is too large."""
    ours = found[OURS]
    allowed = torch.clamp(AGREE * ours.abs(), min=AGREE_NEAR_ZERO)
    for name, theirs in found.items():
        if bool(((theirs - ours).abs() > allowed).any()):
            largest = (theirs - ours).abs().max()
            raise RuntimeError(f"{name} does not agree with ours: {largest:.1e} nats")
    return {name: float((theirs - ours).abs().max()) for name, theirs in found.items()}


def work(case: Case, layer: LayerTrace) -> float:
    """Operations of our way: 2 A for each entry of W_hh and step, 4 A² (S − A/3) for each QR."""
    frame = _frame(case, layer)
    count, _, size = frame.shape
    growth = frame_growth(layer.linear.to(torch.float64), frame, cuts=[BURN_IN])
    entries = sum(block.numel() for block in layer.linear.recurrent_blocks(0).values())
    each_qr = 4 * count**2 * (size - count / 3)
    return 2 * entries * count * layer.steps + each_qr * len(growth.logs)


def _rows(case: Case, rounds: int, best: float) -> tuple[list[tuple[str, ...]], str]:
    """The rows of one case, and how long its operations would take at the peak."""
    task, layer = make_layer(case)
    operations = work(case, layer)
    found: dict[str, Tensor] = {}

    def stage(name: str, way: Callable[[], Tensor]) -> tuple[Stage, ...]:
        times = REPEAT if name == OURS else 1
        return (lambda: [found.update({name: way()}) for _ in range(times)],)

    stages = {name: stage(name, way) for name, way in _ways(case, task, layer).items()}
    seconds = {name: total(laps) for name, laps in interleaved(stages, rounds, warm_up=0).items()}
    seconds[OURS] = [lap / REPEAT for lap in seconds[OURS]]
    differences = disagreement(found)
    share = operations / Spread.of(seconds[OURS]).median / best
    rows = [
        (f"nn.{case.kind}, T={case.size.steps}", str(case), OURS, milliseconds(seconds[OURS]), "1",
         "", "", f"{operations / 1e9:.2f}", f"{100 * share:.0f} %")
    ]  # fmt: skip
    for name in TODAY:
        times = ratio(seconds[name], seconds[OURS])
        bar = at_least(case.bar, times) if case.bar and name in STEP_BY_STEP else ""
        rows.append(
            ("", "", name, milliseconds(seconds[name]), str(times), bar,
             f"{differences[name]:.0e}", "", "")
        )  # fmt: skip
    return rows, f"nn.{case.kind}, {case}: {1e3 * operations / best:.1f} ms"
