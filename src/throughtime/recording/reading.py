"""What can be read off names, tensors and arguments while a model runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import module as module_hooks
from torch.utils.hooks import RemovableHandle

from throughtime.errors import NoGradientError, StateCarriedError
from throughtime.recording.calls import Call
from throughtime.recording.checks import CUT_OFF
from throughtime.recording.marks import Root

BACKWARD = {
    "backward": (torch.Tensor.backward, torch.autograd.backward),
    "grad": (torch.autograd.grad,),
}
"""torch's functions that run a backward pass, by their name."""


def leads_on(state: Tensor) -> bool:
    """Whether gradient can pass from ``state`` to a computation, and not to a mere leaf.

    ``state.detach().requires_grad_()`` is a wall, and so is a learned initial state.
    """
    node = state.grad_fn
    while node is not None and len(node.next_functions) == 1:
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            return True  # a function of Python's, such as a checkpoint: anything may be inside
        node = node.next_functions[0][0]
    return node is not None and len(node.next_functions) > 1


def module_hooks_of(
    before: Callable[..., None], after: Callable[..., None]
) -> list[RemovableHandle]:
    """Call ``before`` and ``after`` around every module that runs, anybody's."""
    return [
        module_hooks.register_module_forward_pre_hook(before),
        module_hooks.register_module_forward_hook(after, with_kwargs=True, always_call=True),
    ]


def remove(handles: list[RemovableHandle]) -> None:
    """Take these hooks away."""
    while handles:
        handle = handles.pop()
        handle.remove()
        # torch forgets to take this entry away with its hook.
        module_hooks._global_forward_hooks_with_kwargs.pop(handle.id, None)


def is_ours(thread: int, *, backward: bool) -> bool:
    """Whether it is the thread of a capture that calls a module.

    A checkpoint runs its modules again inside the ``backward`` pass: there torch has put the
    capture's mode aside, and the pass may be in a thread of torch's, which Python did not start.
    """
    if threading.get_ident() == thread:
        return True
    started = not isinstance(threading.current_thread(), threading._DummyThread)
    return backward and not started


def sequence_number() -> int:
    """The number that autograd gives to its next node: what was made before has a smaller one."""
    with torch.enable_grad():
        node = torch.zeros(1, requires_grad=True).clone().grad_fn
    assert node is not None
    return node._sequence_nr()


def made_before(states: Sequence[Tensor], number: int) -> bool:
    """Whether a state hangs on a graph that is older than ``number``."""
    nodes = (state.grad_fn for state in states)
    return any(node is not None and node._sequence_nr() < number for node in nodes)


def leaf_of(state: Tensor) -> Tensor:
    """A leaf with this value, at which a gradient can arrive; itself inside of torch.func."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return state
    return state.detach().requires_grad_()


def roots_of(args: Any, kwargs: dict[str, Any]) -> list[Root]:
    """What a backward pass starts from, each with the gradient that it starts with."""
    values = args[0] if isinstance(args[0], (tuple, list)) else (args[0],)
    names = ("gradient", "grad_tensors", "grad_outputs")  # as each of torch's functions calls it
    given = next((kwargs[name] for name in names if kwargs.get(name) is not None), None)
    given = given if isinstance(given, (tuple, list)) else (given,) * len(values)
    return list(zip(values, given, strict=True))


def why_not(output: Tensor) -> str:
    """Why autograd did not record the run that made ``output``, or an empty string."""
    if output.requires_grad:
        return ""
    if torch.is_inference_mode_enabled():
        return "it ran under torch.inference_mode()"
    if not torch.is_grad_enabled():
        return "it ran under torch.no_grad()"
    return "it is frozen: neither its weights nor its input require a gradient"


def explain(error: RuntimeError, calls: Sequence[Call], passes: int) -> None:
    """Say it in terms of the layer, where torch's own words speak of graphs and elements."""
    freed = "backward through the graph a second time" in str(error)
    moved = "modified by an inplace operation" in str(error)
    for call in calls if freed or moved else ():
        # A call that an earlier pass went through is its own reason: backward() twice.
        late = call.differentiable and call.after == passes - 1
        before = None if call.origin is None else call.origin.call
        carried = before is not None and before.after < call.after
        if late and any(call.connected) and (freed or carried):
            gone = "was freed by its backward()" if freed else "has weights that moved since"
            raise StateCarriedError(
                f"layer {call.name!r} started from a state that still hangs on the graph of an "
                f"earlier forward pass, and that graph {gone}. Cut it between windows: "
                "state = state.detach(), for LSTM tuple(s.detach() for s in state)"
            ) from error
    if "does not require grad" in str(error) and calls:
        seen = [call for call in calls if call.differentiable]
        call = (seen or calls)[0]
        reason = CUT_OFF if seen else call.why_not
        raise NoGradientError(f"no gradient reached layer {call.name!r}: {reason}") from error
