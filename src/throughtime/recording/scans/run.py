"""One recorded call of a core, computed from its arguments in blocks of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.linear import block_of
from throughtime.recording.scans.record import ScanCall
from throughtime.trace import relative_difference

# Largest relative difference between the output and that of the form, by number format.
_LIMITS = {torch.float64: 1e-8, torch.float32: 1e-4}
_HALF = 5e-2


@dataclass(eq=False)
class Run:
    """One call of a core, ready to be computed in blocks of time."""

    call: ScanCall
    steps: int
    batch: int
    shape: tuple[int, int, int]
    block: int
    numbers: int
    starts: Tensor | None
    dtype: torch.dtype
    held: dict[tuple[str, int], Any] = field(default_factory=dict)
    """What is asked for several times while a trace is made, of one block of time."""

    @classmethod
    def of(cls, call: ScanCall, budget: int) -> Run:
        """A call, of which so many bytes are held at a time."""
        scan, whole = call.scan, Arguments(call.given)
        output = scan.arrange(call.output, whole)
        first = scan.steps(whole.during(slice(0, 1)))
        steps, batch = output.shape[:2]
        shape = first.value.shape[2], first.key.shape[-1], first.value.shape[3]
        starts = scan.starts(whole)
        starts = None if starts is None else starts.expand(steps, batch).contiguous()
        block = block_of(budget, batch * shape[0] * shape[1] * shape[2])
        dtype = torch.float64 if call.output.dtype == torch.float64 else torch.float32
        return cls(call, steps, batch, shape, block, budget // 8, starts, dtype)

    @property
    def probe(self) -> str:
        """The best argument whose gradient came back and is not zero; empty where none is."""
        received = self.call.received
        names = [name for name in self.call.scan.probes if name in received]
        return next((name for name in names if bool((received[name] != 0).any())), "")

    @property
    def width(self) -> int:
        """S."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def parts(self) -> Iterator[slice]:
        """The blocks of time."""
        for start in range(0, self.steps, self.block):
            yield slice(start, min(self.steps, start + self.block))

    def make(self, part: slice) -> Steps:
        """The steps of a stretch of time."""
        return self.made_of(Arguments(self.call.given, part), part)

    def once(self, part: slice) -> Steps:
        """The same, of one block, which is held until the next."""
        found: Steps = self._held("steps", part, lambda: self.make(part))
        return found

    def reads(self, states: Tensor, part: slice) -> Tensor:
        """``Sᵀ q`` of one block, which is held as well."""
        found: Tensor = self._held(
            "reads", part, lambda: _read(self, states, part, self.once(part))
        )
        return found

    def _held(self, name: str, part: slice, make: Callable[[], Any]) -> Any:
        key = name, part.start
        if key not in self.held:
            for other in [one for one in self.held if one[1] != part.start]:
                del self.held[other]
            self.held[key] = make()
        return self.held[key]

    def made_of(self, of: Arguments, part: slice) -> Steps:
        """The same from arguments of which one was put in place of another."""
        steps = self.call.scan.steps(of)
        return steps.reset(None if self.starts is None else (~self.starts[part]).double())

    def initial(self) -> Float[Tensor, "B H K V"]:
        """The state before the first step."""
        given = self.call.scan.initial(Arguments(self.call.given))
        if given is None:
            device = self.call.output.device
            return torch.zeros(self.batch, *self.shape, dtype=torch.float64, device=device)
        return given.double()

    def befores(self, states: Tensor, part: slice) -> Float[Tensor, "T B H K V"]:
        """The state before each step of one block."""
        return self._walked(states, part)[:-1]

    def afters(self, states: Tensor, part: slice) -> Float[Tensor, "T B H K V"]:
        """The state after each step of one block."""
        return self._walked(states, part)[1:]

    def _walked(self, states: Tensor, part: slice) -> Tensor:
        """The state before the block, and after each of its steps, in float64; they are held."""

        def make() -> Tensor:
            first = self.initial() if part.start == 0 else self.wide(states[part.start - 1])
            found = first.new_empty(part.stop - part.start + 1, *first.shape)
            found[0] = first
            found[1:] = states[part].unflatten(-1, self.shape)
            return found

        walked: Tensor = self._held("states", part, make)
        return walked

    def wide(self, rows: Tensor) -> Tensor:
        """Rows (… S) in the axes of the form, in float64."""
        split: Tensor = rows.double().unflatten(-1, self.shape)
        return split

    def empty(self) -> Tensor:
        """Room for a tensor (T B S)."""
        device = self.call.output.device
        return torch.empty(self.steps, self.batch, self.width, dtype=self.dtype, device=device)


def precision_of(call: ScanCall) -> torch.dtype:
    """The coarsest number format in which the core computed."""
    formats = [one.dtype for one in call.given.values() if _is_real(one)]
    formats += [call.output.dtype] + ([] if call.scan.at_most is None else [call.scan.at_most])
    coarsest: torch.dtype = max(formats, key=lambda one: torch.finfo(one).eps)
    return coarsest


def _is_real(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def states_of(run: Run) -> Float[Tensor, "T B S"]:
    """All states, one step after another."""
    states, state = run.empty(), run.initial()
    for part in run.parts():
        steps = run.once(part)
        made = steps.accumulated(steps.written(), state)
        if made is not None:
            states[part], state = made.flatten(-3), made[-1]
            continue
        for t, written in enumerate(steps.written().unbind(0)):
            state = steps.at(t).forward(state) + written
            states[part.start + t] = state.flatten(-3)
    return states


def _read(run: Run, states: Tensor, part: slice, steps: Steps) -> Tensor:
    """``Sᵀ q`` of a stretch of time."""
    if run.call.scan.reads_before:
        return steps.reads(run.befores(states, part))
    return steps.reads(run.afters(states, part))


def spoilt_because(run: Run, states: Tensor) -> str:
    """Why the record is not what the program computed, or an empty string."""
    call, scan = run.call, run.call.scan
    whole = Arguments(call.given)
    if call.changed_in_place:
        return "a tensor that the scan read or gave was changed in place after it ran"
    ours, theirs = [], scan.arrange(call.output, whole).double()
    for part in run.parts():
        of = Arguments(call.given, part)
        ours.append(scan.read(of, run.once(part), run.reads(states, part)))
    difference = relative_difference(torch.cat(ours), theirs)
    limit = _LIMITS.get(precision_of(call), _HALF)
    if difference <= limit or not bool(theirs.isfinite().all()):
        return ""
    return (
        f"the scan's output is not that of its closed form: it differs by {difference:.1e} (limit "
        f"{limit:.0e})"
    )


def direct_of(
    run: Run, states: Tensor, following: ScanCall | None = None
) -> Float[Tensor, "T B S"]:
    """What the loss sends to each state: ``q ⊗ r``, r the gradient at ``Sᵀ q``.

    ``following``: the call that goes on from the last state, whose share is no loss's.
    """
    call, scan = run.call, run.call.scan
    whole = Arguments(call.given)
    direct = run.empty().zero_()
    arrived = call.received.get("output")
    arrived = None if arrived is None else scan.arrange(arrived, whole).double()
    for part in run.parts() if arrived is not None else ():
        assert arrived is not None
        of, steps = Arguments(call.given, part), run.once(part)
        with torch.enable_grad():
            reads = run.reads(states, part).detach().requires_grad_()
            (sent,) = torch.autograd.grad(scan.read(of, steps, reads), reads, arrived[part])
        if steps.query is not None:
            sent = steps.query.unsqueeze(-1) * sent.unsqueeze(-2)
        entered = sent.reshape(*sent.shape[:2], run.width).to(direct.dtype)
        if not scan.reads_before:
            direct[part] += entered
        elif part.start == 0:
            direct[: part.stop - 1] += entered[1:]
        else:
            direct[part.start - 1 : part.stop - 1] += entered
    if "final" in call.received:
        final = scan.as_state(call.received["final"])
        if following is not None and scan.state in following.received:
            passed = scan.as_state(following.received[scan.state])
            noise = passed.abs() * 32 * torch.finfo(call.output.dtype).eps
            final = torch.where((final - passed).abs() <= noise, 0, final - passed)
        direct[-1] += final.flatten(-3).to(direct.dtype)
    return direct


def compared(
    run: Run, states: Tensor, gradients: Tensor
) -> tuple[Tensor | None, Tensor | None, str]:
    """The gradient of one argument: autograd's, and that of the form."""
    call, scan = run.call, run.call.scan
    name = run.probe
    if not name:
        wanted = " or ".join(repr(probe) for probe in scan.probes)
        if any(probe in call.received for probe in scan.probes):
            return None, None, f"the gradient of its {wanted} is exactly zero"
        return None, None, f"autograd was asked for no gradient of its {wanted}"
    arrived = call.received.get("output")
    if arrived is not None:
        arrived = scan.arrange(arrived, Arguments(call.given)).double()
    return call.received[name], of_argument(run, states, gradients, arrived), ""


def of_argument(run: Run, states: Tensor, rows: Tensor, arrived: Tensor | None = None) -> Tensor:
    """The gradient of the probe from rows at all states, by one step of all T at once.

    ``arrived``: the gradient of the output, where what passes the states by is to be counted.
    """
    call, scan, name = run.call, run.call.scan, run.probe
    found = torch.zeros_like(call.given[name], dtype=torch.float64)
    for part in run.parts():
        leaf = call.given[name].double().requires_grad_()
        of = Arguments(call.given, part).having(name, leaf)
        before, total = run.befores(states, part), run.wide(rows[part])
        with torch.enable_grad():
            steps = run.made_of(of, part)
            sent = steps.sent(total, before)
            if arrived is not None:
                asks = steps.query is not None and steps.query.requires_grad
                reads = _read(run, states, part, steps) if asks else run.reads(states, part)
                sent = sent + (scan.read(of, steps, reads) * arrived[part]).sum()
            gradient = None
            if sent.requires_grad:
                (gradient,) = torch.autograd.grad(sent, leaf, allow_unused=True)
        found += 0 if gradient is None else gradient
    return found


def weighing(
    run: Run, states: Callable[[], Tensor]
) -> Callable[[Tensor, list[int] | None], Tensor] | None:
    """The gradient of the probe from rows of all sequences, or of the chosen ones."""
    if not run.probe:
        return None

    @torch.no_grad()
    def weigh(rows: Tensor, chosen: list[int] | None) -> Tensor:
        if chosen is not None:
            whole = rows.new_zeros(run.steps, run.batch, run.width)
            whole[:, chosen] = rows
            rows = whole
        return of_argument(run, states(), rows)

    return weigh
