"""NaN and infinity from the data, from the loss or from the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, softmax, softplus

from benchmarks.reports.report import Built, report


class Regressor(nn.Module):
    """A recurrent layer and a linear read-out at each step."""

    def __init__(self, rnn: nn.RNNBase, outputs: int = 1) -> None:
        super().__init__()
        self.rnn, self.out = rnn, nn.Linear(rnn.hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


@report(
    "xinjli/allosaurus#64",
    saw="The loss becomes NaN and ruins the parameters.",
    cause="Some features have a standard deviation of 0, so normalising them gives 0/0.",
    right=("non-finite",),
)
def silent_file_divided_by_its_deviation() -> Built:
    net, features = Regressor(nn.LSTM(12, 16), 9), torch.randn(20, 6, 12)
    features[:, 2, 4:] = 0.25
    features = (features - features.mean(0)) / features.std(0)
    y = torch.randn(20, 6, 9)
    return net, lambda: mse_loss(net(features), y)


@report(
    "timeseriesAI/tsai#506",
    saw="All outputs are nan on one data set.",
    cause="X contains NaN: replace the missing values.",
    right=("non-finite",),
)
def missing_values_in_the_data() -> Built:
    net = Regressor(nn.GRU(5, 16, batch_first=True))
    x, y = torch.randn(8, 24, 5), torch.randn(8, 24, 1)
    x[3, 11:14, 1] = float("nan")
    return net, lambda: mse_loss(net(x), y)


@report(
    "kdgutier/esrnn_torch#5",
    saw="Training returns nan and the network does not learn.",
    cause="The model divides each series by its first values, which are zero: add a constant.",
    right=("non-finite",),
)
def series_divided_by_a_level_of_zero() -> Built:
    class ESRNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.smoothing, self.rnn = nn.Parameter(torch.zeros(())), nn.LSTM(1, 16)
            self.out = nn.Linear(16, 1)

        def forward(self, y: Tensor) -> Tensor:
            levels, alpha = [y[0]], torch.sigmoid(self.smoothing)
            for step in y[1:]:
                levels.append(alpha * step + (1 - alpha) * levels[-1])
            level = torch.stack(levels)
            return self.out(self.rnn((y / level)[..., None])[0]).squeeze(-1) * level

    net, sold = ESRNN(), torch.randint(1, 9, (20, 6)).float()
    sold[:2, 4] = 0
    return net, lambda: mse_loss(net(sold[:-1]), sold[1:])


@report(
    "ragulpr/wtte-rnn#39",
    saw="The loss is nan as b approaches 0.",
    cause="log(exp(hazard1 - hazard0) - 1) of equal hazards is log 0: add an epsilon.",
    right=("non-finite",),
)
def log_likelihood_of_equal_hazards() -> Built:
    net = Regressor(nn.GRU(4, 16), 2)
    with torch.no_grad():
        net.out.bias[1] = -30
    x, time, seen = torch.randn(20, 6, 4), torch.rand(20, 6) * 10, torch.rand(20, 6) < 0.7

    def loss() -> Tensor:
        a, b = softplus(net(x)).unbind(-1)
        hazard0, hazard1 = ((time + more) / a for more in (1e-9, 1))
        hazard0, hazard1 = hazard0.pow(b), hazard1.pow(b)
        return -(seen * (torch.exp(hazard1 - hazard0) - 1).log() - hazard1).mean()

    return net, loss


@report(
    "allenai/allennlp#890",
    saw="masked_log_softmax returns NaN in one row.",
    cause="The mask of this row is all zero, so the softmax sees only -inf.",
    right=("non-finite",),
)
def softmax_over_a_row_that_is_masked() -> Built:
    net, x = Regressor(nn.LSTM(6, 16, batch_first=True)), torch.randn(6, 15, 6)
    mask = torch.arange(15) < torch.tensor([15, 12, 9, 6, 3, 0])[:, None]

    def loss() -> Tensor:
        scores = net(x).squeeze(-1) + mask.float().log()
        return -(scores.log_softmax(-1)[:, 0]).mean()

    return net, loss


@report(
    "awjuliani/DeepRL-Agents#34",
    saw="NaN values appear and the agent collapses.",
    cause="The policy of one action becomes 0, and the entropy takes log 0: add 1e-7.",
    right=("non-finite",),
)
def entropy_of_an_action_that_is_never_taken() -> Built:
    net, seen = Regressor(nn.LSTM(6, 16), 3), torch.randn(20, 1, 6)
    with torch.no_grad():
        net.out.bias.copy_(torch.tensor([0.0, 1.0, -120.0]))
    advantage, action = torch.randn(20, 1), torch.randint(2, (20, 1, 1))

    def loss() -> Tensor:
        policy = softmax(net(seen), -1)
        entropy = -(policy * policy.log()).sum(-1)
        taken = policy.gather(-1, action).squeeze(-1)
        return -(taken.log() * advantage).mean() - 0.01 * entropy.mean()

    return net, loss


@report(
    "johnglover/sound-rnn#2",
    saw="The loss becomes NaN after 500 iterations.",
    cause="The density divides by a variance of 0: add 1e-12.",
    right=("non-finite",),
)
def mixture_with_a_variance_of_zero() -> Built:
    net, sound = Regressor(nn.LSTM(1, 16), 3), torch.randn(30, 4, 1)
    with torch.no_grad():
        net.out.bias[2] = -200

    def loss() -> Tensor:
        weight, mean, log_variance = net(sound[:-1]).unbind(-1)
        variance = log_variance.exp()
        distance = (sound[1:, :, 0] - mean).square() / variance
        density = softmax(weight, 0) * torch.exp(-distance / 2) / (6.28 * variance).sqrt()
        return -(density + 1e-6).log().mean()

    return net, loss


DATA = (
    silent_file_divided_by_its_deviation,
    missing_values_in_the_data,
    series_divided_by_a_level_of_zero,
    log_likelihood_of_equal_hazards,
    softmax_over_a_row_that_is_masked,
    entropy_of_an_action_that_is_never_taken,
    mixture_with_a_variance_of_zero,
)
