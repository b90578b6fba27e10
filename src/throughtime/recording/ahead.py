"""Before the first backward pass of a block: what only the whole graph can tell.

Probing runs backward passes of its own, so it is left out where they would be noticed: by a hook of
the user's on a tensor or a module, or by a checkpoint, which runs its modules once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from throughtime.recording import far, routes
from throughtime.recording.chains import find_chains
from throughtime.sweeps.graph import Watch
from throughtime.trace import Far, LayerTrace, Route

if TYPE_CHECKING:
    from throughtime.recording.recorder import Recorder

Found = tuple[dict[int, tuple[Far, ...]], dict[int, tuple[Route, ...]]]


def look(recorder: Recorder, watch: Watch, roots: object) -> Found:
    """The gradients that autograd sends the whole way back, and the routes past a recurrence."""
    loss = roots[0] if isinstance(roots, (tuple, list)) and roots else roots
    single = isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad
    able = bool(recorder.calls) and not recorder.hooked and not watch.packed
    if not able or _has_hooks(watch.model):
        watch.forget()
        return {}, {}
    recorder.passes.probing = watch.paused = True
    try:
        chains = find_chains(recorder.calls)
        found = far.look(chains)
        past = {}
        if single and isinstance(loss, Tensor):
            past = routes.look(chains, watch, loss)
        return found, past
    except RuntimeError:  # a reentrant checkpoint, a tensor changed in place: nothing is known
        return {}, {}
    finally:
        recorder.passes.probing = watch.paused = False
        watch.forget()


def with_routes(
    trace: LayerTrace,
    key: int,
    far_by_chain: dict[int, tuple[Far, ...]],
    routes_by_chain: dict[int, tuple[Route, ...]],
) -> LayerTrace:
    """The trace with what was found for its chain; ``key``: the id of its first call."""
    found = tuple(
        one for one in routes_by_chain.get(key, ()) if len(one.direct) == len(trace.states)
    )
    return replace(trace, far=far_by_chain.get(key, ()), routes=found)


def _has_hooks(model: nn.Module) -> bool:
    """Whether a hook waits for the backward pass of a module."""
    if module_hooks._global_backward_hooks or module_hooks._global_backward_pre_hooks:
        return True
    return any(
        module._backward_hooks or module._backward_pre_hooks
        for module in model.modules()
        if hasattr(module, "_backward_pre_hooks")
    )
