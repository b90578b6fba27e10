"""``Inside``: the recurrences that run in a block, each handed over before it runs.

torch's fused layers are taken apart into layers and directions, as ``throughtime.capture`` does,
and each becomes a call of ``unroll``, which the layers of ``throughtime.cells`` make themselves.
Where no gradient is recorded nothing is taken apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from throughtime.recording.kernels import FUSED, Fused, One, Ran
from throughtime.recording.unrolled import Unrolled
from throughtime.recurrences import Place, unroll
from throughtime.remedies.through_time.fused import OF_TORCH, Held, Kernel

Run = Callable[[Unrolled], Tensor]


class Inside(TorchFunctionMode):
    """While it is entered, ``run`` makes the states (T B S) of every recurrence, differentiably.

    One that is entered inside of another, or inside of a capture, hands on to it.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if torch.is_grad_enabled() and not kwargs:
            if func is unroll:
                return self._run(Unrolled(*args))
            if func in FUSED:
                fused = Fused.parse(func, args)
                return fused.run(lambda one: self._run_one(fused, one))
        return func(*args, **(kwargs or {}))

    def _run_one(self, fused: Fused, one: One) -> Ran:
        """One layer in one direction of one of torch's."""
        packed = one.packed
        pad = (lambda rows: rows) if packed is None else packed.pad
        run = Unrolled(
            OF_TORCH[FUSED[fused.function]],
            {"kernel": Held.of(Kernel.of(fused, packed))},
            pad(one.inputs),
            torch.cat(one.initial, -1),
            _by_name(one.weights, fused.has_biases),
            Place(
                (f".l{one.layer}" if fused.layers > 1 else "") + ".reverse" * one.reverse,
                one.reverse,
                None if packed is None else packed.lengths,
                None,
                one.scale if one.scale is None else pad(one.scale),
            ),
        )
        states = self._run(run)
        # Contiguous, as the kernel hands it on: a matrix product rounds another layout differently.
        outputs = states[..., : one.initial[0].shape[-1]].contiguous()
        if packed is None:
            final = states[-1]
        else:
            final = states[[length - 1 for length in packed.lengths], range(len(packed.lengths))]
            outputs = outputs[packed.mask]
        widths = [part.shape[-1] for part in one.initial]
        return Ran(outputs, tuple(part.unsqueeze(0) for part in final.split(widths, -1)))


def run_as_it_is(run: Unrolled) -> Tensor:
    """The states of a run, through ``unroll``."""
    return unroll(run.kind, run.settings, run.inputs, run.initial, run.weights, run.place)


def _by_name(weights: tuple[Tensor, ...], has_biases: bool) -> list[Tensor | None]:
    """W_ih, W_hh, b_ih, b_hh and W_hr, None for those that a layer does without."""
    matrices, biases = weights[:2], weights[2 : 4 if has_biases else 2]
    projection = weights[2 + len(biases) :]
    return [*matrices, *(biases or (None, None)), *(projection or (None,))]
