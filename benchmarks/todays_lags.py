"""The lag matrix of an LSTM, log10 ‖∂L_t/∂s_k‖, by the ways that torch itself offers.

Each way has two halves, timed apart: ``prepare`` runs the network and keeps what the derivatives
need; ``sweep`` turns that into the norms, axes (anchor t, time k, batch), NaN where k > t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import throughtime as tt
from benchmarks.networks import Task
from benchmarks.todays_ways import cell_with_weights_of, lstm_on_preactivations


@dataclass(frozen=True)
class LagWay:
    """``part``: of what it gives the norm, ``"s"`` for the whole state (h, c)."""

    prepare: Callable[[], Any]
    sweep: Callable[[Any], Tensor]
    part: str = "s"


def throughtime(task: Task, part: str = "s", floor: float | None = None) -> LagWay:
    """A captured training step and its trace; then the sweep of all anchors at once."""

    def prepare() -> tt.Trace:
        with tt.capture(task.model) as run:
            task.step()
        return run.trace

    def sweep(trace: tt.Trace) -> Tensor:
        anchors = list(range(task.size.steps))
        measured = tt.measures.lags(trace, anchors=anchors, part=part, floor=floor)
        return torch.from_numpy(measured.values)

    return LagWay(prepare, sweep, part)


def grad_per_anchor(task: Task) -> LagWay:
    """A loop over the cell, then one ``autograd.grad`` for each anchor, back to all its states."""

    def sweep(graph: tuple[Tensor, list[tuple[Tensor, Tensor]]]) -> Tensor:
        losses, states = graph
        norms = _blank(task, losses)
        for t, loss in enumerate(losses):
            wanted = [part for state in states[: t + 1] for part in state]
            found = torch.autograd.grad(
                loss, wanted, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            norms[t, : t + 1] = _log_norm(torch.stack(found).unflatten(0, (-1, 2)), (1, 3))
        return norms

    return LagWay(lambda: _loop(task), sweep)


def batched_grad(task: Task) -> LagWay:
    """The same loop, then one ``autograd.grad`` for all anchors, ``is_grads_batched=True``.

    It holds the gradients of all anchors at all steps at once: T² B S numbers.
    """

    def sweep(graph: tuple[Tensor, list[tuple[Tensor, Tensor]]]) -> Tensor:
        losses, states = graph
        wanted = [part for state in states for part in state]
        found = torch.autograd.grad(
            losses,
            wanted,
            torch.eye(len(losses), dtype=losses.dtype),
            retain_graph=True,
            is_grads_batched=True,
            allow_unused=True,
            materialize_grads=True,
        )
        norms = _blank(task, losses)
        for k in range(len(states)):
            # The last c reaches no loss, and its zeros come back without the axis of anchors.
            both = torch.stack(
                [one.expand(len(losses), -1, -1) for one in found[2 * k : 2 * k + 2]]
            )
            norms[k:, k] = _log_norm(both[:, k:], (0, 3))
        return norms

    return LagWay(lambda: _loop(task), sweep)


def fused_grad_per_anchor(task: Task) -> LagWay:
    """One ``autograd.grad`` through the fused kernel for each anchor, on an identity block: h only.

    The gradient of its pre-activations times W_hh is ∂L_t/∂h_k for k < t; at k = t it is direct.
    """
    rnn, fused = task.model.rnn, lstm_on_preactivations(task)

    def prepare() -> tuple[Tensor, Tensor, Tensor]:
        preactivations = nn.functional.linear(
            task.inputs, rnn.weight_ih_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0
        )
        outputs, _ = fused(preactivations)
        return task.losses(task.model.head(outputs)), preactivations, outputs

    def sweep(graph: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        losses, preactivations, outputs = graph
        weight, norms = rnn.weight_hh_l0.detach(), _blank(task, losses)
        for t, loss in enumerate(losses):
            direct, adjoint = torch.autograd.grad(
                loss, (outputs, preactivations), retain_graph=True
            )
            earlier = adjoint[1 : t + 1] @ weight
            norms[t, : t + 1] = _log_norm(torch.cat([earlier, direct[t : t + 1]]), -1)
        return norms

    return LagWay(prepare, sweep, "h")


def _loop(task: Task) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The loss of each step (T), and the states (h, c) that they hang on."""
    cell = cell_with_weights_of(task.model.rnn)
    states: list[tuple[Tensor, Tensor]] = []
    state = None
    for x in task.inputs:
        h, c = cell(x, state)
        # A view, because h was computed from c: what comes back to it is ∂L/∂c_t beside h_t.
        state = h, c.view_as(c)
        states.append(state)
    return task.losses(task.model.head(torch.stack([h for h, _ in states]))), states


def _blank(task: Task, like: Tensor) -> Tensor:
    steps, batch = task.size.steps, task.size.batch
    return torch.full((steps, steps, batch), torch.nan, dtype=torch.float64, device=like.device)


def _log_norm(values: Tensor, over: int | tuple[int, ...]) -> Tensor:
    return torch.linalg.vector_norm(values, dim=over).double().log10()
