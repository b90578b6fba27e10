"""The machine that a benchmark ran on: enough to judge a number, nothing that names its owner."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")


def description() -> str:
    """CPU, cores, threads, versions and date, on one line."""
    return (
        f"{_processor()}, cores: {_cores()}, torch threads: {torch.get_num_threads()}; "
        f"torch {torch.__version__.partition('+')[0]}, Python {platform.python_version()}, "
        f"{platform.system()}; {datetime.datetime.now(datetime.UTC).date().isoformat()}"
    )


def load() -> float | None:
    """How many processes wanted a core over the last minute, where the system says."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _processor() -> str:
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
