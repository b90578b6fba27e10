"""What the cores with heads share: (B T H ·) or (B H T ·), groups of heads, packed sequences."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from throughtime.recording.scans.form import Arguments
from throughtime.recording.scans.packing import starts_of
from throughtime.recording.scans.registry import Scan


class OfHeads(Scan):
    """Queries, keys, values and gates with heads; ``time``: where their time axis is.

    A core that can have both orders takes ``head_first``.
    """

    time: ClassVar[int] = 1
    state = "initial_state"
    width_from: ClassVar[str] = "v"

    def axis(self, of: Arguments) -> int:
        """The time axis of this call."""
        return 2 if of.get("head_first", False) else self.time

    def part(self, of: Arguments, name: str) -> Tensor:
        """An argument (T B H ·), repeated for the heads of its group."""
        timed, heads = of.timed(name, self.axis(of)), self.heads(of)
        return timed.repeat_interleave(heads // timed.shape[2], 2) if timed.dim() == 4 else timed

    def heads(self, of: Arguments) -> int:
        """How many heads the values have."""
        return int(of[self.width_from].shape[3 - self.axis(of)])

    def scaled(self, of: Arguments, query: Tensor) -> Tensor:
        """The query as it is multiplied with the state."""
        scaled: Tensor = query * of.get("scale", query.shape[-1] ** -0.5)
        return scaled

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(self.axis(of), 0)

    def starts(self, of: Arguments) -> Tensor | None:
        shape = of[self.width_from].shape
        return starts_of(of, (shape[0], shape[self.axis(of)]))
