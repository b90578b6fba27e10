"""Loops that read one another, or a recorded layer, or that the user shows as a scan."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt

T, B, H = 12, 3, 4


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Net(nn.Module):
    """Two recurrences by hand, and a GRU; ``run`` says who reads whom."""

    def __init__(self, run: Callable[["Net", Tensor], Tensor], scale: float) -> None:
        super().__init__()
        self.run, self.gru = run, nn.GRU(H, H)
        self.w, self.u, self.a, self.b = (nn.Linear(H, H) for _ in range(4))
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(scale * torch.randn(weight.shape, generator=draw))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)

    def lower(self, x: Tensor) -> Tensor:
        h, out = torch.zeros(B, H, dtype=x.dtype), []
        for step in x:
            h = torch.tanh(self.w(h) + self.u(step))
            out.append(h)
        return torch.stack(out)

    def upper(self, x: Tensor) -> Tensor:
        h, out = torch.zeros(B, H, dtype=x.dtype), []
        for step in x:
            h = torch.tanh(self.a(h) + self.b(step))
            out.append(h)
        return torch.stack(out)


WIRINGS: dict[str, tuple[Callable[[Net, Tensor], Tensor], set[tuple[str, str]]]] = {
    "loop over loop": (lambda net, x: net.upper(net.lower(x)), {("lower", "upper")}),
    "loop over layer": (lambda net, x: net.lower(net.gru(x)[0]), {("gru", "lower")}),
    "layer over loop": (lambda net, x: net.gru(net.lower(x))[0], {("lower", "gru")}),
    "through a norm": (
        lambda net, x: net.upper(nn.functional.layer_norm(net.lower(x), [H])),
        {("lower", "upper")},
    ),
    "side by side": (lambda net, x: net.upper(x) + net.lower(x), set()),
    "from the last state": (
        lambda net, x: net.upper(x + net.lower(x)[-1]),
        {("lower", "upper")},
    ),
    "a sum of both": (
        lambda net, x: net.upper(net.lower(x) + net.gru(x)[0]),
        {("lower", "upper"), ("gru", "upper")},
    ),
    "detached": (lambda net, x: net.upper(net.lower(x).detach()) + net.lower(x), set()),
}


def base(name: str) -> str:
    return name.partition(":")[0]


@pytest.mark.parametrize("name", WIRINGS)
def test_who_reads_whom_is_known(name: str) -> None:
    run, right = WIRINGS[name]
    net, x = Net(run, 0.5), normal(T, B, H)
    trace = tt.observe(net, lambda: net(x).square().mean())
    assert {(base(lower), base(upper)) for lower, upper in trace.feeds} == right


def reached(net: Net, x: Tensor) -> float:
    """log10 of the median gain at the inputs, T − 1 steps back, relative to one step back."""
    given = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(given)[-1].square().sum(), given)
    norms = gradient.norm(dim=-1).log10()
    return float((norms[0] - norms[-2]).median())


@pytest.mark.parametrize("scale", [0.62, 0.5, 0.05])
def test_loops_in_series_that_fade_alone_are_judged_by_what_reaches_the_inputs(
    scale: float,
) -> None:
    net, x = Net(WIRINGS["loop over loop"][0], scale), normal(T, B, H)
    found = tt.diagnose(net, lambda: net(x).square().mean())
    assert [one.verdict for one in found.layers if one.kind == "loop"] == ["vanishing"] * 2
    assert found.verdict == ("healthy" if reached(net, x) >= -2 else "vanishing")
    assert found.decided_by == "the whole model"
    assert not any(one.disease == "series" for one in found.findings)


def test_where_the_loss_is_not_read_off_the_output_the_inputs_decide_nothing() -> None:
    net, x = Net(lambda net, x: net.upper(net.lower(x)).square().mean(), 0.62), normal(T, B, H)
    found = tt.diagnose(net, lambda: net(x))
    assert (found.verdict, [one.disease for one in found.findings].count("series")) == (
        "unknown",
        1,
    )


class Shown(nn.Module):
    """A diagonal recurrence by hand over a loop by hand; the first is shown as a scan."""

    def __init__(self, readout: bool) -> None:
        super().__init__()
        self.readout, self.cell = readout, nn.GRUCell(H, H)
        self.decay, self.value, self.key, self.query = (nn.Linear(H, H) for _ in range(4))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        h, below = x.new_zeros(B, H), []
        for step in x:
            h = torch.tanh(self.cell(step, h))
            below.append(h)
        return self.scan(torch.stack(below, 1)).square().mean()

    def scan(self, x: Tensor) -> Tensor:
        decay, value, key, query = (
            self.decay(x).sigmoid(),
            self.value(x),
            self.key(x),
            self.query(x),
        )
        out = []
        if not self.readout:
            state = x.new_zeros(B, H)
            for t in range(T):
                state = decay[:, t] * state + value[:, t]
                out.append(state)
            return tt.scan(torch.stack(out, 1), decay=decay, name="shown")
        memory = x.new_zeros(B, H, H)
        for t in range(T):
            memory = decay[:, t, :, None] * memory + key[:, t, :, None] * value[:, t, None]
            out.append((memory * query[:, t, :, None]).sum(1))
        output = torch.stack(out, 1)
        return tt.scan(output, decay=decay, key=key, query=query, value=value, name="shown")


@pytest.mark.parametrize("readout", [False, True])
def test_a_loop_that_is_shown_as_a_scan_is_no_row_of_its_own(readout: bool) -> None:
    net, x = Shown(readout), normal(T, B, H)
    trace = tt.observe(net, lambda: net(x))
    assert sorted(layer.kind for layer in trace) == ["GRU", "scan"]
    assert [layer.steps for layer in trace] == [T, T]
