"""A model, untouched, becomes a ``Trace``: the total gradient of every state of one run."""

from throughtime.capture.once import observe
from throughtime.capture.session import capture, mark

__all__ = ["capture", "mark", "observe"]
