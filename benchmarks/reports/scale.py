"""Real vanishing and exploding gradients, caused by weights, gates or inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from benchmarks.reports.report import Built, report


class LanguageModel(nn.Module):
    """The word language model of pytorch/examples, small."""

    def __init__(self, rnn: nn.RNNBase, words: int = 40) -> None:
        super().__init__()
        self.encoder, self.rnn = nn.Embedding(words, rnn.input_size), rnn
        self.decoder = nn.Linear(rnn.proj_size or rnn.hidden_size, words)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, text: Tensor) -> Tensor:
        return self.decoder(self.rnn(self.encoder(text))[0])

    def loss(self, text: Tensor) -> Tensor:
        """The cross entropy of each next word (T B)."""
        return cross_entropy(self(text[:-1]).flatten(0, 1), text[1:].flatten())


def trained(net: LanguageModel, rate: float, steps: int) -> LanguageModel:
    """Train with plain gradient descent, without clipping."""
    optimizer = torch.optim.SGD(net.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        net.loss(corpus()).backward()
        optimizer.step()
    return net


def corpus(steps: int = 36, batch: int = 8) -> Tensor:
    """Text of 40 words; some words are far more frequent than others."""
    return (40 * torch.rand(steps, batch) ** 3).long()


@report(
    "pytorch/examples#223",
    saw="RNN_RELU with the default learning rate of 20 gives nan immediately.",
    cause="The gradient explodes: clip it and reduce the rate.",
    right=("non-finite", "exploding"),
)
def relu_network_at_a_rate_of_20() -> Built:
    net, text = trained(LanguageModel(nn.RNN(24, 24, nonlinearity="relu")), 20, 6), corpus()
    return net, lambda: net.loss(text)


@report(
    "chenxie95/deeplearning_course_sjtu#31",
    saw="The loss explodes when training the language model with RNN_RELU.",
    cause="The gradient becomes too large with ReLU: change the activation or the rate.",
    right=("exploding",),
    also=("chaotic",),
    span=30,
)
def relu_language_model_before_its_loss_is_nan() -> Built:
    net = LanguageModel(nn.RNN(24, 24, nonlinearity="relu"))
    with torch.no_grad():  # as after a few updates without clipping
        net.rnn.weight_hh_l0.abs_().mul_(1.4 / torch.linalg.matrix_norm(net.rnn.weight_hh_l0, 2))
    text = corpus()
    return net, lambda: net.loss(text)


@report(
    "Marcovaldong/lstmp.pytorch#2",
    saw="The loss of an LSTM with projections is nan after 1200 iterations.",
    cause="The gradient explodes on long sequences: clip its norm to 1.",
    right=("exploding", "chaotic"),
    span=40,
)
def LSTM_with_projections() -> Built:
    net = LanguageModel(nn.LSTM(24, 48, proj_size=24))
    with torch.no_grad():  # as after training
        for name, parameter in net.rnn.named_parameters():
            if "bias" not in name:
                parameter.mul_(8)
    text = corpus(60)
    return net, lambda: net.loss(text)


@report(
    "A-Jacobson/tacotron2#1",
    saw="The gradient norms show signs of an explosion.",
    cause="The initial weights were too large: use Xavier initialisation.",
    right=("exploding", "chaotic"),
    also=("saturated",),
    span=30,
)
def standard_normal_weights() -> Built:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.mel = nn.RNN(12, 32), nn.Linear(32, 12)
            for weight in (self.rnn.weight_ih_l0, self.rnn.weight_hh_l0):
                nn.init.normal_(weight, 0, 1)

        def forward(self, frames: Tensor) -> Tensor:
            return self.mel(self.rnn(frames)[0])

    net, frames = Decoder(), 0.1 * torch.randn(50, 6, 12)
    return net, lambda: mse_loss(net(frames[:-1]), frames[1:])


@report(
    "apache/mxnet#5395",
    saw="LSTMs with small random weights do not learn long lags.",
    cause="The forget gate starts at 0.5, a factor of 0.5 per step: increase its bias.",
    right=("gates closed", "vanishing"),
    span=25,
)
def forget_gate_without_a_bias() -> Built:
    net = LanguageModel(nn.LSTM(16, 24))
    for name, parameter in net.rnn.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -0.05, 0.05)
    text = corpus()
    return net, lambda: net.loss(text)


@report(
    "keras-team/keras#16151",
    saw="The gradient of the cell state vanishes within 20 steps.",
    cause="The forget gates of an untrained LSTM pass only part of the cell state.",
    right=("gates closed", "vanishing"),
    span=20,
)
def cell_state_that_fades_in_20_steps() -> Built:
    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.LSTMCell(10, 24), nn.Linear(24, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = c = x.new_zeros(x.shape[1], 24)
            for step in x:
                h, c = self.cell(step, (h, c))
            return self.out(h)

    net, x, y = Custom(), torch.randn(24, 8, 10), torch.randn(8, 1)
    return net, lambda: mse_loss(net(x), y)


@report(
    "Shubble-LLC/shubble#353",
    saw="The predictions of an LSTM for positions are poor.",
    cause="Latitude and longitude are not scaled, unlike the velocity.",
    right=("saturated",),
    also=("gates closed", "vanishing", "bottleneck"),
)
def latitudes_that_are_not_scaled() -> Built:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.fc = nn.LSTM(3, 24, batch_first=True), nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.rnn(x)[0][:, -1])

    net = Positions()
    where = torch.tensor([42.73, -73.68, 20.0]) + torch.randn(8, 21, 3) * torch.tensor(
        [0.01, 0.01, 8.0]
    )
    return net, lambda: mse_loss(net(where[:, :-1]), where[:, -1, :2])


SCALE = (
    relu_network_at_a_rate_of_20,
    relu_language_model_before_its_loss_is_nan,
    LSTM_with_projections,
    standard_normal_weights,
    forget_gate_without_a_bias,
    cell_state_that_fades_in_20_steps,
    latitudes_that_are_not_scaled,
)
