"""All reports."""

from __future__ import annotations

from benchmarks.reports.data import DATA
from benchmarks.reports.graph import GRAPH
from benchmarks.reports.healthy import SOUND
from benchmarks.reports.parameters import PARAMETERS
from benchmarks.reports.reading import READING
from benchmarks.reports.report import Report
from benchmarks.reports.resets import RESETS
from benchmarks.reports.scale import SCALE

SUITE: tuple[Report, ...] = (*READING, *GRAPH, *PARAMETERS, *RESETS, *SCALE, *DATA, *SOUND)
