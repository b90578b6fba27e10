"""One clock for calls that read one another: at which time each of their steps stands.

A call goes on after the one whose state it starts from; a layer stands beside the layer that it
reads, step by step, and behind one that it reads as a whole, as a decoder does with attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from throughtime.recording.calls import Call
from throughtime.recording.links.between import Between, shape_of

Times = Int[Tensor, "T B"]


class Clock:
    """The time of every step of the calls given, (T B) in the order of computation."""

    def __init__(self, calls: Sequence[Call], before: dict[int, Call], between: Between) -> None:
        """``calls`` in the order of the run; ``before``: the one of its layer that each follows."""
        self._between = between
        self._known = {id(call) for call in calls}
        self._last = {id(one): call for call, one in _following(calls, before)}
        self.times: dict[int, Times] = {}
        self.ahead = False
        """A layer reads what another wrote at a later time."""
        self.in_step: dict[int, bool] = {}
        """By call of several steps: it reads others at the time of its own step alone."""
        for call in calls:
            self._place(call, before.get(id(call)))

    @property
    def steps(self) -> int:
        """How many there are in all."""
        return 1 + max(int(times.max()) for times in self.times.values())

    @classmethod
    def in_one_run(cls, calls: Sequence[Call]) -> Clock:
        """Of the layers of one stacked kernel, all of whose steps stand beside one another."""
        clock = cls([], {}, Between(calls[0].passes))
        clock.times = {id(call): clock._steps(call) for call in calls}
        clock.in_step = dict.fromkeys(clock.times, True)
        return clock

    def _place(self, call: Call, before: Call | None) -> None:
        own = self._steps(call)
        follows = [other for other in call.follows if id(other) in self._known]
        follows += [before] if before is not None else []
        reads = [other for other in call.reads if id(other) in self._known]
        if follows:
            start = torch.stack([self.times[id(one)].amax(0) for one in follows]).amax(0) + 1
            self.times[id(call)] = own + start
        elif reads:
            self.times[id(call)] = self._beside(call, own, reads)
        else:
            self.times[id(call)] = own
        self.in_step[id(call)] = call.steps > 1 and self._reads_in_step(call, reads)

    def _steps(self, call: Call) -> Times:
        """The steps of a call in the time of its sequence; past its end it stands still."""
        steps, batch, _ = shape_of(call)
        own = torch.arange(steps).unsqueeze(1).expand(steps, batch)
        ends = torch.tensor(call.lengths or (steps,) * batch)
        ends = ends if call.order is None else ends[call.order.cpu()]
        own = torch.minimum(own, ends - 1)
        return torch.where(own < ends, ends - 1 - own, own) if call.reverse else own

    def _beside(self, call: Call, own: Times, reads: Sequence[Call]) -> Times:
        """The times of a call that starts from a state of its own, by what it reads."""
        last = torch.stack([self.times[id(one)].amax(0) for one in reads]).amax(0)
        first = torch.stack([self.times[id(one)].amin(0) for one in reads]).amin(0)
        if call.steps == 1:
            return own + self._at_once(call, reads, last)
        ends = (0, call.steps - 1)
        early, late = (
            self._read_at(call, n, reads) for n in (ends[::-1] if call.reverse else ends)
        )
        if not early.numel() or not late.numel():
            return own + first
        alike = bool((last - first == own.amax(0) - own.amin(0)).all())
        if alike and int(first.min()) in early.tolist():
            return own + first
        start, stop = int(early.max()), int(late.max())
        if call.lengths is None and start < stop:  # fewer steps than the layer that it reads
            spread = torch.linspace(start, stop, call.steps, dtype=torch.float64).round().long()
            return (spread.flip(0) if call.reverse else spread).unsqueeze(1).expand_as(own)
        return own + last + 1

    def _at_once(self, call: Call, reads: Sequence[Call], last: Tensor) -> Int[Tensor, " B"]:
        """When a call of one step stands: beside what it reads alone, or what still goes on."""
        read = self._read_at(call, 0, reads)
        if read.numel() and int(read.max()) == int(read.min()):
            return torch.full_like(last, int(read.max()))
        goes_on = any(id(one) in self._last for one in reads)
        return torch.full_like(last, int(read.max())) if goes_on and read.numel() else last + 1

    def _reads_in_step(self, call: Call, reads: Sequence[Call]) -> bool:
        """Whether a step in the middle reads what was written at its own time, and no other."""
        if not reads:
            return False
        middle = call.steps // 2
        alive = torch.tensor(call.lengths or (call.steps,) * shape_of(call)[1]) > middle
        alive = alive if call.order is None else alive[call.order.cpu()]
        read = self._read_at(call, middle, reads)
        own = self.times[id(call)][middle][alive]
        self.ahead |= bool(read.numel()) and int(read.max()) > int(own.max())
        return bool(read.numel()) and {*read.tolist()} <= {*own.tolist()}

    def _read_at(self, call: Call, step: int, reads: Sequence[Call]) -> Int[Tensor, " N"]:
        """The times of all that one step of a call reads through its input."""
        draw = torch.Generator().manual_seed(0)
        shape = call.steps, len(call.initial[0]), call.inputs.shape[-1]
        sent = torch.zeros(shape, dtype=torch.float64, device=call.inputs.device)
        sent[step] = torch.randn(shape[1:], generator=draw, dtype=torch.float64).to(sent)
        state = torch.zeros(shape_of(call)[1:], dtype=torch.float64, device=sent.device)
        found = self._between.from_entry(call, sent, state, reads)
        pairs = zip(found, reads, strict=True)
        times = [self.times[id(one)][(part != 0).any(-1).cpu()] for part, one in pairs]
        return torch.cat(times)


def _following(calls: Sequence[Call], before: dict[int, Call]) -> list[tuple[Call, Call]]:
    return [(call, before[id(call)]) for call in calls if id(call) in before]
