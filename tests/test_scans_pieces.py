"""A scan over pieces of a sequence, each from the state that the one before left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scan_references as cores
import torch
from torch import Tensor, nn

import throughtime as tt

B, T = 2, 20


class InPieces(nn.Module):
    """A gated delta rule over pieces of the sequence, with ``between`` on the state."""

    def __init__(self, cut: int, between: Callable[[Tensor], Tensor] = lambda state: state) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(6)
        shapes = [(B, T, 2, 3), (B, T, 2, 3), (B, T, 2, 4), (B, T, 2), (B, T, 2)]
        drawn = [torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in shapes]
        self.parts = nn.ParameterList([*drawn[:3], -drawn[3].sigmoid(), drawn[4].sigmoid()])
        self.cut, self.between = cut, between

    def forward(self) -> Tensor:
        state, outputs = None, []
        for piece in zip(*(part.split(self.cut, 1) for part in self.parts), strict=True):
            state = None if state is None else self.between(state)
            output, state = cores.torch_chunk_gated_delta_rule(
                *piece, initial_state=state, output_final_state=True
            )
            outputs.append(output)
        return torch.cat(outputs, 1).sin().sum()


def test_a_call_continues_another_from_whose_last_state_it_starts() -> None:
    whole, pieces = (tt.observe(model, model) for model in (InPieces(T), InPieces(7)))
    (one,), (row,) = whole.layers, pieces.layers
    for name in ("states", "direct", "gradients"):
        torch.testing.assert_close(getattr(row, name), getattr(one, name))
    assert row.verified is not None
    assert row.verified < 1e-10
    sides = [np.asarray(tt.measures.lags(layer).values) for layer in (row, one)]
    np.testing.assert_allclose(*sides, atol=1e-9)
    shares = [np.asarray(tt.measures.contributions(layer).values) for layer in (row, one)]
    np.testing.assert_allclose(*shares, atol=1e-9)
    assert tt.diagnose(pieces, span=12).verdict == tt.diagnose(whole, span=12).verdict


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "detached": torch.Tensor.detach,
    "halved": lambda state: state / 2,
    "half of it detached": lambda state: state / 2 + state.detach() / 2,
}


@pytest.mark.parametrize("between", CHANGES.values(), ids=CHANGES)
def test_a_state_that_was_changed_on_its_way_begins_a_row(
    between: Callable[[Tensor], Tensor],
) -> None:
    model = InPieces(10, between)
    assert len(tt.observe(model, model)) == 2
