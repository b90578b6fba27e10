"""What it costs to see the total gradient of every state, in a training step of a fused layer."""

from __future__ import annotations

from collections.abc import Callable

import throughtime as tt
from benchmarks import todays_ways
from benchmarks.networks import Size, Task
from benchmarks.tables import Table, at_most, milliseconds
from benchmarks.timing import interleaved, ratio, total
from benchmarks.todays_ways import Seen, Step
from throughtime.trace import relative_difference

SIZE = Size(steps=100, batch=16, hidden=128)
ROUNDS = 40
BARS = {"LSTM": 2.0, "GRU": 1.6, "RNN": 1.6}
AGREE = 1e-4  # in float32, over a sequence of this length

PLAIN, CAPTURED = "plain step", "`tt.capture`, `gradients`"
TODAY: dict[str, Callable[[Task], Step]] = {
    "cell in a Python loop, `retain_grad`": todays_ways.cell_loop,
    "fused module step by step, `retain_grad`": todays_ways.stepped,
    "identity block in W_ih": todays_ways.identity_block,
}


def measure(size: Size = SIZE, rounds: int = ROUNDS) -> Table:
    """A captured step against a plain one, and beside it today's ways."""
    rows: list[tuple[str, ...]] = []
    for kind in BARS:
        rows += _rows(kind, size, rounds)
    return Table(
        "A captured training step",
        f"{size}, float32, as many input features as hidden units, a read-out and a loss at every "
        "step. A step is zero_grad, forward, loss, backward; every way also returns the total "
        f"gradient ∂L/∂h_t of every step. Median of at most {rounds} interleaved rounds, quartiles "
        "of the ratio of neighbours in brackets. The difference is that to our gradients.",
        ("layer", "way", "ms", "times a plain step", "bar", "relative difference"),
        tuple(rows),
        "`verified` rebuilds the gradient of W_hh from the trace and compares it with what "
        "autograd left. An identity block shows no gradient of c, and serves an LSTM alone.",
    )


def captured(task: Task, *, verify: bool = False) -> Step:
    """A training step inside ``tt.capture``, and the gradients of its states."""

    def step() -> Seen:
        with tt.capture(task.model) as run:
            task.step()
        layer = run.trace[0]
        if verify:
            assert layer.verified is not None
        return {name: layer.gradients[..., where] for name, where in layer.parts.items()}

    return step


def ways(task: Task) -> dict[str, Step]:
    """Every way to see the gradients of this task, ours first."""
    kind = type(task.model.rnn).__name__
    found = {CAPTURED: captured(task), "the same, and `verified`": captured(task, verify=True)}
    for name, way in TODAY.items():
        if way is not todays_ways.identity_block or kind == "LSTM":
            found[name] = way(task)
    return found


def differences(task: Task) -> dict[str, float]:
    """How far each way is from ours: the larger relative difference of its parts."""
    ours = captured(task)()
    return {
        name: max(relative_difference(seen, ours[part]) for part, seen in step().items())
        for name, step in ways(task).items()
    }


def _rows(kind: str, size: Size, rounds: int) -> list[tuple[str, ...]]:
    task = Task.make(kind, size)
    agreement = differences(task)
    if max(agreement.values()) > AGREE:
        raise RuntimeError(f"nn.{kind}: the ways do not agree with each other: {agreement}")
    stages = {PLAIN: (task.step,), **{name: (step,) for name, step in ways(task).items()}}
    seconds = {name: total(laps) for name, laps in interleaved(stages, rounds).items()}
    rows = [(f"nn.{kind}", PLAIN, milliseconds(seconds[PLAIN]), "1", "", "")]
    for name, difference in agreement.items():
        found = ratio(seconds[name], seconds[PLAIN])
        bar = at_most(BARS[kind], found) if name == CAPTURED else ""
        shown = "" if name.startswith(("the same", CAPTURED)) else f"{difference:.0e}"
        rows.append(("", name, milliseconds(seconds[name]), str(found), bar, shown))
    return rows
