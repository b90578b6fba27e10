"""A process of its own: for what must not share a process with anything that was measured before.

python -m benchmarks.worker steps untouched|used T B H    runs a step for each line it is sent
python -m benchmarks.worker long T B H [--memory BYTES]   prints seconds and peak memory, as JSON
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import throughtime as tt
from benchmarks.networks import Size, Task
from benchmarks.timing import timed

DEFAULT = 512 * 2**20  # bytes, as in tt.capture
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    jobs = parser.add_subparsers(required=True, dest="job")
    steps = jobs.add_parser("steps")
    steps.add_argument("past", choices=("untouched", "used"))
    steps.add_argument("size", type=int, nargs=3, metavar=("T", "B", "H"))
    long = jobs.add_parser("long")
    long.add_argument("size", type=int, nargs=3, metavar=("T", "B", "H"))
    long.add_argument("--memory", type=int, help="capture, with this budget in bytes")
    long.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args(arguments)
    size = Size(*given.size)
    if given.job == "steps":
        run_when_told(size, used=given.past == "used")
    else:
        print(json.dumps(run_long(size, given.memory, given.repeat)))


def run_when_told(size: Size, *, used: bool) -> None:
    """A plain step for every line of input; ``used``: captures came before."""
    task = Task.make("LSTM", size)
    for _ in range(5):
        if used:
            _trace(_run(task, DEFAULT))
        else:
            task.step()
    for _ in sys.stdin:
        task.step()
        print("done", flush=True)


def run_long(size: Size, memory: int | None, repeat: int) -> dict[str, float]:
    """Median seconds of a step, captured if ``memory`` is given, and its peak memory in bytes.

    ``trace``: how much of that memory is taken by making the trace, after the backward pass.
    """
    warm_up = Task.make("LSTM", Size(min(100, size.steps), size.batch, size.hidden))
    task = Task.make("LSTM", size)
    warm_up.step()
    _trace(_run(warm_up, DEFAULT))
    stages = (task.step,) if memory is None else (lambda: _run(task, memory), _trace)
    before = resident()
    forget_peak()
    seconds = sorted(sum(timed(stages)) for _ in range(repeat))
    found = {"seconds": seconds[len(seconds) // 2], "peak": peak() - before}
    if memory is not None:
        run = _run(task, memory)
        before = resident()
        forget_peak()
        _trace(run)
        found["trace"] = peak() - before
    return found


def _run(task: Task, memory: int) -> tt.capture:
    with tt.capture(task.model, memory=memory) as run:
        task.step()
    return run


def _trace(run: tt.capture) -> tt.Trace:
    return run.trace


def resident() -> int:
    """Bytes of memory that this process holds now (Linux; elsewhere its peak so far)."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # what was freed goes back, and is counted when it is taken again
    return _status("VmRSS") if STATUS.exists() else _peak_so_far()


def peak() -> int:
    """The most that it held since ``forget_peak`` (Linux; elsewhere since it started)."""
    return _status("VmHWM") if STATUS.exists() else _peak_so_far()


def forget_peak() -> None:
    if CLEAR.exists():
        CLEAR.write_text("5", encoding="ascii")


def _status(field: str) -> int:
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no {field}")


def _peak_so_far() -> int:
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
