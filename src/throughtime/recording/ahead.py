"""Before the first backward pass of a block: what only the whole graph can tell.

Probing runs backward passes of its own, so it is left out where they would be noticed: by a hook of
the user's on a tensor or a module, or by a checkpoint, which runs its modules once more.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from throughtime.recording import far, routes
from throughtime.recording.chains import Chain, find_chains
from throughtime.sweeps.graph import Watch
from throughtime.trace import Far, LayerTrace, Route

if TYPE_CHECKING:
    from throughtime.recording.recorder import Recorder


class Ahead:
    """What autograd sends the whole way back, and the routes past a recurrence.

    It costs about as much as two backward passes, and one for each loss step that reaches a state
    by another way than its recurrence.
    """

    def __init__(self, recorder: Recorder, model: nn.Module) -> None:
        self._recorder, self._watch = recorder, Watch(model)
        self._far: dict[int, tuple[Far, ...]] = {}
        self._routes: dict[int, tuple[Route, ...]] = {}

    def open(self, stack: ExitStack) -> None:
        """Watch the modules until ``stack`` is closed, and look before the first backward pass."""
        self._recorder.ahead = self._look
        self._recorder.joints.thorough = True
        stack.enter_context(self._watch)

    def _look(self, roots: object) -> None:
        passes, watch = self._recorder.passes, self._watch
        try:
            if not self._recorder.calls or passes.hooked or watch.packed or _has_hooks(watch.model):
                return
            passes.probing = watch.paused = True
            chains = find_chains(self._recorder.calls)
            self._far = far.look(chains)
            loss = roots[0] if isinstance(roots, (tuple, list)) and roots else roots
            if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
                self._routes = routes.look(chains, watch, loss)
        except RuntimeError:  # a reentrant checkpoint, a tensor changed in place
            self._far, self._routes = {}, {}
        finally:
            passes.probing = watch.paused = False
            watch.forget()

    def told(self, trace: LayerTrace, chain: Chain) -> LayerTrace:
        """The trace with what was found for its chain."""
        key = id(chain.calls[0])
        past = [one for one in self._routes.get(key, ()) if len(one.direct) == len(trace.states)]
        return replace(trace, far=self._far.get(key, ()), routes=tuple(past))


def _has_hooks(model: nn.Module) -> bool:
    """Whether a hook waits for the backward pass of a module."""
    if module_hooks._global_backward_hooks or module_hooks._global_backward_pre_hooks:
        return True
    return any(
        module._backward_hooks or module._backward_pre_hooks
        for module in model.modules()
        if hasattr(module, "_backward_pre_hooks")
    )
