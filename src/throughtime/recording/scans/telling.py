"""What is said of scans that ran, and have no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from throughtime.errors import NoGradientError, NothingRecordedError
from throughtime.recording.checks import CUT_OFF
from throughtime.recording.scans.record import ScanCall, in_effect
from throughtime.recording.scans.traces import scan_chains
from throughtime.trace import LayerTrace


def scan_notes(calls: Sequence[ScanCall]) -> Iterator[str]:
    """A sentence for each scan that no gradient reached."""
    for call in in_effect(calls):
        if call.unknown:
            yield _unknown(call)
        elif not call.reached:
            yield f"no gradient came back to the scan of {call.name!r}: {call.why_not or CUT_OFF}"


def scan_feeds(
    calls: Sequence[ScanCall], scans: Sequence[LayerTrace], layers: Mapping[str, Sequence[Any]]
) -> list[tuple[str, str]]:
    """Which layer reads what which other layer wrote, where one of the two is a scan.

    ``scans``: those that have a trace. ``layers``: the calls of the other layers by name.
    """
    rows = dict(zip((scan.name for scan in scans), scan_chains(calls), strict=True))
    owner = {id(call): name for name, ones in {**layers, **rows}.items() for call in ones}
    pairs = {
        (owner[id(lower)], name): None
        for name, ones in {**layers, **rows}.items()
        for call in ones
        for lower in call.reads
        if id(lower) in owner and (name in rows or owner[id(lower)] in rows)
    }
    return [pair for pair in pairs if pair[0] != pair[1]]


def checked_scans(calls: Sequence[ScanCall], backwards: int) -> None:
    """Raise ``NoGradientError`` where scans ran and no gradient reached any."""
    for call in calls:
        if call.unknown:
            raise NothingRecordedError(_unknown(call))
        reason = call.why_not or CUT_OFF
        if not backwards and not call.why_not:
            reason = (
                "backward() was not called inside the capture: call loss.backward() in the block"
            )
        raise NoGradientError(f"no gradient reached the scan of {call.name!r}: {reason}")


def _unknown(call: ScanCall) -> str:
    return (
        f"the scan of {call.name!r} was called in a way that its closed form does not know "
        f"({call.unknown}): show it with throughtime.scan(output, decay=..., name=...)"
    )
