"""``tt.scan``: a scan of the user's own, shown by its arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt

B, T, K, V = 2, 7, 3, 4


class Own(nn.Module):
    """``S_t = (I − β k kᵀ) a S_{t−1} + β k vᵀ`` in a loop; ``shown``: what ``tt.scan`` is given."""

    def __init__(self, shown: str, heads: tuple[int, ...] = ()) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(1)

        def parameter(*shape: int) -> nn.Parameter:
            values = torch.randn(B, T, *heads, *shape, generator=draw, dtype=torch.float64)
            return nn.Parameter(values / 2)

        self.shown, self.kept = shown, list[Tensor]()
        self.q, self.k, self.v, self.a, self.b = map(parameter, (K, K, V, K, 1))

    def forward(self) -> Tensor:
        decay, beta = self.a.sigmoid(), self.b.squeeze(-1).sigmoid()
        if self.shown == "diagonal":
            state, states = torch.zeros_like(decay[:, 0]), []
            for t in range(T):
                state = (decay[:, t] * state + self.k[:, t]).clone()
                states.append(state)
            self.kept = states
            return tt.scan(torch.stack(states, 1), decay=decay, name="own")
        matrix = torch.zeros(*self.k[:, 0].shape, V, dtype=torch.float64)
        self.kept, outputs = [], []
        for t in range(T):
            k, strength = self.k[:, t], beta[:, t, ..., None, None]
            matrix = decay[:, t, ..., None] * matrix
            written = self.v[:, t, ..., None, :] - k.unsqueeze(-2) @ matrix
            matrix = (matrix + strength * k.unsqueeze(-1) * written).clone()
            self.kept.append(matrix)
            outputs.append((self.q[:, t].unsqueeze(-2) @ matrix).squeeze(-2))
        known = {"decay": decay, "key": self.k, "beta": beta, "name": "own"}
        if self.shown == "states":
            return tt.scan(torch.stack(self.kept, 1), **known)
        return tt.scan(torch.stack(outputs, 1), query=self.q, value=self.v, **known)


@pytest.mark.parametrize("shown", ["diagonal", "states", "output"])
@pytest.mark.parametrize("heads", [(), (2,)])
def test_gradients_are_autograds(shown: str, heads: tuple[int, ...]) -> None:
    model = Own(shown, heads)
    layer = tt.observe(model, lambda: model().sin().sum())["own"]
    loss = model().sin().sum()
    truth = torch.stack([g.flatten(1) for g in torch.autograd.grad(loss, model.kept)])
    torch.testing.assert_close(layer.gradients, truth)
    assert layer.kind == "scan"
    assert not layer.spoilt
    assert layer.verified is not None
    assert layer.verified < 1e-10


def test_a_wrong_argument_shows() -> None:
    class Lying(Own):
        def forward(self) -> Tensor:
            output = super().forward()
            return tt.scan(output, decay=self.a.tanh(), name="lie")

    model = Lying("diagonal")
    trace = tt.observe(model, lambda: model().sin().sum())
    assert trace["lie"].verified is None or trace["lie"].verified > 1e-3


def test_without_a_capture_it_is_the_output() -> None:
    output = torch.zeros(2, 3, 4)
    assert tt.scan(output, decay=torch.ones(4), name="nothing") is output


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no tensor": ({"decay": 0.9}, "a tensor as decay"),
    "beta without a key": ({"beta": torch.ones(2, 3)}, "need the key"),
    "query without a value": (
        {"key": torch.ones(2, 3, 4), "query": torch.ones(2, 3, 4)},
        "go together",
    ),
    "a key of another shape": (
        {"key": torch.ones(1, 3, 4), "query": torch.ones(1, 3, 4), "value": torch.ones(2, 3, 4)},
        "key must start with",
    ),
    "no axes for states": ({"key": torch.ones(2, 3, 4)}, "K and V last"),
}


@pytest.mark.parametrize(("more", "words"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused(more: dict[str, Any], words: str) -> None:
    arguments = {"decay": torch.ones(2, 3, 4), "name": "own"} | more
    with pytest.raises(tt.InputError, match=words):
        tt.scan(torch.zeros(2, 3, 4), **arguments)
