"""A model, untouched, becomes a ``Trace``: the total gradient of every state of one run."""

from throughtime.recording.once import observe
from throughtime.recording.scans.own import scan
from throughtime.recording.session import capture, mark

__all__ = ["capture", "mark", "observe", "scan"]
