"""A deep look at whatever people have: it says what it can, and never fails for the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime as tt
from throughtime.findings import DISEASES

I, H = 3, 5
Forward = Callable[[nn.Module, Tensor], Tensor]


def mean_square(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)[0].square().mean()


def packed(model: nn.Module, x: Tensor) -> Tensor:
    batch = pack_padded_sequence(x, [len(x), 9, 2], enforce_sorted=False)
    return model(batch)[0].data.square().mean()


def in_windows(model: nn.Module, x: Tensor) -> Tensor:
    state, loss = None, torch.zeros(())
    for window in x.split(5):
        output, state = model(window, state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = loss + output.square().mean()
    return loss


def without_weight(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        model.weight_hh_l0.zero_()
    return mean_square(model, x)


def with_bad_weight(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        model.weight_hh_l0[2, 1] = torch.nan
    return mean_square(model, x)


def spoilt(value: float) -> Forward:
    def forward(model: nn.Module, x: Tensor) -> Tensor:
        x = x.clone()
        x[7, 1, 2] = value
        return mean_square(model, x)

    return forward


WAYS: dict[str, tuple[tuple[int, ...], dict[str, object], Forward]] = {
    # name: size of the input, how the layer is made, how it is run
    "one step": ((1, 2, I), {}, mean_square),
    "two steps": ((2, 1, I), {}, mean_square),
    "twelve steps": ((12, 3, I), {}, mean_square),
    "no sequence": ((12, 0, I), {}, mean_square),
    "unbatched": ((20, I), {}, mean_square),
    "stacked, both ways": ((20, 2, I), {"num_layers": 2, "bidirectional": True}, mean_square),
    "packed": ((20, 3, I), {}, packed),
    "half precision": ((20, 3, I), {"dtype": torch.bfloat16}, mean_square),
    "loss of zero": ((20, 3, I), {}, lambda model, x: 0 * mean_square(model, x)),
    "detached windows": ((20, 2, I), {}, in_windows),
    "W_hh = 0": ((20, 2, I), {}, without_weight),
    "a NaN in W_hh": ((20, 2, I), {}, with_bad_weight),
    "a NaN in the input": ((20, 2, I), {}, spoilt(torch.nan)),
    "an infinite input": ((20, 2, I), {}, spoilt(torch.inf)),
    "an input near the end of the range": ((20, 2, I), {}, spoilt(1e38)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_deep_look_at(kind: str, way: str) -> None:
    size, more, forward = WAYS[way]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(nn, kind)(I, H, **more)
        x = torch.randn(size).to(more.get("dtype", torch.float32))
    with tt.capture(model) as run:
        forward(model, x).backward()
    found = tt.diagnose(run.trace, deep=True)
    assert set(found.diseases) <= {*DISEASES, "healthy"}
    assert (found.verdict == "non-finite") == (
        way in ("a NaN in W_hh", "a NaN in the input", "an infinite input")
    )
    assert tt.Diagnosis.from_json(found.to_json()) == found
    for cause in found.causes:
        assert "nan" not in cause.sentence.lower() or found.verdict == "non-finite"
