"""What is said of scans that ran, and have no trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from throughtime.errors import NoGradientError
from throughtime.recording.checks import CUT_OFF
from throughtime.recording.scans.record import ScanCall, in_effect


def scan_notes(calls: Sequence[ScanCall]) -> Iterator[str]:
    """A sentence for each scan that no gradient reached."""
    for call in in_effect(calls):
        if not call.reached:
            yield f"no gradient came back to the scan of {call.name!r}: {call.why_not or CUT_OFF}"


def checked_scans(calls: Sequence[ScanCall], backwards: int) -> None:
    """Raise ``NoGradientError`` where scans ran and no gradient reached any."""
    for call in calls:
        reason = call.why_not or CUT_OFF
        if not backwards and not call.why_not:
            reason = (
                "backward() was not called inside the capture: call loss.backward() in the block"
            )
        raise NoGradientError(f"no gradient reached the scan of {call.name!r}: {reason}")
