"""``tt.scan``: a scan of the user's own, put into the form by its arguments."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from throughtime.errors import InputError
from throughtime.problem import shown
from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.record import Scans
from throughtime.recording.scans.registry import Scan
from throughtime.recording.scans.stand_ins import listening


def scan(
    output: Tensor,
    *,
    decay: Tensor,
    key: Tensor | None = None,
    beta: Tensor | None = None,
    query: Tensor | None = None,
    value: Tensor | None = None,
    name: str,
) -> Tensor:
    """Show a scan of your own to every capture that is open; else do nothing.

    For the ``forward`` of a model, right after the scan; leave it there. Give the very tensors that
    the scan read and made, so that gradients of theirs can be compared. The scan is

        ``S_t = (I − β_t k_t k_tᵀ) D_t S_{t−1} + write_t``

    without the bracket where there is no ``beta``; all tensors start with the axes batch and time,
    and may have heads behind them.

    Args:
        output: what the scan made. The states themselves, (B T … ) for a diagonal recurrence and
            (B T … K V) with a ``key``; or with a ``query`` what was read from them,
            ``S_tᵀ q_t`` (B T … V).
        decay: D, multiplied with the state before: (B T …), for each key channel (B T … K), or what
            is broadcast to (B T …).
        key: k (B T … K).
        beta: β (B T …), the strength of the delta rule, which also writes ``β_t k_t v_tᵀ``.
        query: q (B T … K), as it is multiplied with the state.
        value: v (B T … V), which ``query`` needs: ``k_t v_tᵀ`` is written.
        name: what the layer is called in the trace.

    Returns:
        ``output``, as it is.

    Raises:
        InputError: for something else than tensors, or shapes that do not fit.
    """
    given = {"output": output, "decay": decay, "key": key, "beta": beta, "query": query}
    given |= {"value": value}
    _check(given)
    for listener in listening():
        if isinstance(listener, Scans) and not listener.running:
            _note(listener, given, name)
    return output


def _check(given: dict[str, Tensor | None]) -> None:
    for name, tensor in given.items():
        needed = name in ("output", "decay")
        if not isinstance(tensor, Tensor) and (needed or tensor is not None):
            raise InputError(f"scan takes a tensor as {name}, not {shown(tensor)}")
    output, key, query = given["output"], given["key"], given["query"]
    assert output is not None
    if key is None and (given["beta"] is not None or query is not None):
        raise InputError("scan: beta and query need the key that goes with them")
    if (query is None) != (given["value"] is None):
        raise InputError("scan: query and value go together: the states are made from both")
    fewest = 2 if key is None else 3
    if output.dim() < fewest or (key is not None and query is None and output.dim() < 4):
        raise InputError(
            f"scan: output has the shape {tuple(output.shape)}: batch and time come first, and "
            "states with a key have the axes K and V last"
        )
    if key is not None:
        leading = output.shape[: output.dim() - (2 if query is None else 1)]
        if key.shape[:-1] != leading:
            raise InputError(
                f"scan: key has the shape {tuple(key.shape)}, and output {tuple(output.shape)}: "
                f"key must start with {tuple(leading)}"
            )


def _note(listener: Scans, given: dict[str, Tensor | None], name: str) -> None:
    with torch.no_grad():
        call = listener.note(_Own(), _completed(given), given["output"], name)
    listener.made_by_hand(given)
    for probe in _Own.probes:
        tensor = given.get(probe)
        if tensor is not None:
            listener.watch(call, probe, tensor)


def _completed(given: dict[str, Tensor | None]) -> dict[str, Any]:
    """The arguments, and what was written where the states say it: ``S_t − J_t S_{t−1}``."""
    if given["query"] is not None:
        return dict(given)
    plain = Arguments({**given, "written": None})
    steps, states = _Own().moving(plain), _Own().arrange_states(plain)
    before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    return {**given, "written": (states - steps.carried(before)).movedim(0, 1)}


class _Own(Scan):
    """A scan that was shown by ``tt.scan``; it has no name, and no stand-in."""

    probes = ("decay", "beta", "key", "value")
    at_most = None

    def steps(self, of: Arguments) -> Steps:
        steps = self.moving(of)
        if of.get("value") is not None:
            return steps
        written, key = of.timed("written"), steps.key
        if of.get("key") is None:
            value = written.squeeze(-2)
        else:
            value = (key.unsqueeze(-1) * written).sum(-2) / key.square().sum(-1, keepdim=True)
        return Steps(steps.decay, key, value, None, steps.left, steps.right)

    def moving(self, of: Arguments) -> Steps:
        """The steps, with an empty value where what was written is not known yet."""
        decay = self._decay(of)
        if of.get("key") is None:
            one = decay.new_ones(1, 1, 1, 1)
            return Steps(decay, one, decay.new_zeros(*decay.shape[:3], 1))
        key = _heads(of.timed("key"), 1)
        left = right = None
        value = key.new_zeros(*key.shape[:3], 1)
        if of.get("value") is not None:
            value = _heads(of.timed("value"), 1)
        if of.get("beta") is not None:
            beta = _heads(of.timed("beta"), 0).unsqueeze(-1)
            left, right, value = -beta * key, decay.squeeze(-1) * key, beta * value
        query = None if of.get("query") is None else _heads(of.timed("query"), 1)
        return Steps(decay, key, value, query, left, right)

    def _decay(self, of: Arguments) -> Tensor:
        output, key, decay = of["output"], of.get("key"), of["decay"]
        leading = output.shape if key is None else key.shape[:-1]
        if decay.dim() == len(leading) + 1:
            whole = decay.expand(*leading, decay.shape[-1])
            return _heads(of.cut(whole), 1).unsqueeze(-1)
        return _heads(of.cut(torch.broadcast_to(decay, leading)), 0)[..., None, None]

    def reads_states(self, of: Arguments) -> bool:
        """Whether the output is the states themselves."""
        return of.get("query") is None

    def arrange_states(self, of: Arguments) -> Tensor:
        """The states (T B H K V), where the output is these."""
        output = of.cut(of["output"])
        if of.get("key") is None:
            return _heads(output, 0)[..., None, None]
        return _heads(output, 2)

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        moved = output.movedim(1, 0)
        if of.get("key") is None:
            return _heads(moved, 0).unsqueeze(-1)
        if self.reads_states(of):
            return _heads(moved, 2).flatten(-2)
        return _heads(moved, 1)


def _heads(tensor: Tensor, behind: int) -> Tensor:
    """All axes between time and batch in front and the last ``behind`` ones as one."""
    last = tensor.shape[tensor.dim() - behind :]
    heads = tensor.shape[2 : tensor.dim() - behind]
    return tensor.reshape(*tensor.shape[:2], math.prod(heads), *last)
