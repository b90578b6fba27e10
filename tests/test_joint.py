"""Layers that read one another, measured jointly: against the joint state by brute force."""

import dataclasses

import numpy as np
import pytest
import torch
from cases import fill, normal
from joint_models import NETS, H, I, both_ways, brute_force
from torch import Tensor, nn
from torch.nn.utils import rnn

import throughtime as tt

CLOSE = 1e-6
TWO = 2 / np.log10(2)  # from log10 of a norm to log2 of its square


@pytest.mark.parametrize("name", NETS)
def test_what_a_loss_sends_to_all_layers_is_that_of_brute_force(name: str) -> None:
    (joint,) = tt.observe(net := NETS[name](), net).joints
    reference = both_ways if joint.both_ways else brute_force
    wanted = reference(net, joint.anchors, joint.steps)
    if joint.one_sequence:
        wanted = np.logaddexp2.reduce(wanted * TWO, axis=-1, keepdims=True) / TWO
    assert joint.one_sequence == (name == "beam")
    known = ~np.isnan(joint.norms)
    np.testing.assert_allclose(joint.norms[known], wanted[known], rtol=0, atol=CLOSE)
    assert np.isneginf(wanted[~known]).all()
    assert joint.difference is not None
    assert joint.difference < CLOSE
    assert joint.far is None or joint.far < CLOSE


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("lengths", [(9, 6, 4), (4, 9, 6)], ids=str)
@pytest.mark.parametrize(
    "way", ["in one module", "through dropout", "handed over", "goes on unpacked"]
)
def test_packed_layers_are_those_of_every_sequence_alone(
    way: str, lengths: tuple[int, ...], kind: type[nn.RNNBase]
) -> None:
    """Every sequence of a packed batch, against the same sequence on its own."""
    net = Packed(kind, way)
    (joint,) = tt.observe(net, lambda: net(normal(max(lengths), 3, H), lengths)).joints
    for b, length in enumerate(lengths):
        x = normal(max(lengths), 3, H)[:length, b : b + 1]
        (own,) = tt.observe(net, lambda x=x, n=length, b=b: net(x, (n,), b)).joints
        at = {t: a for a, t in enumerate(joint.anchors)}
        rows = [at[t] for t in own.anchors]
        np.testing.assert_allclose(
            joint.norms[rows, : own.steps, b], own.norms[..., 0], rtol=0, atol=CLOSE
        )
        assert own.difference is not None
        assert own.difference < CLOSE
    assert joint.difference is not None
    assert joint.difference < CLOSE


class Packed(nn.Module):
    """Two layers over a packed batch: the upper reads the lower, or starts from its last state."""

    def __init__(self, kind: type[nn.RNNBase], way: str) -> None:
        super().__init__()
        self.way = way
        if way == "in one module":
            self.a = kind(I, H, 2, bidirectional=True)
        else:
            self.a, self.b = kind(I, H), kind(H, H)
        if way == "goes on unpacked":
            self.a = kind(H, H)
        fill(self.double(), scale=1.6)

    def forward(self, x: Tensor, lengths: tuple[int, ...], first: int = 0) -> Tensor:
        x = x[..., : self.a.input_size]
        packed = rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        y, state = self.a(packed)
        if self.way in ("handed over", "goes on unpacked"):
            layer = self.b if self.way == "handed over" else self.a
            z = layer(normal(3, 3, H, seed=4)[:, first : first + len(lengths)], state)[0]
            return z.square().sum()
        if self.way == "through dropout":
            mask = (normal(9, 3, H, seed=5) > -0.5)[:, first : first + len(lengths)]
            padded = rnn.pad_packed_sequence(y)[0]
            padded = padded * mask[: len(padded)] / 0.7
            y = self.b(
                rnn.pack_padded_sequence(padded, torch.tensor(lengths), enforce_sorted=False)
            )[0]
        return y.data.square().sum()


def test_two_stacks_that_read_nothing_of_one_another_are_two_rows() -> None:
    a, b = nn.LSTM(I, H, 2), nn.GRU(I, H, 2, bidirectional=True)
    model = fill(nn.ModuleList([a, b]).double())
    trace = tt.observe(
        model, lambda: a(normal(9, 3, I))[0].square().sum() + b(normal(7, 3, I))[0].square().sum()
    )
    assert sorted(len(joint.names) for joint in trace.joints) == [2, 4]
    rows = [one for one in tt.diagnose(trace, 3).layers if one.kind == "stack"]
    assert [one.verdict for one in rows] != ["unknown", "unknown"]


def test_a_chain_of_detached_layers_is_not_joined() -> None:
    a, b = nn.LSTM(I, H), nn.LSTM(H, H)
    model = fill(nn.ModuleList([a, b]).double())

    def closure() -> Tensor:
        y = a(normal(9, 3, I))[0]
        return b(y.detach())[0].square().sum() + y.square().sum()

    assert tt.observe(model, closure).joints == ()


def test_the_gradients_that_a_user_keeps_are_left_alone() -> None:
    a, b, norm = nn.LSTM(I, H), nn.LSTM(H, H), nn.LayerNorm(H)
    model = fill(nn.ModuleList([a, b, norm]).double())

    def run() -> list[Tensor]:
        y = a(normal(9, 3, I))[0]
        z = norm(y)
        kept = [y, z]
        for one in kept:
            one.retain_grad()
        b(z)[0].square().sum().backward()
        return [one.grad for one in kept if one.grad is not None]

    plain = run()
    with tt.capture(model) as captured:
        seen = run()
    assert captured.trace.joints
    assert all(map(torch.equal, plain, seen))


class Series(nn.Module):
    """A layer that forgets nothing below one that forgets at once, with something in between."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.a, self.between, self.b = nn.LSTM(I, H), between, nn.LSTM(H, H)
        fill(self.double())
        with torch.no_grad():
            self.a.bias_hh_l0[H : 2 * H] += 8

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)[0]
        return self.b(y + self.between(y))[0].square().sum()


@pytest.mark.parametrize(
    "between", [nn.Dropout(0.3), nn.LayerNorm(H), nn.Linear(H, H), nn.ReLU()], ids=str
)
def test_layers_in_series_are_judged_by_their_joint_gain(between: nn.Module) -> None:
    model, x = Series(between), normal(24, 3, I)
    diagnosis = tt.diagnose(trace := tt.observe(model, lambda: model(x)), 20)
    verdicts = {one.name: one.verdict for one in diagnosis.layers}
    assert verdicts == {"a": "healthy", "b": "vanishing", "a + b": "healthy"}
    assert (diagnosis.verdict, diagnosis.decided_by) == ("healthy", "a + b")
    np.testing.assert_array_equal(tt.measures.lags(trace).values, trace.joints[0].norms)
    row = next(one for one in diagnosis.layers if one.name == "a + b")
    assert row.verified is not None
    assert row.verified < CLOSE


def test_a_joint_measure_that_failed_its_check_decides_nothing() -> None:
    model, x = Series(nn.LayerNorm(H)), normal(24, 3, I)
    trace = tt.observe(model, lambda: model(x))
    wrong = dataclasses.replace(trace.joints[0], difference=0.1)
    diagnosis = tt.diagnose(dataclasses.replace(trace, jointly=lambda: (wrong,)), 20)
    assert [one.name for one in diagnosis.layers if one.kind == "stack"] == []


def test_an_anchor_that_was_not_followed_is_refused() -> None:
    model, x = Series(nn.LayerNorm(H)), normal(40, 3, I)
    trace = tt.observe(model, lambda: model(x))
    assert len(trace.joints[0].anchors) == 16
    with pytest.raises(tt.InputError, match="was followed through all layers"):
        tt.measures.lags(trace, anchors=[1])


def test_two_losses_on_one_pass_add_up() -> None:
    model, x = Series(nn.LayerNorm(H)), normal(12, 3, I)

    def closure() -> Tensor:
        y = model.a(x)[0]
        model.b(model.between(y))[0].square().sum().backward(retain_graph=True)
        loss = y.square().sum()
        loss.backward()
        return loss

    (joint,) = tt.observe(model, closure).joints
    assert joint.difference is not None
    assert joint.difference < CLOSE


class Attending(nn.Module):
    """An encoder, and a cell that attends to all its states and starts from the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.GRU(4, 4, batch_first=True), nn.GRUCell(8, 4)
        self.double()

    def forward(self, x: Tensor, steps: int) -> Tensor:
        states, final = self.encoder(x)
        h, out = final[0], []
        for _ in range(steps):
            weights = (states @ h.unsqueeze(-1)).softmax(1)
            h = self.cell(torch.cat([(weights * states).sum(1), h], -1), h)
            out.append(h)
        return torch.stack(out, 1)


def test_a_decoder_that_attends_is_judged_by_its_joint_gain_with_the_encoder() -> None:
    torch.manual_seed(0)
    net, x = Attending(), torch.randn(3, 9, 4, dtype=torch.float64)
    found = tt.diagnose(net, lambda: net(x, 6).square().mean())
    assert found.decided_by == "encoder + cell"
    assert [one.kind for one in found.layers] == ["GRU", "GRU", "stack"]
    assert not any(one.disease == "check failed" for one in found.findings)
    (assumed,) = [one for one in found.findings if one.disease == "assumed span"]
    assert assumed.evidence["span_steps"] == found.span == 9 + 6 - 1
