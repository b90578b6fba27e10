"""A training step of our cells: ``unroll`` against a loop of the same steps under autograd."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.loops import LOOPS
from benchmarks.networks import Size
from benchmarks.tables import Table, at_least, milliseconds
from benchmarks.timing import Stage, interleaved, last, ratio
from throughtime.cells import RecurrentLayer, make_cell
from throughtime.problem import seeded
from throughtime.trace import relative_difference

SIZES = (Size(100, 16, 64), Size(100, 50, 128), Size(400, 50, 128))
INPUTS = 2  # as the adding problem has them
ROUNDS = 5
BAR = 3.0
EXACT = Size(12, 3, 8)  # for the comparison in float64
AGREE_EXACTLY = 1e-10
WORSE, ROUNDING = 10, 1e-5  # in float32: times the loop's own error, and what is always allowed

OURS, PLAIN, HOISTED = "throughtime", "loop of steps", "loop, input projected before it"
WAYS = (OURS, PLAIN, HOISTED)
NAMES = tuple(LOOPS)
HEADER = ("threads", "size", "cell", "ours ms", PLAIN, "bar", HOISTED, "error: ours, loop")


@dataclass(frozen=True)
class Step:
    """A cell, the one batch that it is run on, and the gradient that its output gets."""

    name: str
    cell: RecurrentLayer
    inputs: Tensor
    direct: Tensor

    @classmethod
    def make(cls, name: str, size: Size, dtype: torch.dtype = torch.float32) -> Step:
        with seeded(0):
            cell = make_cell(name, INPUTS, size.hidden, dtype=dtype)
        assert isinstance(cell, RecurrentLayer)
        draw = torch.Generator().manual_seed(0)
        inputs, direct = (
            torch.randn(size.steps, size.batch, width, generator=draw, dtype=dtype)
            for width in (INPUTS, size.hidden)
        )
        return cls(name, cell, inputs, direct)

    def double(self) -> Step:
        """The same in float64."""
        cell = copy.deepcopy(self.cell).double()
        return Step(self.name, cell, self.inputs.double(), self.direct.double())

    def gradients(self, way: str) -> list[Tensor]:
        """Forward, backward: the gradient of every parameter."""
        if way == OURS:
            output, _ = self.cell(self.inputs)
        else:
            output = LOOPS[self.name](self.cell).run(self.inputs, way == HOISTED)
        return list(torch.autograd.grad(output, list(self.cell.parameters()), self.direct))

    def error(self, way: str, exact: Sequence[Tensor]) -> float:
        """The largest relative difference of a gradient from these, of float64."""
        pairs = zip(self.gradients(way), exact, strict=True)
        return max(relative_difference(found.double(), wanted) for found, wanted in pairs)

    def difference(self) -> float:
        """How far the loops are from ours: the largest relative difference of a gradient."""
        ours = self.gradients(OURS)
        return max(
            relative_difference(theirs, mine)
            for way in (PLAIN, HOISTED)
            for theirs, mine in zip(self.gradients(way), ours, strict=True)
        )


def measure(sizes: Sequence[Size] = SIZES, rounds: int = ROUNDS) -> Table:
    """How many times as long as ours a loop takes, with one thread and with torch's default."""
    rows: list[tuple[str, ...]] = []
    default = torch.get_num_threads()
    for threads in sorted({1, default}):
        torch.set_num_threads(threads)
        try:
            for size in sizes:
                rows += [_row(threads, name, size, rounds) for name in NAMES]
        finally:
            torch.set_num_threads(default)
    exactly = max(Step.make(name, EXACT, torch.float64).difference() for name in NAMES)
    if exactly > AGREE_EXACTLY:
        raise RuntimeError(f"in float64 the gradients differ by {exactly:.1e}")
    return Table(
        "A training step of our cells",
        f"{INPUTS} input features as in the adding problem, float32. A step is forward and "
        "backward, up to the gradient of every parameter, from a gradient at every output. The "
        "loops are the cells by hand, as the code of their papers has them: one step after another "
        "under autograd, with what depends on the weights alone computed once. "
        f"Median of at most {rounds} interleaved rounds, each behind a step that is not timed; "
        "quartiles of the ratio of neighbours in brackets: how many times as long as ours a loop "
        "takes.",
        HEADER,
        tuple(rows),
        "The error is the largest relative one of a parameter's gradient against the loop in "
        f"float64, in which all ways agree to {exactly:.0e} ({EXACT}). The larger the matrices, "
        "the more of a step is their product, which nobody can spare.",
    )


def _row(threads: int, name: str, size: Size, rounds: int) -> tuple[str, ...]:
    step = Step.make(name, size)
    exact = step.double().gradients(PLAIN)
    error, usual = (step.error(way, exact) for way in (OURS, PLAIN))
    if not error <= WORSE * usual + ROUNDING:
        raise RuntimeError(f"{name}: the ways do not agree with each other: {error:.1e}")

    def stages(way: str) -> tuple[Stage, Stage]:
        return lambda: step.gradients(way), lambda _: step.gradients(way)

    found = interleaved({way: stages(way) for way in WAYS}, rounds, warm_up=0)
    laps = {way: last(seconds) for way, seconds in found.items()}
    loop, prepared = (ratio(laps[way], laps[OURS]) for way in (PLAIN, HOISTED))
    ours = milliseconds(laps[OURS])
    told = (str(loop), at_least(BAR, loop), str(prepared), f"{error:.0e}, {usual:.0e}")
    return (str(threads), str(size), name, ours, *told)
