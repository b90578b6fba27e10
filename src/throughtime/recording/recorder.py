"""``Recorder``: every recurrent kernel that runs inside a capture becomes a ``Call``.

The user's module is not touched. A ``TorchFunctionMode`` sees the kernels where Python hands them
to torch; global module hooks, which live outside the model, say which module is running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from throughtime.recording import reading
from throughtime.recording.aliases import Aliases
from throughtime.recording.calls import Call, Passes, Snapshots, Weight, of_torch, version
from throughtime.recording.checks import check_input
from throughtime.recording.discovery import Discovery
from throughtime.recording.feeds import Feeds
from throughtime.recording.following import Following
from throughtime.recording.kernels import CELLS, FUSED, Fused, One, Ran
from throughtime.recording.links import Joints
from throughtime.recording.marks import Root
from throughtime.recording.names import RECURRENT, Names, path_of
from throughtime.recording.origins import Origin, Origins
from throughtime.recording.parameters import Sweep
from throughtime.recording.unrolled import Unrolled
from throughtime.recording.unseen import USES, Unseen
from throughtime.recording.visits import Visits
from throughtime.recording.witness import Witness
from throughtime.recurrences import unroll


class Recorder(TorchFunctionMode):
    """Records the calls of ``model``'s recurrent layers while it is entered."""

    def __init__(self, model: nn.Module, budget: int) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.passes = Passes()
        self.keep_graph, self._entered, self._runs = False, 0, 0
        self.roots: list[Root] = []
        self.sweep = Sweep(model)
        self.witness = Witness(model)
        self.names = Names(model)
        self._running: list[nn.Module] = []
        self._first: list[int] = []
        self._snapshots = Snapshots(self.passes)
        self._origins = Origins(self.passes)
        self._feeds = Feeds()
        self.following = Following(self.passes)
        self.joints = Joints(self.passes, self._feeds, budget)
        self.unseen = Unseen(model)
        self.visits = Visits()
        self.marked: list[Callable[[Any], bool]] = []
        self.discovery = Discovery(self.names, self.passes, self.marked, self.witness, budget)
        # The modules that are running, each with the number of its call; all of them, anybody's.
        self.inside: list[tuple[nn.Module, int]] = []
        self.ahead: Callable[[object], None] | None = None  # once, before the first backward pass
        self._handles: list[RemovableHandle] = []
        self._aliases = Aliases(self.passes, self._snapshots, self._handles)
        self._thread, self._since = threading.get_ident(), 0
        # How many modules were running when the backward pass began that is under way, if one is.
        self._outside: int | None = None

    def attach(self, stack: ExitStack) -> None:
        """Enter, and leave when ``stack`` is closed: nothing stays behind, whatever happens."""
        self._thread, self._since = threading.get_ident(), reading.sequence_number()
        stack.callback(self._detach)
        self.discovery.begin()
        self._handles += reading.module_hooks_of(self._before, self._after)
        stack.enter_context(self)

    def keep(self, handles: list[RemovableHandle], graph: bool = True) -> None:
        """Hooks that go with the rest; on marked states, the ``graph`` between which stays."""
        self._handles += handles
        self.keep_graph |= graph

    def hears(self) -> bool:
        """Whether it is a thread of this capture that asks."""
        return reading.is_ours(self._thread, backward=self.backward)

    def name_of_running(self) -> str:
        """The name of the innermost module that is running; empty where none is."""
        return self.names.of(self._running) if self._running else ""

    def _detach(self) -> None:
        reading.remove(self._handles)
        self._feeds.forget()
        self.witness.close()
        self._origins.clear()
        self.unseen.clear()
        self.discovery.end()

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not reading.is_ours(self._thread, backward=self.backward) or self.passes.probing:
            return
        self._entered += 1
        self.inside.append((module, self._entered))
        recurrent = isinstance(module, RECURRENT)
        if not self.names.knows(module) and not (recurrent and self._running):
            return
        if len(self._running) == self._outside:
            self.__enter__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self._running.append(module)
        self._first.append(len(self.calls))
        name = self.names.of(self._running)
        self.sweep.ran.setdefault(id(module), (name, module))
        self.visits.note(name, module)
        if recurrent and args:
            check_input(module, name, args[0])
        if self._outside is None:
            self.witness.enter(len(self._running) - 1, name, module, args, recurrent)

    def _after(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        if not reading.is_ours(self._thread, backward=self.backward) or self.passes.probing:
            return
        # After an exception torch calls it without the keywords.
        kwargs, output = rest if len(rest) == 2 else ({}, None)
        for n in range(len(self.inside) - 1, -1, -1):
            if self.inside[n][0] is module:
                del self.inside[n:]
                break
        if module not in self._running:
            return
        # What lies above it was interrupted, and the user went on.
        index = len(self._running) - 1 - self._running[::-1].index(module)
        first = self._first[index]
        del self._running[index:], self._first[index:]
        if self._outside is None:
            self.witness.leave(index, output, kwargs)
        if len(self._running) == self._outside:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # torch gives it no types
        packed = output[0] if isinstance(output, tuple) and output else None
        if isinstance(module, nn.RNNBase) and isinstance(packed, PackedSequence):
            for call in self.calls[first:]:
                call.order = packed.unsorted_indices

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.passes.probing or self.passes.scanning:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in reading.BACKWARD and func in reading.BACKWARD[name]:
            return self._backward(func, args, kwargs)
        before = len(self.calls)
        if kwargs or (func not in FUSED and func not in CELLS and func is not unroll):
            self.discovery.before(name, args)
            result = func(*args, **kwargs)
            if name in ("retain_grad", "register_hook"):
                self.passes.asked(name, args)
            elif func in USES and torch.is_grad_enabled():
                self.unseen.note(args, result, self._seen)
        else:
            result = self._kernel(func, args)
        if self._outside is None:
            layers = [call.name for call in self.calls[before:]]
            self.discovery.after(name, args, kwargs, result, self.inside, layers)
        return result

    def _kernel(self, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Run a recurrent kernel, and record it if it is the model's."""
        if func in FUSED:
            fused = Fused.parse(func, args)
            return self._fused(fused) if self._is_seen(fused.weights) else func(*args)
        if func in CELLS:
            weights = [one for one in args[2:] if isinstance(one, Tensor)]
            return self._cell(func, *args) if self._is_seen(weights) else func(*args)
        run = Unrolled(*args)
        return self._unrolled(run) if self._is_seen(run.given) else func(*args)

    def _backward(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """One backward pass; torch hands the arguments over as keywords."""
        if self._outside is None:
            if self.ahead and func is not torch.autograd.grad:
                self.ahead = self.ahead(args[0])
            self.joints.look(self.calls, reading.roots_of(args, kwargs))
            if handles := [*self.following.look(self.calls), *self.discovery.look()]:
                self.keep(handles)
        if self.keep_graph:
            kwargs = {**kwargs, "retain_graph": True}
            self.roots += reading.roots_of(args, kwargs)
        self.passes.count += 1
        self.witness.backward(args[0])
        if kwargs.get("create_graph"):
            self.passes.with_graph.add(self.passes.count)
        before, self._outside, depth = self._outside, len(self._running), len(self.inside)
        if before is None:
            self.sweep.before(func, args, kwargs)
        try:
            result = func(*args, **kwargs)
            if before is None:
                self.sweep.after(func, args, kwargs)
            return result
        except RuntimeError as error:
            reading.explain(error, self.calls, self.passes.count)
            raise
        finally:
            del self._running[self._outside :], self._first[self._outside :], self.inside[depth:]
            self._outside = before

    def _is_seen(self, weights: Sequence[Tensor]) -> bool:
        """Whether a kernel is the model's: by the module that runs it, or by its weights."""
        return bool(self._running) or self.names.owns(weights)

    def _fused(self, fused: Fused) -> tuple[Tensor, ...]:
        name, kind = self.names.of(self._running, fused.weights), FUSED[fused.function]
        self._runs += 1

        def run_one(one: One) -> Ran:
            where = name + (f".l{one.layer}" if fused.layers > 1 else "")
            where += ".reverse" if one.reverse else ""
            return self._run(where, kind, fused, one)

        return fused.run(run_one)

    def _run(self, name: str, kind: str, fused: Fused, one: One) -> Ran:
        origin = self._origin(name, one.initial)
        initial, weights, recurrent = self._aliases.of(name, one.inputs, one.initial, one.weights)
        entry = self._aliases.entry(name, one.inputs)
        ran = fused.run_one(one._replace(inputs=entry, initial=initial, weights=weights))
        pad = (lambda data: data) if one.packed is None else one.packed.pad
        inputs = one.inputs.detach()
        call = Call(
            name,
            kind,
            partial(of_torch, kind, fused.has_biases),
            tuple(map(self._snapshots.take, one.weights)),
            pad(inputs),
            pad(ran.outputs.detach()),
            tuple(part.detach().clone() for part in one.initial),
            tuple(part[0].detach().clone() for part in ran.final),
            **self._circumstances(fused.states, origin, recurrent, ran.outputs),
            reverse=one.reverse,
            lengths=None if one.packed is None else one.packed.lengths,
            scale=one.scale if one.scale is None else pad(one.scale),
            versions=((inputs, version(inputs)),) if one.packed is None else (),
        )
        self._handles += call.watch(ran.outputs, "output", pad)
        outputs = ran.outputs.clone()
        handed = self._watch(call, initial, ran.final, outputs)
        call.out, call.packed, call.run = ran.outputs, one.packed, (self._runs, one.layer)
        self._place(call, (one.inputs, *one.initial), initial, handed, outputs)
        return Ran(outputs, handed)

    def _cell(self, func: Callable[..., Any], x: Tensor, hx: Any, *weights: Tensor | None) -> Any:
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        given = tuple(weight for weight in weights if weight is not None)
        name = self.names.of(self._running, given)
        origin = self._origin(name, states)
        initial, aliased, recurrent = self._aliases.of(name, x, states, given)
        passed = [*aliased, *(None for _ in weights[len(aliased) :])]
        entry = self._aliases.entry(name, x)
        result = func(entry, initial[0] if isinstance(hx, Tensor) else initial, *passed)
        # torch makes h from the very c that it returns: an alias of c gets the user's uses alone.
        final = (
            (result,) if isinstance(result, Tensor) else (result[0], result[1].view_as(result[1]))
        )
        ended = tuple(part.detach().clone() for part in final)
        call = Call(
            name,
            CELLS[func],
            partial(of_torch, CELLS[func], len(given) > 2),
            tuple(map(self._snapshots.take, given)),
            x.detach().unsqueeze(0),
            ended[0].unsqueeze(0),
            tuple(part.detach().clone() for part in states),
            ended,
            **self._circumstances(states, origin, recurrent, final[0]),
            fused=False,
            versions=((x.detach(), version(x)),),
        )
        handed = self._watch(call, initial, final, final[0])
        self._place(call, (x, *states), initial, handed, handed[0])
        return handed[0] if isinstance(result, Tensor) else handed

    def _unrolled(self, run: Unrolled) -> Tensor:
        place, given, parts = run.place, run.given, (run.initial,)
        name = self.names.of(self._running, given) + place.name
        origin = self._origin(name, parts)
        initial, aliased, proof = self._aliases.of(name, run.inputs, parts, given, run.proof)
        states = replace(run, inputs=self._aliases.entry(name, run.inputs)).run(initial[0], aliased)
        call = Call(
            name,
            run.kind.kind,
            run.make,
            tuple(map(self._snapshots.take, given)),
            run.inputs.detach(),
            states.detach(),
            (run.initial.detach().clone(),),
            (states[-1].detach().clone(),),
            **self._circumstances(parts, origin, proof, states),
            reverse=place.reverse,
            lengths=place.lengths,
            order=place.order,
            scale=place.scale,
            versions=((run.inputs.detach(), version(run.inputs)),),
            read=run.read(states.detach()),
        )
        self._handles += call.watch(states, "output")
        self._watch(call, initial, (), states)
        handed = states.clone()
        # The layer hands its last state on: whatever leads back to all states leads back to it.
        self._origins.note(call, (states,), (handed,), handed)
        call.out = states
        self._place(call, (run.inputs, run.initial), initial, (), handed)
        return handed

    def _circumstances(
        self,
        states: Sequence[Tensor],
        origin: Origin | None,
        recurrent: Weight | None,
        output: Tensor,
    ) -> dict[str, Any]:
        """What all calls say alike: where their state came from, and whether autograd saw them."""
        return {
            "connected": tuple(map(reading.leads_on, states)),
            "older": reading.made_before(states, self._since),
            "origin": origin,
            "inside": path_of(self.inside),
            "differentiable": output.requires_grad,
            "passes": self.passes,
            "recurrent": recurrent,
            "why_not": reading.why_not(output),
            "again": self._outside is not None,
            "after": self.passes.count,
        }

    def _place(
        self,
        call: Call,
        given: tuple[Tensor, ...],
        initial: tuple[Tensor, ...],
        final: tuple[Tensor, ...],
        outputs: Tensor,
    ) -> None:
        """Where a call stands in the run and in the graph; ``final``, ``outputs``: as handed on.

        ``given``: the input and the parts of the state, as the user's code gave them.
        """
        witness = self.witness
        call.at, call.frame = witness.tick(call.steps), witness.frame
        call.named = tuple(witness.parameter(self._snapshots.original(w)) for w in call.weights)
        if call.again:
            return
        read = {"input": given[0], **{f"state{n}": part for n, part in enumerate(initial)}}
        titles = [name or call.name for name in call.named]
        call.sources = witness.saw(
            call.name, read, outputs, dict(zip(titles, call.weights, strict=True))
        )
        if call.differentiable:
            call.reads, call.plain = self._feeds.walk(given[0])
            call.follows = tuple({c: None for part in given[1:] for c in self._feeds.read(part)})
            call.was_given(given, final)
            self._feeds.add(call, (*final, outputs))
            call.begins, call.ends = initial, final
            call.whole = None if call.lengths or not call.fused else outputs

    def _watch(
        self,
        call: Call,
        initial: tuple[Tensor, ...],
        final: tuple[Tensor, ...],
        output: Tensor,
    ) -> tuple[Tensor, ...]:
        """Listen to both states of a call; the final one as the user has it, a copy."""
        self.calls.append(call)
        given, handles = call.watch_states(initial, final)
        self._handles += handles
        if final:
            self._origins.note(call, final, given, output)
        return given

    def _origin(self, name: str, initial: tuple[Tensor, ...]) -> Origin | None:
        """Where the state came from; what a checkpoint runs again hangs on a graph of its own."""
        return None if self.backward else self._origins.of(name, initial)

    @property
    def backward(self) -> bool:
        """Whether a backward pass of the user's is under way."""
        return self._outside is not None

    def _seen(self, node: Any) -> bool:
        """Whether a recorded or marked state stands at this node of the graph."""
        return self._origins.stands_at(node) or any(marked(node) for marked in self.marked)
