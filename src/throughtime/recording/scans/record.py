"""``Scans``: every call of a known core inside a capture, with the gradients of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from throughtime.recording.calls import listen, version
from throughtime.recording.reading import why_not
from throughtime.recording.recorder import Recorder
from throughtime.recording.scans import cores
from throughtime.recording.scans.form import Arguments
from throughtime.recording.scans.registry import Binder, Scan
from throughtime.recording.scans.stand_ins import open_for

__all__ = ["ScanCall", "Scans", "cores"]


@dataclass(eq=False)
class ScanCall:
    """One call of a core.

    Attributes:
        name: of the module that ran it.
        given: its arguments by name, tensors detached.
        output: what it read from its states, detached.
        follows: the call of the same core from whose last state it starts, if there is one.
        handed: the last state in autograd's graph, as the user has it, until the capture ends.
        reads: the recorded calls, of layers and of scans, that its arguments depend on.
        again: it ran during a backward pass, as a checkpoint does.
        unknown: why its arguments could not be put into the form, or an empty string.
        received: gradients by slot: ``output``, ``final``, and of the probes by their names.
        versions: tensors of the record, and how often each had been changed in place.
        why_not: why autograd did not record the run, or an empty string.
    """

    name: str
    scan: Scan
    given: dict[str, Any]
    output: Tensor
    again: bool
    why_not: str
    unknown: str = ""
    reads: tuple[Any, ...] = ()
    follows: tuple[ScanCall, ...] = ()
    handed: Tensor | None = None
    versions: tuple[tuple[Tensor, int], ...] = ()
    received: dict[str, Tensor] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether a gradient came back to any of its states."""
        return "output" in self.received or "final" in self.received

    @property
    def changed_in_place(self) -> bool:
        """Whether what it read or gave is no longer what the record holds."""
        return any(version(tensor) != before for tensor, before in self.versions)


class Scans:
    """Hears the known cores while a capture is open."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.calls: list[ScanCall] = []

    def open(self, model: nn.Module) -> Callable[[], None]:
        """Put the stand-ins in place; what closes is returned."""
        remove = open_for(self, model)

        def close() -> None:
            remove()
            for call in self.calls:
                call.handed = None

        return close

    @property
    def running(self) -> bool:
        """Whether a core runs at this moment."""
        return self._recorder.passes.scanning

    def hears(self) -> bool:
        """Whether the calls of the thread that asks are those of its capture."""
        return self._recorder.hears()

    def run(
        self,
        scan: Scan,
        bind: Binder,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run the core with aliases of its probes, so that hooks see the gradient of this use."""
        passes = self._recorder.passes
        if passes.scanning or passes.probing:
            return function(*args, **kwargs)
        if torch._C._functorch.peek_interpreter_stack() is not None:
            return function(*args, **kwargs)
        try:
            given = scan.unpacked(bind(args, kwargs))
        except TypeError:  # the function will say so itself
            return function(*args, **kwargs)
        if not scan.takes(Arguments(given)):
            return function(*args, **kwargs)
        watched = _aliases(scan, given)
        by_id = {id(given[name]): alias for name, alias in watched.items()}
        passes.scanning = True
        try:
            result, seen = scan.call(
                function, _instead(args, by_id), _instead(kwargs, by_id), given, watched
            )
        finally:
            passes.scanning = False
        if seen is None:  # a fused kernel that is not there
            return result
        final = scan.final(seen)
        if final is not None and final.requires_grad:
            # The last step may read the very tensor: an alias has the gradient of the user's alone.
            handed = {id(final): final.view_as(final)}
            seen, result = _instead(seen, handed), _instead(result, handed)
        call = self.note(scan, given, seen)
        for name, alias in watched.items():
            self.watch(call, name, alias)
        return result

    def note(self, scan: Scan, given: dict[str, Any], result: Any, name: str = "") -> ScanCall:
        """Record one call, with hooks on what it gave."""
        recorder = self._recorder
        output, final = scan.output(result), scan.final(result)
        held = {key: _detached(value) for key, value in given.items()}
        tensors = [one for one in (*held.values(), output) if isinstance(one, Tensor)]
        call = ScanCall(
            name or recorder.name_of_running() or type(scan).__name__,
            scan,
            held,
            output.detach(),
            recorder.backward,
            why_not(output),
            reads=self._read(given.values()),
            versions=tuple((one, version(one)) for one in tensors),
        )
        self.calls.append(call)
        call.follows, call.handed = self._before(scan, given), final
        feeds: Any = recorder._feeds  # which knows calls of layers and of scans alike
        feeds.add(call, [output] if final is None else [output, final])
        self.watch(call, "output", output)
        if final is not None:
            self.watch(call, "final", final)
        return call

    def _before(self, scan: Scan, given: Mapping[str, Any]) -> tuple[ScanCall, ...]:
        """The call from whose last state, untouched on its way, this one starts.

        By the graph: what autograd sends to the initial state arrives at that last state as it is.
        """
        start = given.get(scan.state)
        if not isinstance(start, Tensor) or start.grad_fn is None or self._recorder.backward:
            return ()
        earlier: Any
        for earlier in self._recorder._feeds.read(start):
            last = earlier.handed if isinstance(earlier, ScanCall) else None
            if last is None or earlier.scan is not scan or last.shape != start.shape:
                continue
            if self._untouched(last, start):
                return (earlier,)
        return ()

    def _untouched(self, last: Tensor, start: Tensor) -> bool:
        """Whether what autograd sends to ``start`` arrives at ``last`` as it was sent."""
        draw = torch.Generator().manual_seed(0)
        sent = torch.randn(start.shape, generator=draw, dtype=torch.float64).to(start)
        passes = self._recorder.passes
        probing, passes.probing = passes.probing, True
        try:
            (came,) = torch.autograd.grad(start, last, sent, retain_graph=True, allow_unused=True)
        except RuntimeError:  # the graph between them is gone
            return False
        finally:
            passes.probing = probing
        return came is not None and torch.equal(came, sent)

    def watch(self, call: ScanCall, slot: str, tensor: Tensor) -> None:
        """Add up in ``received[slot]`` the gradients that arrive at ``tensor``."""
        if not tensor.requires_grad:
            return
        passes = self._recorder.passes

        def receive(gradient: Tensor | None) -> None:
            if gradient is None or passes.probing:
                return
            held = call.received.get(slot)
            call.received[slot] = gradient.detach().clone() if held is None else held + gradient

        handles: list[RemovableHandle] = [listen(tensor, receive)]
        self._recorder.keep(handles, graph=False)

    def made_by_hand(self, given: Mapping[str, Tensor | None]) -> None:
        """A scan of the user's own made ``given["output"]``: no loop that did so is another one."""
        output = given["output"]
        if output is not None:
            rest = [tensor for name, tensor in given.items() if name != "output"]
            self._recorder.discovery.scanned(output, rest)

    def _read(self, arguments: Iterable[Any]) -> tuple[Any, ...]:
        """The recorded calls that these arguments depend on; a checkpoint's repetition has none."""
        if self._recorder.backward:
            return ()
        tensors = [one for one in arguments if isinstance(one, Tensor)]
        found = {id(call): call for one in tensors for call in self._recorder._feeds.read(one)}
        return tuple(found.values())


def in_effect(calls: Sequence[ScanCall]) -> list[ScanCall]:
    """The calls of the forward pass; for one that a checkpoint ran without a graph, its repetition.

    A checkpoint repeats its calls during the backward pass, the latest one first. One that kept its
    graph got its gradients already, and its repetition does not count.
    """
    repeated: dict[str, list[ScanCall]] = {}
    for call in calls:
        if call.again and not call.why_not:
            repeated.setdefault(call.name, []).append(call)
    found = []
    for call in calls:
        if call.again:
            continue
        others = repeated.get(call.name, [])
        found.append(others.pop() if call.why_not and others else call)
    return found


def _aliases(scan: Scan, given: Mapping[str, Any]) -> dict[str, Tensor]:
    """Aliases of the arguments whose gradient is compared, by name.

    Where none of them needs a gradient though another argument does, the first is given a leaf of
    ours, at which a check can arrive.
    """
    if not torch.is_grad_enabled():
        return {}
    probes = {name: given[name] for name in scan.probes if isinstance(given.get(name), Tensor)}
    wanted = {name: one.view_as(one) for name, one in probes.items() if one.requires_grad}
    start, state = given.get(scan.state), {}
    if isinstance(start, Tensor) and start.requires_grad:
        state = {scan.state: start.view_as(start)}
    flowing = any(isinstance(one, Tensor) and one.requires_grad for one in given.values())
    if wanted or not probes or not flowing:
        return wanted | state
    name, first = next(iter(probes.items()))
    return {name: first.detach().requires_grad_()} | state


def _instead(arguments: Any, aliases: Mapping[int, Tensor]) -> Any:
    """The arguments, in tuples and lists too, with the aliases in the place of their originals."""
    if isinstance(arguments, Tensor):
        return aliases.get(id(arguments), arguments)
    if isinstance(arguments, dict):
        return {name: _instead(value, aliases) for name, value in arguments.items()}
    if type(arguments) in (tuple, list):
        return type(arguments)(_instead(value, aliases) for value in arguments)
    return arguments


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, (list, tuple)):
        return [_detached(one) for one in value]
    return value
