"""``Recorder``: every recurrent kernel that runs inside a capture becomes a ``Call``.

The user's module is not touched. A ``TorchFunctionMode`` sees the kernels where Python hands them
to torch; global module hooks, which live outside the model, say which module is running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from throughtime.capture.calls import Call, Snapshots
from throughtime.capture.checks import check_input
from throughtime.capture.kernels import CELLS, FUSED, Fused, One, Ran
from throughtime.errors import StateCarriedError

_BACKWARD = (torch.Tensor.backward, torch.autograd.backward, torch.autograd.grad)
_BACKWARD_NAMES = {function.__name__ for function in _BACKWARD}


class Recorder(TorchFunctionMode):
    """Records the calls of ``model``'s recurrent layers while it is entered."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.backwards = 0
        self.keep_graph = False
        self.roots: list[Tensor] = []
        self._names = {id(module): name for name, module in model.named_modules()}
        self._keep = model
        self._running: list[nn.Module] = []
        self._first: list[int] = []
        self._snapshots = Snapshots()
        self._handles: list[RemovableHandle] = []
        self._thread = threading.get_ident()

    def attach(self, stack: ExitStack) -> None:
        """Enter, and leave when ``stack`` is closed: nothing stays behind, whatever happens."""
        self._thread = threading.get_ident()
        stack.callback(self._detach)
        self._handles += [
            module_hooks.register_module_forward_pre_hook(self._before),
            module_hooks.register_module_forward_hook(self._after, always_call=True),
        ]
        stack.enter_context(self)

    def _detach(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if threading.get_ident() != self._thread or id(module) not in self._names:
            return
        self._running.append(module)
        self._first.append(len(self.calls))
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)) and args:
            check_input(module, self._name(module), args[0])

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not self._running or self._running[-1] is not module:
            return
        self._running.pop()
        first = self._first.pop()
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
        name = getattr(func, "__name__", "")
        if name in _BACKWARD_NAMES and func in _BACKWARD:
            return self._backward(func, args, kwargs)
        if self._running and not kwargs:
            if func in FUSED:
                return self._fused(Fused.parse(func, args))
            if func in CELLS:
                return self._cell(func, *args)
        return func(*args, **kwargs)

    def _backward(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """One backward pass; torch hands the arguments over as keywords."""
        self.backwards += 1
        if self.keep_graph:
            kwargs = {**kwargs, "retain_graph": True}
            for root in args[0] if isinstance(args[0], (tuple, list)) else (args[0],):
                self.roots.append(root)
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if "backward through the graph a second time" in str(error):
                self._explain_second_backward(error)
            raise

    def _explain_second_backward(self, error: RuntimeError) -> None:
        for call in self.calls:
            if call.connected and call.differentiable:
                raise StateCarriedError(
                    f"layer {call.name!r} started from a state that still hangs on the graph of an "
                    "earlier forward pass, and that graph was freed by its backward(). Cut it "
                    "between windows: state = state.detach(), for LSTM "
                    "tuple(s.detach() for s in state)"
                ) from error

    def _name(self, module: nn.Module) -> str:
        return self._names[id(module)] or type(module).__name__.lower()

    def _fused(self, fused: Fused) -> tuple[Tensor, ...]:
        name, kind = self._name(self._running[-1]), FUSED[fused.function]

        def run_one(one: One) -> Ran:
            where = name + (f".l{one.layer}" if fused.layers > 1 else "")
            where += ".reverse" if one.reverse else ""
            return self._run(where, kind, fused, one)

        return fused.run(run_one)

    def _run(self, name: str, kind: str, fused: Fused, one: One) -> Ran:
        initial, weights = self._aliases(one)
        ran = fused.run_one(one._replace(initial=initial, weights=weights))
        pad = (lambda data: data) if one.packed is None else one.packed.pad
        inputs, outputs = one.inputs.detach(), ran.outputs.detach()
        call = Call(
            name,
            kind,
            tuple(self._snapshots.take(weight) for weight in one.weights),
            fused.has_biases,
            pad(inputs),
            pad(outputs),
            tuple(part.detach() for part in one.initial),
            tuple(part[0].detach() for part in ran.final),
            connected=any(part.requires_grad for part in one.initial),
            differentiable=ran.outputs.requires_grad,
            why_not=_why_not(ran.outputs),
            reverse=one.reverse,
            lengths=None if one.packed is None else one.packed.lengths,
            scale=one.scale if one.scale is None else pad(one.scale),
            versions=((inputs, inputs._version), (outputs, outputs._version)),
        )
        self._watch(call, ran.outputs, ran.final, initial, weights[1], pad)
        return ran

    def _cell(self, func: Callable[..., Any], x: Tensor, hx: Any, *weights: Tensor | None) -> Any:
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        given = tuple(weight for weight in weights if weight is not None)
        one = One(0, False, x.unsqueeze(0), None, states, given, None)
        initial, aliased = self._aliases(one)
        passed = [*aliased, *(None for _ in weights[len(aliased) :])]
        result = func(x, initial[0] if isinstance(hx, Tensor) else initial, *passed)
        # torch makes h from the very c that it returns: an alias of c gets the user's uses alone.
        final = (
            (result,) if isinstance(result, Tensor) else (result[0], result[1].view_as(result[1]))
        )
        inputs, outputs = x.detach(), final[0].detach()
        call = Call(
            self._name(self._running[-1]),
            CELLS[func],
            tuple(self._snapshots.take(weight) for weight in given),
            len(given) > 2,
            inputs.unsqueeze(0),
            outputs.unsqueeze(0),
            tuple(part.detach() for part in states),
            tuple(part.detach() for part in final),
            connected=any(part.requires_grad for part in states),
            differentiable=final[0].requires_grad,
            why_not=_why_not(final[0]),
            fused=False,
            versions=((inputs, inputs._version), (outputs, outputs._version)),
        )
        self._watch(call, None, final, initial, aliased[1])
        return result if isinstance(result, Tensor) else final

    def _aliases(self, one: One) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Views of the initial state and of W_hh, so that a hook sees the gradient of this call.

        A frozen W_hh under a gradient that flows anyway gets one too, for the check alone: it is
        a view of a detached tensor, and the user's ``.grad`` stays as it is.
        """
        initial = tuple(p.view_as(p) if p.requires_grad else p for p in one.initial)
        weight = one.weights[1]
        flows = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (one.inputs, *one.initial, *one.weights)
        )
        if flows and not weight.requires_grad:
            weight = weight.detach().requires_grad_()
        return initial, (one.weights[0], weight.view_as(weight), *one.weights[2:])

    def _watch(
        self,
        call: Call,
        outputs: Tensor | None,
        final: tuple[Tensor, ...],
        initial: tuple[Tensor, ...],
        weight: Tensor,
        pad: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.calls.append(call)
        if outputs is not None:
            self._handles += call.watch(outputs, "output", pad)
        for slot, part in zip(("h", "c"), final, strict=False):
            self._handles += call.watch(part, slot)
        for slot, part in zip(("h0", "c0"), initial, strict=False):
            self._handles += call.watch(part, slot)
        self._handles += call.watch(weight, "W")


def _why_not(output: Tensor) -> str:
    """Why autograd did not record the run that made ``output``, or an empty string."""
    if output.requires_grad:
        return ""
    if torch.is_inference_mode_enabled():
        return "it ran under torch.inference_mode()"
    if not torch.is_grad_enabled():
        return "it ran under torch.no_grad()"
    return "it is frozen: neither its weights nor its input require a gradient"
