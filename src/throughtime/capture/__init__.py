"""A model, untouched, becomes a ``Trace``: the total gradient of every state of one run."""

from throughtime.capture.once import observe
from throughtime.capture.session import capture

__all__ = ["capture", "observe"]
