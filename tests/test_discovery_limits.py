"""What is no recurrence, what cannot be measured and says so, and what a look leaves as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_discovery import EXACT, B, H, I, T, draw
from test_discovery_ways import Net, loops, seen, start, total
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import throughtime as tt
from throughtime.trace import relative_difference


def test_attention_over_the_own_past_is_never_called_healthy_by_its_own_step() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h, past = start(), []
        for step in x:
            past.append(h)
            keys = torch.stack(past, 1)
            weights = (keys @ (step @ net.w).unsqueeze(-1)).softmax(1)
            h = torch.tanh(step @ net.w + 0.01 * h @ net.u + (weights * keys).sum(1) @ net.v)
        return h.square().mean()

    found = tt.diagnose(seen(run), 6)
    assert found.verdict == "unknown"
    assert any(finding.disease == "other routes" for finding in found.findings)


def deep(net: Net, x: Tensor) -> Tensor:
    h = x[0]
    for layer in net.extra:  # type: ignore[union-attr]
        h = h + torch.tanh(layer(h))
    return h.square().mean()


def plain_deep(net: Net, x: Tensor) -> Tensor:
    h = x[0]
    for layer in net.extra:  # type: ignore[union-attr]
        h = torch.relu(layer(h)) + 1
    return h.square().mean()


@pytest.mark.parametrize("run", [deep, plain_deep])
def test_layers_in_series_are_no_loop(run: Callable[[Net, Tensor], Tensor]) -> None:
    net = Net(run)
    net.extra = nn.ModuleList(nn.Linear(I, I).double() for _ in range(8))
    with pytest.raises(tt.NothingRecordedError):
        tt.observe(net, lambda: net(draw(T, B, I)))


def experts(net: Net, x: Tensor) -> Tensor:
    out = torch.zeros(B, H, dtype=torch.float64)
    for step in x:
        out = out + torch.tanh(step @ net.w)
    return out.square().mean()


def appended(net: Net, x: Tensor) -> Tensor:
    out = torch.zeros(B, 0, dtype=torch.float64)
    for step in x:
        out = torch.cat([out, step @ net.w], -1)
    return out.square().mean()


def stored(net: Net, x: Tensor) -> Tensor:
    out = torch.zeros(T, B, H, dtype=torch.float64)
    for t, step in enumerate(x):
        out[t] = step @ net.w
    return out.square().mean()


@pytest.mark.parametrize("run", [experts, appended, stored])
def test_a_sum_or_a_list_is_no_recurrence(run: Callable[[Net, Tensor], Tensor]) -> None:
    with pytest.raises(tt.NothingRecordedError):
        seen(run)


def test_the_same_layer_over_depth_is_told_as_the_loop_that_it_is() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h = x[0] @ net.w
        for _ in range(7):
            h = h + torch.tanh(h @ net.u)
        return h.square().mean()

    trace = seen(run)
    assert any("test_discovery_limits.py" in one and "7 iterations" in one for one in trace.notes)


def test_a_loop_of_three_steps_is_said_to_be_too_short() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h = start()
        for step in x:
            h = net.step(step, h)
        return h.square().mean()

    with pytest.raises(tt.NothingRecordedError, match="3 iterations"):
        seen(run, steps=3)


def test_windows_with_a_backward_pass_each() -> None:
    def windows(net: Net) -> Tensor:
        h = start()
        for part in draw(3 * 6, B, I).split(6):
            h, out = h.detach(), []
            for step in part:
                h = net.step(step, h)
                net.mark(h)
                out.append(h)
            loss = total(out)
            loss.backward()
        return loss

    traces = []
    for marked in (False, True):
        net = Net(lambda net, _: windows(net), marked)
        with tt.capture(net) as run:
            net(draw(1))
        traces.append(run.trace[0])
    assert traces[0].walls == traces[1].walls == (6, 12)
    assert relative_difference(traces[0].gradients, traces[1].gradients) < EXACT


def test_an_optimizer_step_in_the_block() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for step in x:
            h = net.step(step, h)
            out.append(h)
        return total(out)

    net, before = Net(run), loops(seen(run))[0]
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with tt.capture(net) as captured:
        net(draw(T, B, I)).backward()
        optimizer.step()
    assert relative_difference(captured.trace[0].gradients, before.gradients) < EXACT
    assert captured.trace[0].linear.vjp(3, start()).isfinite().all()


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_steps(reentrant: bool) -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for step in x.requires_grad_():
            h = checkpoint(net.step, step, h, use_reentrant=reentrant)
            out.append(h)
        return total(out)

    if reentrant:
        net = Net(run)
        with pytest.raises(tt.NothingRecordedError):
            tt.observe(net, lambda: net(draw(T, B, I)))
    else:
        (found,) = loops(seen(run))
        assert found.steps == T


def test_a_thread_of_its_own_is_left_alone() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        threads = [threading.Thread(target=aside, args=(net, x)) for _ in range(2)]
        for thread in threads:
            thread.start()
        result = aside(net, x)
        for thread in threads:
            thread.join()
        return result

    def aside(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for step in x:
            h = net.step(step, h)
            out.append(h)
        return total(out)

    (found,) = loops(seen(run))
    assert found.steps == T


@pytest.mark.parametrize("kind", ["plain", "dropout", "in place"])
def test_nothing_changes_bit_for_bit(kind: str) -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for step in x:
            h = net.step(step, h) * 0.9
            if kind == "dropout":
                h = nn.functional.dropout(h, 0.3)
            if kind == "in place":
                h[:, :2] *= 0.5
            out.append(h.square().mean())
        return torch.stack(out).sum()

    def result(watch: bool) -> list[Any]:
        net = Net(run)
        torch.manual_seed(7)
        if watch:
            with tt.capture(net):
                loss = net(draw(T, B, I))
                loss.backward()
        else:
            loss = net(draw(T, B, I))
            loss.backward()
        return [loss.detach(), net.w.grad, net.u.grad, torch.rand(3)]

    assert all(map(torch.equal, result(True), result(False)))


def test_a_norm_between_the_steps_of_a_cell_is_a_part_of_the_step() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h, out = start().double(), []
        for step in x:
            new = net.cell(step, h)
            net.mark(new)
            h = net.norm(new)
            out.append(h)
        return total(out)

    (found,), marked = list(seen(run)), seen(run, marked=True)["marked"]
    assert relative_difference(found.gradients, marked.gradients) < EXACT
