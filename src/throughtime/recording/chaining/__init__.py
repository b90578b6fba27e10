"""What lies between two steps of one layer, measured on autograd's graph."""

from throughtime.recording.chaining.probe import Probe, batched
from throughtime.recording.chaining.probing import carried

__all__ = ["Probe", "batched", "carried"]
