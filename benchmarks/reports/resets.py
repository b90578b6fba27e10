"""Episodes, and sequences that are too short."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from benchmarks.reports.report import HEALTHY, Built, remembering, report


class Policy(nn.Module):
    """A GRU cell with a masked state, and a value for each step."""

    def __init__(self, inputs: int = 6, size: int = 16) -> None:
        super().__init__()
        self.gru, self.value = remembering(nn.GRUCell(inputs, size)), nn.Linear(size, 1)
        self.size = size

    def forward(self, seen: Tensor, keep: Tensor) -> Tensor:
        h, values = seen.new_zeros(seen.shape[1], self.size), []
        for x, going in zip(seen, keep, strict=True):
            h = self.gru(x, h * going[:, None])
            values.append(self.value(h))
        return torch.stack(values)


def goes_on(steps: int, batch: int, length: float) -> Tensor:
    """1 where an episode continues, 0 where one starts; the mean length is ``length``."""
    return (torch.rand(steps, batch) > 1 / length).float()


@report(
    "PufferAI/PufferLib#622",
    saw="Scores are lower in environments with short episodes.",
    cause="Training resets the state one step late, so gradients cross episodes.",
    right=("episodes",),
    span=6,
)
def reset_one_step_late() -> Built:
    net, keep = Policy(), goes_on(64, 6, 10)
    late = torch.cat([torch.ones(1, 6), keep[:-1]])
    seen, returns = torch.randn(64, 6, 6), torch.randn(64, 6, 1)
    return net, lambda: mse_loss(net(seen, late), returns)


@report(
    "LARG/jax-aht#115",
    saw="Replay and rollout have different states at episode boundaries.",
    cause="Replay resets the state one step early.",
    right=("episodes",),
    span=8,
)
def reset_one_step_early() -> Built:
    class Replay(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.value = remembering(nn.LSTM(6, 16)), nn.Linear(16, 1)

        def forward(self, seen: Tensor, keep: Tensor) -> Tensor:
            h = c = seen.new_zeros(1, seen.shape[1], 16)
            values = []
            for x, going in zip(seen, keep, strict=True):
                output, (h, c) = self.rnn(x[None], (h * going[:, None], c * going[:, None]))
                values.append(self.value(output))
            return torch.cat(values)

    net, keep = Replay(), goes_on(50, 5, 12)
    early = torch.cat([keep[1:], torch.ones(1, 5)])
    seen, returns = torch.randn(50, 5, 6), torch.randn(50, 5, 1)
    return net, lambda: mse_loss(net(seen, early), returns)


@report(
    "edbeeching/3d_control_deep_rl#3",
    saw="The GRU state does not seem to be reset when an episode ends.",
    cause="The model masks the state itself; this works as intended.",
    right=("episodes", HEALTHY),
    span=5,
)
def mask_inside_the_model() -> Built:
    net, keep = Policy(), goes_on(32, 4, 16)
    seen, returns = torch.randn(32, 4, 6), torch.randn(32, 4, 1)
    return net, lambda: mse_loss(net(seen, keep), returns)


@report(
    "thu-ml/tianshou#584",
    saw="Training does not use the state of a recurrent network.",
    cause="Each transition is a sequence of one step with a zero initial state.",
    right=("too short",),
    also=("dead parameters",),
)
def transitions_of_one_step() -> Built:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(6, 16), nn.Linear(16, 3)
            self.nn = nn.LSTM(16, 16, batch_first=True)

        def forward(self, seen: Tensor) -> Tensor:
            return self.fc2(self.nn(self.fc1(seen[:, None]))[0][:, -1])

    net, seen, target = Recurrent(), torch.randn(32, 6), torch.randn(32, 3)
    return net, lambda: mse_loss(net(seen), target)


@report(
    "dafrie/lstm-load-forecasting#3",
    saw="With timesteps = 1 the RNN is only an MLP. Is that intended?",
    cause="A sequence of one step has no recurrence to learn.",
    right=("too short",),
    also=("dead parameters",),
)
def one_time_step_per_sample() -> Built:
    class Load(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.dense = nn.LSTM(20, 16, 2, batch_first=True), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(self.lstm(x)[0])

    net, x, y = Load(), torch.randn(28, 1, 20), torch.randn(28, 1, 1)
    return net, lambda: mse_loss(net(x), y)


@report(
    "keras-team/keras#2193",
    saw="The model classifies each vector of a long series. Is the timestep 1?",
    cause="Every sample must be a sequence; a timestep of 1 does not make sense.",
    right=("too short",),
    also=("dead parameters",),
)
def every_vector_a_sample_of_its_own() -> Built:
    class Classes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(3, 16), nn.Linear(16, 9)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x[None])[1][0])

    net, x, y = Classes(), torch.randn(200, 3), torch.randint(9, (200,))
    return net, lambda: cross_entropy(net(x), y)


@report(
    "keras-team/keras#7212",
    saw="Stateful LSTMs with sequences of length 1 give poor models.",
    cause="The gradient stops at each batch, which holds one step: pass longer sequences.",
    right=("too short", "truncated"),
)
def stateful_and_one_step_per_batch() -> Built:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.dense = nn.LSTM(1, 16), nn.Linear(16, 1)

        def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
            return self.dense(self.lstm(x, state)[0])

    net, series = Stateful(), torch.randn(6, 25, 1)
    with torch.no_grad():
        _, state = net.lstm(series[:-2])
    return net, lambda: mse_loss(net(series[-2:-1], state), series[-1:])


@report(
    "IDSIA/brainstorm#73",
    saw="A series of 1,411,889 samples is split into independent chunks.",
    cause="Neither gradients nor states cross the chunks, so longer dependencies are lost.",
    right=("too short", "unknown"),
    also=("too short",),
    span=200,
)
def series_cut_into_chunks() -> Built:
    class Series(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = remembering(nn.LSTM(1, 16)), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x)[0])

    net, chunks = Series(), torch.randn(20, 12, 1)
    return net, lambda: mse_loss(net(chunks[:-1]), chunks[1:])


RESETS = (
    reset_one_step_late,
    reset_one_step_early,
    mask_inside_the_model,
    transitions_of_one_step,
    one_time_step_per_sample,
    every_vector_a_sample_of_its_own,
    stateful_and_one_step_per_batch,
    series_cut_into_chunks,
)
