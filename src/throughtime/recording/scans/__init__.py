"""Scans: recurrences that a known core computes at once, seen at its call, in closed form."""

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.record import Scans
from throughtime.recording.scans.registry import Scan
from throughtime.recording.scans.telling import checked_scans, scan_feeds, scan_notes
from throughtime.recording.scans.traces import scan_traces

__all__ = [
    "Arguments",
    "Scan",
    "Scans",
    "Steps",
    "checked_scans",
    "scan_feeds",
    "scan_notes",
    "scan_traces",
]
