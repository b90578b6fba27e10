"""The state's gain by every route, against autograd through a loop written out by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import throughtime as tt

T, B, H = 10, 3, 4
CLOSE = 1e-6  # decades


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attention(h: Tensor) -> Tensor:
    """Every step looks at all before it and at itself (B T H)."""
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = (h @ h.transpose(1, 2)).masked_fill(later, -torch.inf)
    return h + scores.softmax(-1) @ h


def running_mean(h: Tensor) -> Tensor:
    return h.cumsum(1) / torch.arange(1, T + 1)[:, None]


def skip(h: Tensor) -> Tensor:
    """Every step also reads the one three before it."""
    return h + nn.functional.pad(h, (0, 0, 3, 0))[:, :-3]


AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    "attention": attention,
    "running mean": running_mean,
    "skip": skip,
}


class Net(nn.Module):
    """A tanh layer, what ``after`` makes of its outputs, and a read-out at every step."""

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rnn, self.after, self.head = nn.RNN(H, H, batch_first=True), after, nn.Linear(H, 2)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(0.4 * torch.randn(weight.shape, generator=draw))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.after(self.rnn(x)[0]))
        return out

    def by_hand(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """All states, and the output."""
        rnn, states, h = self.rnn, [], x.new_zeros(B, H)
        for step in x.unbind(1):
            drive = step @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + rnn.bias_hh_l0
            h = torch.tanh(drive + h @ rnn.weight_hh_l0.T)
            states.append(h)
        return states, self.head(self.after(torch.stack(states, 1)))


def by_brute_force(net: Net, x: Tensor, anchors: list[int]) -> np.ndarray:
    """log10 ‖∂L_t/∂h_{t−k}‖ over ‖∂L_t/∂h_t‖, by every route (samples, lag)."""
    rows = []
    states, output = net.by_hand(x)
    for t in anchors:
        sent = 2 * output[:, t].detach()  # of the squared error
        found = torch.autograd.grad((output[:, t] * sent).sum(), states[: t + 1], retain_graph=True)
        norms = torch.stack([one.norm(dim=-1) for one in found]).log10()  # (t + 1, B)
        row = np.full((B, T), np.nan)
        row[:, : t + 1] = (norms.flip(0) - norms[-1]).T.numpy()
        rows.append(row)
    return np.concatenate(rows)


@pytest.mark.parametrize("name", AFTER)
def test_the_gain_by_every_route_is_that_of_autograd(name: str) -> None:
    net, x = Net(AFTER[name]), normal(B, T, H)
    trace = tt.observe(net, lambda: net(x).square().sum())
    found = tt.measures.routes(trace, quantiles=[0.5])
    anchors = [route.anchor for route in trace["rnn"].routes]
    truth = by_brute_force(net, x, anchors)
    for lag, value in enumerate(np.asarray(found.values)[1, 0]):
        known = np.sort(truth[:, lag][~np.isnan(truth[:, lag])])
        assert abs(value - known[round((len(known) - 1) / 2)]) < CLOSE
    assert max(anchors) == T - 1


@pytest.mark.parametrize("name", AFTER)
def test_the_recurrence_alone_is_what_a_plain_read_out_shows(name: str) -> None:
    net, x = Net(AFTER[name]), normal(B, T, H)
    trace = tt.observe(net, lambda: net(x).square().sum())
    alone = np.asarray(tt.measures.routes(trace, quantiles=[0.5]).values)[0, 0]
    assert alone[0] == 0
    every = np.asarray(tt.measures.routes(trace, quantiles=[0.5]).values)[1, 0]
    assert every[-1] > alone[-1] + 0.1


def test_a_plain_read_out_has_no_other_route() -> None:
    net, x = Net(lambda h: h), normal(B, T, H)
    trace = tt.observe(net, lambda: net(x).square().sum())
    assert trace["rnn"].routes == ()
    with pytest.raises(tt.InputError, match="through the recurrence alone"):
        tt.measures.routes(trace)


def test_the_diagnosis_says_that_more_arrives_than_the_recurrence_carries() -> None:
    net, x = Net(running_mean), normal(B, T, H)
    found = tt.diagnose(net, lambda: net(x).square().sum())
    (note,) = [one for one in found.findings if one.disease == "every route"]
    assert note.evidence["log10_gain_every_route"] > note.evidence["log10_gain_recurrence"] + 0.1
    assert found.verdict == "vanishing"
    assert "through the recurrence" in found.sentence
    assert note.sentence in found.sentence


def test_the_lower_layer_of_a_stack_is_measured_jointly_and_not_by_routes() -> None:
    net, x = nn.GRU(H, H, num_layers=2, batch_first=True).double(), normal(B, T, H)
    trace = tt.observe(net, lambda: net(x)[0].square().sum())
    assert [layer.routes for layer in trace] == [(), ()]
