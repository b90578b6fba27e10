"""A model, untouched, becomes a ``Trace``: the total gradient of every state of one run.

with tt.capture(model) as run:
    loss = criterion(model(x), y)
    loss.backward()
run.trace.layers[0].gradients      # ∂L/∂s_t, (T B S)
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache, cached_property, partial

import torch
from torch import Tensor, nn

from throughtime.errors import (
    InputError,
    NoGradientError,
    ThroughtimeError,
    ThroughtimeWarning,
)
from throughtime.problem import shown
from throughtime.recording.ahead import Ahead
from throughtime.recording.assemble import layer_traces
from throughtime.recording.calls import Call
from throughtime.recording.chains import Chain, find_chains
from throughtime.recording.checks import CUT_OFF, LOOSE, padded_sequences
from throughtime.recording.courses import count_loops, with_courses
from throughtime.recording.fragments import Fragments
from throughtime.recording.keeping import Keeping
from throughtime.recording.lengths import Lengths, with_lengths
from throughtime.recording.links import find_links, stacks
from throughtime.recording.marks import Marks
from throughtime.recording.names import path_of, unique_names
from throughtime.recording.own import Own
from throughtime.recording.recorder import Recorder
from throughtime.recording.scans import Scans, checked_scans, scan_feeds, scan_notes, scan_traces
from throughtime.recording.tails import ends
from throughtime.trace import LayerTrace, Trace

_MEGABYTE = 2**20
_DYNAMO = "torch._dynamo"
_KERNELS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


class _Open(threading.local):
    """The captures that are open in this thread, kept as torch keeps its own modes."""

    def __init__(self) -> None:
        self.captures: list[capture] = []


_open = _Open()


class capture:  # noqa: N801  — a context manager reads as a verb, as torch.no_grad does
    """See the gradient of every state of ``model``'s recurrent layers, in the block that follows.

    Run forward and backward inside the block, as you always do. Every ``nn.RNN``, ``nn.LSTM``,
    ``nn.GRU`` (stacked, bidirectional, packed, with projection) and every ``nn.RNNCell``,
    ``nn.LSTMCell``, ``nn.GRUCell`` in a loop is seen; a recurrence of your own is seen where a loop
    in Python of 5 iterations or more carries it, or if it calls ``tt.mark(state, "name")``. So are
    the scans of known cores (Mamba, delta rules, linear attention …) and those that ``tt.scan``
    shows. Nothing in the model is changed, not even a hook is hung on it, and the fused kernels
    stay in use.

    Args:
        model: any ``nn.Module``, also wrapped (DDP) or compiled: then its original runs.
        lengths: the length of each sequence of a padded batch (B), which the layers as long as the
            first one get, but for a decoder's; or lengths by the name of a layer. A PackedSequence
            has its own.
        memory: how many bytes the linearised recurrence may hold at a time (default 512 MiB);
            beyond it the trace is made in blocks of time. The result itself takes 3 tensors
            (T B S), and about as much again while it is made.

    Raises:
        InputError: for an input that a layer cannot take, while the block runs.
        StateCarriedError: if a second backward pass reaches into the graph of an earlier forward.
        NothingRecordedError: by ``trace``, if no recurrence ran inside the block.
        NoGradientError: by ``trace``, if no gradient came back to any.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lengths: Lengths | None = None,
        memory: int = 512 * _MEGABYTE,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"capture takes a torch.nn.Module, not {shown(model)}")
        if memory <= 0:
            raise InputError(f"memory must be a positive number of bytes, not {memory}")
        self._model, self._lengths, self._memory = model, lengths, memory
        self._recorder = Recorder(model, memory)
        self._scans = Scans(self._recorder)
        self._marks: dict[str, Marks] = {}
        self._keeping = Keeping(lambda: self._recorder.backward)
        self._own: Own | ThroughtimeError = Own()
        self._stack: ExitStack | None = None
        self._entered = False
        self._ahead = Ahead(self._recorder, model)

    def __enter__(self) -> capture:
        if self._entered:
            raise InputError("a capture serves one block: make a new one with capture(model)")
        for other in _open.captures:
            if shared := self._recorder.names.shared(other._recorder.names):
                raise InputError(
                    f"layer {shared!r} is already seen by a capture that is open: close that one "
                    "first, or capture the whole model once"
                )
        self._entered = True
        with ExitStack() as stack:
            # A compiled model runs its original inside: its hidden graph cannot be seen.
            if _DYNAMO in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
                stack.enter_context(warnings.catch_warnings())
                hooks = ".* when there are global hooks on modules"
                warnings.filterwarnings("ignore", hooks)  # it runs eagerly, and meets them
            self._recorder.sweep.begin()
            self._recorder.attach(stack)
            stack.callback(self._scans.open(self._model))
            captures = _open.captures
            captures.append(self)
            stack.callback(captures.remove, self)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, error: object = None, *_: object) -> None:
        self._close(whole=error is None)

    def start(self) -> capture:
        """Open without a ``with`` block; ``remove()`` closes."""
        return self.__enter__()

    def remove(self) -> None:
        """Close: from here on nothing is seen, and nothing is left on the model. Safe to repeat."""
        self._close(whole=True)

    def _close(self, whole: bool) -> None:
        """``whole``: the block came to its end, and a marked recurrence is read before it moves."""
        stack, self._stack = self._stack, None
        if stack is None:
            return
        self._keeping.close()
        stack.close()
        if whole and self.backwards:
            self._recorder.following.read(self._recorder.roots, self._recorder.witness)
            try:
                recorder = self._recorder
                found = [*recorder.discovery.found.values()]
                # A loop that hands on the state of a layer that is whole need not be read.
                layers = self._fragments.whole() if any(one.covers for one in found) else set()
                found = [one for one in found if one.joint or not one.covers or one.covers - layers]
                self._own = Own.read(self._marks.values(), found, recorder.roots, recorder.witness)
            except ThroughtimeError as error:
                self._own = error

    def mark(self, state: Tensor | Sequence[Tensor], name: str) -> None:
        """Show the state of your own recurrence, once a step, in the order of time.

        ``state`` is (B S), or (S) without a batch, or a tuple of such parts, e.g. ``(h, c)``; more
        axes behind the batch, such as (B C H W), are flattened.
        """
        if self._stack is None:
            raise InputError(f"mark({name!r}) was called outside of the capture's block")
        if name not in self._marks:
            self._marks[name] = Marks(name, self._recorder.passes)
            self._recorder.marked.append(self._marks[name].stands_at)
        marks = self._marks[name]
        before = marks.states[-1] if marks.states else ()
        self._recorder.keep(marks.add(state, path_of(self._recorder.inside)))
        self._recorder.witness.marked(marks.states[-1], before)
        self._keeping.open()

    def look_ahead(self) -> None:
        """Let autograd send a few gradients the whole way back, before the first backward pass.

        ``observe`` asks for it ahead of the closure, at the cost that ``Ahead`` tells.
        """
        if self._stack is not None:
            self._ahead.open(self._stack)

    @property
    def backwards(self) -> int:
        """How many backward passes the block has run so far."""
        return self._recorder.passes.count

    @cached_property
    def trace(self) -> Trace:
        """What the block left behind, made at the first look."""
        if self._stack is not None:
            raise InputError("the trace is ready when the block has ended: leave the 'with' first")
        witness = self._recorder.witness
        count_loops(self._recorder.calls)
        chains, fragments = self._chains, self._fragments
        reached = [chain for chain in chains if chain.reached]
        names = unique_names([chain.name for chain in fragments.kept])
        traces = [
            self._ahead.told(trace, chain)
            for trace, chain in zip(layer_traces(reached, self._memory), reached, strict=True)
        ]
        layers = fragments.rows(reached, names, traces)
        known, scans = len(layers), scan_traces(self._scans.calls, self._memory)
        layers, untold = with_lengths([*layers, *scans], self._lengths)
        scans = layers[known:]
        layers = with_courses(layers[:known], fragments.kept, self._recorder.calls)
        layers = self._recorder.following.instead(layers, fragments.kept)
        if isinstance(self._own, ThroughtimeError):
            raise self._own
        links = find_links(fragments.kept, names)
        jointly = cache(partial(self._recorder.joints.traces, fragments.kept, names))
        layers, told = self._own.beside(
            layers, lambda: [*(joint.names for joint in jointly()), *stacks(links)]
        )
        layers += scans
        called = {name: one.calls for name, one in zip(names, fragments.kept, strict=True)}
        feeds = [
            *_feeds(fragments.kept, names),
            *scan_feeds(self._scans.calls, scans, called),
            *self._own.feeds(self._recorder.discovery.feeds, layers),
        ]
        if not layers:
            checked_scans(self._scans.calls, self.backwards)
            self._refuse(chains)
        return Trace(
            tuple(layers),
            links,
            (*self._notes(chains), *told, *untold, *self._padding(reached)),
            tuple(finding for layer in layers for finding in layer.findings),
            _about(layers[0]) | ({"part": True} if self._unseen else {}),
            feeds=tuple(dict.fromkeys(feeds)),
            jointly=jointly,
            sources=tuple(witness.sources),
            loss_finite=witness.loss_finite,
            facts=self._recorder.sweep.facts(self._ends(reached)),
        )

    def put_back(self) -> None:
        """Undo what the block did to parameters; not under marks, whose graph still reads them."""
        if not self._marks:
            self._recorder.sweep.put_back()

    @cached_property
    def _chains(self) -> list[Chain]:
        return find_chains(self._recorder.calls)

    @cached_property
    def _fragments(self) -> Fragments:
        return Fragments.of([chain for chain in self._chains if chain.reached])

    @cached_property
    def _unseen(self) -> list[str]:
        """What is recurrent in the model, and neither recorded nor marked, in a sentence each."""
        scripts = [
            f"{name!r} is a torch.jit script that holds a recurrence, which cannot be seen: "
            "with PYTORCH_JIT=0 in the environment it runs as Python, and is"
            for name in scripted_recurrences(self._model)
        ]
        own = [
            f"the weight {name!r} is used {uses} times, each time on what it made before: a "
            "recurrence of your own, which is not seen unless it calls throughtime.mark(state, "
            "'name') in every step"
            for name, uses in self._recorder.unseen.found(self._recorder.discovery.weights)
        ]
        return [*scripts, *self._recorder.discovery.too_short(), *own]

    def _notes(self, chains: Sequence[Chain]) -> Iterator[str]:
        """What is not in the trace, or not as the user wrote it, and why."""
        for sentence in self._unseen:
            yield f"a part of the model is measured, not all of it: {sentence}"
        if _DYNAMO in sys.modules and any(map(_is_compiled, self._model.modules())):
            yield "the model is compiled: its original ran in its place while it was captured"
        reached = {chain.name for chain in chains if chain.reached}
        for name in sorted({chain.name for chain in chains} - reached):
            yield f"no gradient came back to layer {name!r}"
        silent = {call.name: call.why_not for call in self._recorder.calls if call.why_not}
        silent |= {mark.name: mark.why_not for mark in self._marks.values() if mark.why_not}
        for name in sorted(silent.keys() - {chain.name for chain in chains}):
            yield f"no gradient could reach layer {name!r}: {silent[name]}"
        yield from scan_notes(self._scans.calls)
        replaced = self._own.replaced if isinstance(self._own, Own) else ()
        yield from self._fragments.notes(replaced)

    def _padding(self, chains: Sequence[Chain]) -> list[str]:
        """A note, and a warning, if a batch looks padded and nobody said how long it really is."""
        for chain in chains:
            first = chain.calls[0]
            if self._lengths is not None or first.lengths is not None or first.reverse:
                continue
            still = padded_sequences(torch.cat([call.inputs for call in chain.calls]))
            if still:
                note = (
                    f"the input of layer {chain.name!r} stands still at the end of {len(still)} of "
                    "its sequences, as padding does: give lengths=, or padding counts as input"
                )
                warnings.warn(note, ThroughtimeWarning, stacklevel=4)
                return [note]
        return []

    def _ends(self, chains: Sequence[Chain]) -> tuple[int, ...]:
        """Where the sequences seem to end, from the first input whose length nobody said."""
        if self._lengths is not None:
            return ()
        unsaid = (c for c in chains if c.calls[0].lengths is None and not c.calls[0].reverse)
        first = next(unsaid, None)
        return () if first is None else ends(torch.cat([call.inputs for call in first.calls]))

    def _refuse(self, chains: Sequence[Chain]) -> None:
        calls: Sequence[Call] = self._recorder.calls
        if not calls and not self._marks:
            raise self._recorder.visits.error(self._model, self._unseen)
        reason = next((c.why_not for c in calls if c.why_not), "")
        reason = reason or next((m.why_not for m in self._marks.values()), "")
        recorded = chains or any(not mark.why_not for mark in self._marks.values())
        if recorded and not self.backwards:
            reason = (
                "backward() was not called inside the capture: call loss.backward() in the block"
            )
        elif any(mark.loose for mark in self._marks.values()):
            reason = LOOSE
        elif recorded:
            reason = CUT_OFF
        name = calls[0].name if calls else next(iter(self._marks))
        raise NoGradientError(f"no gradient reached layer {name!r}: {reason}")


def mark(state: Tensor | Sequence[Tensor], name: str) -> None:
    """Show the state of your own recurrence to every capture that is open; else do nothing.

    For the ``forward`` of a model, which has no ``run`` at hand: call it once a step, in the order
    of time, and leave it there. A capture that is open in another thread does not see it.

    Args:
        state: (B S), or (S) without a batch, or a tuple of such parts, e.g. ``(h, c)``.
        name: what the recurrence is called in the trace.

    Raises:
        InputError: for something else than tensors, or a state of another shape than the first.
    """
    for run in _open.captures:
        run.mark(state, name)


def _feeds(chains: Sequence[Chain], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Which layer reads, through whatever lies between, what which other layer wrote."""
    owner = {
        id(call): name for chain, name in zip(chains, names, strict=True) for call in chain.calls
    }
    pairs = {
        (owner[id(lower)], name): None
        for chain, name in zip(chains, names, strict=True)
        for call in chain.calls
        for lower in call.reads
        if id(lower) in owner
    }
    return tuple(pair for pair in pairs if pair[0] != pair[1])


def _is_scripted(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def scripted_recurrences(model: nn.Module) -> list[str]:
    """The outermost scripts of a model in whose code a recurrent kernel or a loop stands."""
    found: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(f"{outer}.") for outer in found) or not _is_scripted(module):
            continue
        code = str(getattr(module, "inlined_graph", ""))
        if any(f"aten::{kernel}" in code for kernel in _KERNELS) or "prim::Loop" in code:
            found.append(name)
    return found


def _is_compiled(module: nn.Module) -> bool:
    """Whether this module went through ``torch.compile``, as a wrapper or in place."""
    wrapped = type(module).__name__ == "OptimizedModule"
    return wrapped or getattr(module, "_compiled_call_impl", None) is not None


def _about(layer: LayerTrace) -> dict[str, object]:
    return {
        "steps": layer.steps,
        "batch": layer.batch,
        "dtype": str(layer.states.dtype).removeprefix("torch."),
        "device": layer.states.device.type,
        "torch": torch.__version__,
    }


__all__ = ["capture", "mark"]
