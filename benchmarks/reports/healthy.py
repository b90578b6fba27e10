"""The recurrence is in order: gradients cannot show the fault, or there is no fault.

The gates are open as in a trained network, and the network reaches the span.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, mse_loss, nll_loss

import throughtime as tt
from benchmarks.reports.report import HEALTHY, Built, remembering, report


class Reader(nn.Module):
    """A recurrent layer with open gates, and a linear read-out at each step."""

    def __init__(self, rnn: nn.RNNBase, outputs: int = 1) -> None:
        super().__init__()
        self.rnn = remembering(rnn)
        self.out = nn.Linear(rnn.hidden_size * (2 if rnn.bidirectional else 1), outputs)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Tensor:
        return self.out(self.rnn(x, state)[0])


@report(
    "karpathy/char-rnn#70",
    saw="The gradient grows with the sequence length; training needs a tiny learning rate.",
    cause="The loss is summed over the sequence: divide it by the length.",
    right=(HEALTHY,),
    span=30,
)
def loss_summed_over_the_sequence() -> Built:
    net, x, y = Reader(nn.LSTM(12, 24), 20), torch.randn(80, 6, 12), torch.randint(20, (80, 6))
    return net, lambda: cross_entropy(net(x).flatten(0, 1), y.flatten(), reduction="sum") / 6


@report(
    "Stable-Baselines-Team/stable-baselines3-contrib#111",
    saw="The stored LSTM states end up with the wrong sequences.",
    cause="The buffer reshapes the states instead of swapping axes; gradients are in order.",
    right=(HEALTHY,),
    span=10,
)
def stored_states_reshaped() -> Built:
    net = Reader(nn.LSTM(6, 16, 2))
    states = torch.randn(2, 8, 2, 16).tanh()
    h, c = (state.reshape(2, 8, 16) for state in states)
    seen, returns = torch.randn(24, 8, 6), torch.randn(24, 8, 1)
    return net, lambda: mse_loss(net(seen, (h, c)), returns)


@report(
    "leggedrobotics/rsl_rl#94",
    saw="Distillation of a recurrent student fails.",
    cause="The optimizer does not have the RNN's parameters; gradients are in order.",
    right=(HEALTHY,),
    span=15,
)
def optimizer_without_the_rnn() -> Built:
    net, seen, actions = Reader(nn.GRU(10, 24), 4), torch.randn(24, 8, 10), torch.randn(24, 8, 4)
    torch.optim.Adam(net.out.parameters())
    return net, lambda: mse_loss(net(seen), actions)


@report(
    "AlexandraBaier/deepsysid#35",
    saw="The initialisation windows do not match the prediction windows.",
    cause="The two data loaders shuffle independently; gradients are in order.",
    right=(HEALTHY,),
    span=15,
)
def windows_shuffled_apart() -> Built:
    net, x = Reader(nn.LSTM(4, 24)), torch.randn(30, 8, 4).cumsum(0) / 5
    y = x[:, torch.randperm(8), :1].roll(-1, 0)
    return net, lambda: mse_loss(net(x), y)


@report(
    "pytorch/pytorch#2623",
    saw="Gradients exploded or vanished; with clipping the loss is negative.",
    cause="NLLLoss needs log-probabilities, but the model returns probabilities.",
    right=(HEALTHY,),
    span=4,
)
def softmax_given_to_nll_loss() -> Built:
    class RNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.i2h, self.i2o = nn.Linear(12 + 24, 24), nn.Linear(12 + 24, 6)
            with torch.no_grad():
                nn.init.orthogonal_(self.i2h.weight[:, 12:])

        def forward(self, name: Tensor) -> Tensor:
            hidden = name.new_zeros(name.shape[1], 24)
            for letter in name:
                both = torch.cat([letter, hidden], 1)
                hidden, output = self.i2h(both), self.i2o(both)
                tt.mark(hidden, "hidden")
            return output.softmax(-1)

    net, y = RNN(), torch.randint(6, (8,))
    names = torch.nn.functional.one_hot(torch.randint(12, (7, 8)), 12).float()
    return net, lambda: nll_loss(net(names), y)


@report(
    "spdin/time-series-prediction-lstm-pytorch#1",
    saw="forward always sets the hidden state to zero. Is the memory lost?",
    cause="This is the initial state; the LSTM carries its state from step to step.",
    right=(HEALTHY,),
    span=15,
)
def initial_state_of_zeros() -> Built:
    class LSTM(Reader):
        def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Tensor:
            h_0, c_0 = (torch.zeros(1, len(x), 16) for _ in range(2))
            _, (h_out, _) = self.rnn(x, (h_0, c_0))
            return self.out(h_out.view(-1, 16))

    net = LSTM(nn.LSTM(1, 16, batch_first=True))
    series, y = torch.rand(12, 20, 1), torch.rand(12, 1)
    return net, lambda: mse_loss(net(series), y)


@report(
    "jihunchoi/recurrent-batch-normalization-pytorch#13",
    saw="Is dropout really applied between the layers?",
    cause="Nothing reads the result of dropout; gradients are in order.",
    right=(HEALTHY,),
    span=10,
)
def dropout_that_is_not_used() -> Built:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(remembering(nn.LSTM(size, 16), 6) for size in (6, 16))
            self.out = nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x, _ = layer(x)
                _unused = dropout(x, 0.3, self.training)
            return self.out(x)

    net, x, y = Stacked(), torch.randn(24, 8, 6), torch.randn(24, 8, 1)
    return net, lambda: mse_loss(net(x), y)


@report(
    "d2l-ai/d2l-en#2306",
    saw="Should the backward outputs be reversed?",
    cause="Yes: each step joins two different positions; gradients are in order.",
    right=(HEALTHY,),
    span=10,
)
def backward_outputs_not_put_back() -> Built:
    class BiRNNScratch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f_rnn, self.b_rnn = (remembering(nn.GRU(8, 16)) for _ in range(2))
            self.out = nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.cat([self.f_rnn(x)[0], self.b_rnn(x.flip(0))[0]], -1))

    net, x, y = BiRNNScratch(), torch.randn(24, 8, 8), torch.randint(10, (24, 8))
    return net, lambda: cross_entropy(net(x).flatten(0, 1), y.flatten())


@report(
    "songyingxin/Bert-TextClassification#16",
    saw="Are hidden[-2] and hidden[-1] right with batch_first=True?",
    cause="Yes: batch_first changes only the outputs.",
    right=(HEALTHY,),
    span=15,
)
def final_states_of_both_directions() -> Built:
    class BertLSTM(Reader):
        def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Tensor:
            _, (hidden, _cell) = self.rnn(x, state)
            return self.out(torch.cat((hidden[-2], hidden[-1]), 1))

    net = BertLSTM(nn.LSTM(12, 16, batch_first=True, bidirectional=True), 4)
    encoded, y = torch.randn(8, 22, 12), torch.randint(4, (8,))
    return net, lambda: cross_entropy(net(encoded), y)


@report(
    "ikostrikov/pytorch-a2c-ppo-acktr-gail#206",
    saw="A custom policy does not reset its states between episodes.",
    cause="A policy must reset its states itself; gradients are in order.",
    right=(HEALTHY,),
    span=12,
)
def policy_without_resets() -> Built:
    net, seen, returns = Reader(nn.GRU(6, 24)), torch.randn(32, 8, 6), torch.randn(32, 8, 1)
    return net, lambda: mse_loss(net(seen), returns)


@report(
    "ikostrikov/pytorch-a2c-ppo-acktr-gail#82",
    saw="The rollout computes the GRU states under no_grad. Is that right for PPO?",
    cause="Yes: the update computes all states again, with a graph.",
    right=(HEALTHY,),
    span=15,
)
def rollout_without_gradients() -> Built:
    net, seen, returns = Reader(nn.GRU(6, 24)), torch.randn(24, 8, 6), torch.randn(24, 8, 1)

    def loss() -> Tensor:
        with torch.no_grad():
            h, values = torch.zeros(1, 8, 24), []
            for frame in seen:
                output, h = net.rnn(frame[None], h)
                values.append(net.out(output))
        advantage = returns - torch.cat(values)
        return (mse_loss(net(seen), returns, reduction="none") * advantage.abs()).mean()

    return net, loss


@report(
    "jessicayung/blog-code-snippets#6",
    saw="An LSTM baseline for autoregressive series gives wrong results.",
    cause="view mixes series and lags: transpose first. Gradients are in order.",
    right=(HEALTHY,),
    span=12,
)
def series_mixed_by_view() -> Built:
    class LSTM(Reader):
        def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Tensor:
            return self.out(self.rnn(x, state)[0][-1]).squeeze(-1)

    net, x, y = LSTM(nn.LSTM(1, 24)), torch.randn(30, 20).cumsum(1) / 5, torch.randn(30)
    return net, lambda: mse_loss(net(x.view(20, -1, 1)), y)


@report(
    "suragnair/seqGAN#1",
    saw="Does calling init_hidden each time reset the model?",
    cause="No: it sets only the state before the first word.",
    right=(HEALTHY,),
    span=10,
)
def discriminator_with_a_new_state_each_call() -> Built:
    class Discriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings, self.out = nn.Embedding(30, 12), nn.Linear(4 * 16, 1)
            self.gru = remembering(nn.GRU(12, 16, 2, bidirectional=True))

        def forward(self, words: Tensor) -> Tensor:
            _, hidden = self.gru(self.embeddings(words), torch.zeros(4, words.shape[1], 16))
            return torch.sigmoid(self.out(hidden.transpose(0, 1).flatten(1))).squeeze(-1)

    net, words = Discriminator(), torch.randint(30, (20, 8))
    real = (torch.rand(8) < 0.5).float()
    return net, lambda: nn.functional.binary_cross_entropy(net(words), real)


@report(
    "OpenNMT/OpenNMT-py#61",
    saw="Are the final states of a bidirectional encoder joined in the right order?",
    cause="Yes: h_n is ordered by layer, then by direction.",
    right=(HEALTHY,),
    span=10,
)
def final_states_joined_layer_by_layer() -> Built:
    class NMT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = remembering(nn.GRU(8, 12, 2, bidirectional=True))
            self.decoder, self.out = remembering(nn.GRU(8, 24, 2)), nn.Linear(24, 20)

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            h = self.encoder(source)[1]
            h = h.view(2, 2, h.shape[1], 12).transpose(1, 2).reshape(2, h.shape[1], 24)
            return self.out(self.decoder(target, h)[0])

    net, source, target = NMT(), torch.randn(16, 6, 8), torch.randn(14, 6, 8)
    words = torch.randint(20, (14, 6))
    return net, lambda: cross_entropy(net(source, target).flatten(0, 1), words.flatten())


@report(
    "ruotianluo/self-critical.pytorch#84",
    saw="The samples are detached. How does the loss backpropagate?",
    cause="Through the log-probabilities; samples have no gradient anyway.",
    right=(HEALTHY,),
    also=("other routes",),
    span=8,
)
def samples_fed_back() -> Built:
    class Captioner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.core = nn.Embedding(20, 12), remembering(nn.LSTMCell(12, 16))
            self.logit = nn.Linear(16, 20)

        def forward(self, image: Tensor) -> Tensor:
            h = c = image
            word, chosen = torch.zeros(len(image), dtype=torch.long), []
            for _ in range(12):
                h, c = self.core(self.embed(word), (h, c))
                logprobs = self.logit(h).log_softmax(-1)
                word = logprobs.detach().exp().multinomial(1).squeeze(-1)
                chosen.append(logprobs.gather(1, word[:, None]))
            return torch.cat(chosen, 1)

    net, image, reward = Captioner(), torch.randn(8, 16), torch.randn(8, 1)
    return net, lambda: -(net(image) * reward).mean()


@report(
    "RUCAIBox/RecBole#697",
    saw="No code resets the hidden state between batches.",
    cause="No reset is needed: each batch starts from zero.",
    right=(HEALTHY,),
    span=15,
)
def session_recommender_without_resets() -> Built:
    class GRU4Rec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = nn.Embedding(40, 12)
            self.rnn, self.dense = remembering(nn.GRU(12, 24, batch_first=True)), nn.Linear(24, 12)

        def forward(self, items: Tensor) -> Tensor:
            return self.dense(self.rnn(self.items(items))[0][:, -1]) @ self.items.weight.T

    net, items, wanted = GRU4Rec(), torch.randint(40, (16, 20)), torch.randint(40, (16,))
    return net, lambda: cross_entropy(net(items), wanted)


@report(
    "microsoft/CNTK#3292",
    saw="The GRU swaps z and 1 - z compared with the paper.",
    cause="Both forms are equivalent: the gate learns the opposite.",
    right=(HEALTHY,),
    span=10,
)
def update_gate_the_other_way_round() -> Built:
    class GRU(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.z, self.r, self.c = (nn.Linear(6 + 16, 16) for _ in range(3))
            self.out = nn.Linear(16, 1)
            nn.init.constant_(self.z.bias, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(x.shape[1], 16)
            for step in x:
                both = torch.cat([step, h], -1)
                z, r = torch.sigmoid(self.z(both)), torch.sigmoid(self.r(both))
                h = (1 - z) * torch.tanh(self.c(torch.cat([step, r * h], -1))) + z * h
                tt.mark(h, "gru")
            return self.out(h)

    net, x, y = GRU(), torch.randn(20, 8, 6), torch.randn(8, 1)
    return net, lambda: mse_loss(net(x), y)


SOUND = (
    loss_summed_over_the_sequence,
    stored_states_reshaped,
    optimizer_without_the_rnn,
    windows_shuffled_apart,
    softmax_given_to_nll_loss,
    initial_state_of_zeros,
    dropout_that_is_not_used,
    backward_outputs_not_put_back,
    final_states_of_both_directions,
    policy_without_resets,
    rollout_without_gradients,
    series_mixed_by_view,
    discriminator_with_a_new_state_each_call,
    final_states_joined_layer_by_layer,
    samples_fed_back,
    session_recommender_without_resets,
    update_gate_the_other_way_round,
)
