"""The graph through time is cut, not connected, or attached to the previous batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from benchmarks.reports.report import CARRIED, Built, report

State = tuple[Tensor, Tensor]


@report(
    "emited/VariationalRecurrentNeuralNetwork#1",
    saw="The model repackages its state at every step, as language models do at every batch.",
    cause="The state is detached before anything reads it, so the GRU gets no gradient.",
    right=("truncated", "NoGradientError", "no gradient", "dead parameters"),
    also=("too short",),
)
def state_repackaged_at_every_step() -> Built:
    class VRNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prior, self.encoder = nn.Linear(16, 8), nn.Linear(16 + 6, 8)
            self.decoder, self.rnn = nn.Linear(8 + 16, 6), nn.GRUCell(6 + 8, 16)

        def forward(self, x: Tensor) -> Tensor:
            h, loss = x.new_zeros(x.shape[1], 16), x.new_zeros(())
            for step in x:
                h = h.detach()
                z = self.encoder(torch.cat([step, h], -1))
                loss = loss + mse_loss(z, self.prior(h))
                loss = loss + mse_loss(self.decoder(torch.cat([z, h], -1)), step)
                h = self.rnn(torch.cat([step, z], -1), h)
            return loss

    net, x = VRNN(), torch.randn(20, 8, 6)
    return net, lambda: net(x)


@report(
    "yhs968/pyGRU4REC#8",
    saw="hidden = reset_hidden(hidden, mask).detach() makes the model a Markov chain.",
    cause="The state is detached at every event: the loss at step t reaches only step t.",
    right=("truncated",),
    also=("episodes", "too short"),
)
def sessions_detached_at_every_event() -> Built:
    class GRU4REC(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.gru = nn.Embedding(40, 12), nn.GRU(12, 16)
            self.out = nn.Linear(16, 40)

        def forward(self, items: Tensor, starts: Tensor) -> Tensor:
            hidden, logits = torch.zeros(1, items.shape[1], 16), []
            for step, start in zip(items, starts, strict=True):
                hidden = (hidden * (~start)[None, :, None]).detach()
                output, hidden = self.gru(self.embedding(step)[None], hidden)
                logits.append(self.out(output[0]))
            return torch.stack(logits)

    net, items = GRU4REC(), torch.randint(40, (25, 6))
    starts = torch.rand(24, 6) < 0.1
    return net, lambda: cross_entropy(net(items[:-1], starts).flatten(0, 1), items[1:].flatten())


@report(
    "ChenRocks/fast_abs_rl#14",
    saw="The LSTM states of the pointer network never change in the for loop.",
    cause="Every step starts from the initial state; the new state is dropped.",
    right=("state not handed on",),
    also=("too short", "other routes"),
)
def pointer_network_that_never_updates_its_state() -> Built:
    class PtrScorer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.init_h, self.init_c = (nn.Parameter(torch.randn(16) / 4) for _ in range(2))
            self.start, self.lstm = nn.Parameter(torch.randn(12) / 4), nn.LSTMCell(12, 16)
            self.attend, self.score = nn.Linear(16, 12), nn.Linear(12, 1)

        def forward(self, memory: Tensor, steps: int) -> Tensor:
            states = tuple(s.expand(memory.shape[0], -1) for s in (self.init_h, self.init_c))
            entering, scores = self.start.expand(memory.shape[0], -1), []
            for _ in range(steps):
                h, _c = self.lstm(entering, states)
                weights = (memory @ self.attend(h)[:, :, None]).softmax(1)
                entering = (weights * memory).sum(1)
                scores.append(self.score(entering))
            return torch.cat(scores, 1)

    net, memory = PtrScorer(), torch.randn(4, 10, 12)
    return net, lambda: net(memory, 8).square().mean()


@report(
    "tensorflow/tensorflow#38248",
    saw="The GRU decoder with attention does not receive its previous state.",
    cause="The call gru(x) has no initial state, so every step starts from zero.",
    right=("state not handed on",),
    also=("too short", "episodes", "dead parameters"),
)
def decoder_step_without_its_state() -> Built:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.gru = nn.GRU(8, 16), nn.GRU(8 + 16, 16)
            self.query, self.fc = nn.Linear(16, 16), nn.Linear(16, 20)

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            memory, hidden = self.encoder(source)
            state, logits = hidden[0], []
            for step in target:
                weights = (self.query(state) * memory).sum(-1).softmax(0)
                context = (weights[..., None] * memory).sum(0)
                output, new = self.gru(torch.cat([context, step], -1)[None])
                state = new[0]
                logits.append(self.fc(output[0]))
            return torch.stack(logits)

    net, source, target = Attention(), torch.randn(12, 4, 8), torch.randn(10, 4, 8)
    words = torch.randint(20, (10, 4))
    return net, lambda: cross_entropy(net(source, target).flatten(0, 1), words.flatten())


@report(
    "cjlovering/interpretable-reinforcement-learning-using-attention#6",
    saw="The LSTM of the vision core gets the same states at all time steps.",
    cause="The loop over time does not update the states.",
    right=("state not handed on",),
    also=("too short", "episodes", "dead parameters"),
)
def vision_core_with_static_states() -> Built:
    class Vision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn, self.lstm = nn.Linear(20, 12), nn.LSTM(12, 16)
            self.value = nn.Linear(16, 1)

        def forward(self, frames: Tensor) -> Tensor:
            h, c = (torch.zeros(1, frames.shape[1], 16) for _ in range(2))
            seen = []
            for frame in frames:
                output, (_h, _c) = self.lstm(torch.relu(self.cnn(frame))[None], (h, c))
                seen.append(output[0])
            return self.value(torch.stack(seen))

    net, frames, returns = Vision(), torch.randn(16, 4, 20), torch.randn(16, 4, 1)
    return net, lambda: mse_loss(net(frames), returns)


@report(
    "quark0/darts#56",
    saw="Training runs only with loss.backward(retain_graph=True).",
    cause="repackage_hidden checks for an old type, so it never detaches the state.",
    right=CARRIED,
)
def repackage_hidden_that_detaches_nothing() -> Built:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.rnn = nn.Embedding(30, 12), nn.RNN(12, 16)
            self.decoder = nn.Linear(16, 30)

        def forward(self, words: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
            outputs, hidden = self.rnn(self.encoder(words), hidden)
            return self.decoder(outputs), hidden

    net, text = Model(), torch.randint(30, (2, 16, 4))
    carried = [torch.zeros(1, 4, 16)]

    def batch(words: Tensor) -> Tensor:
        logits, hidden = net(words[:-1], carried.pop())
        carried.append(hidden)
        return cross_entropy(logits.flatten(0, 1), words[1:].flatten())

    batch(text[0]).backward()
    net.zero_grad()
    return net, lambda: batch(text[1])


@report(
    "MorvanZhou/PyTorch-Tutorial#57",
    saw="Without h_state = h_state.data an error asks for retain_graph=True.",
    cause="The state is still attached to the graph of the previous batch: detach it.",
    right=CARRIED,
)
def state_kept_with_retain_graph() -> Built:
    class Sine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.RNN(1, 32, batch_first=True), nn.Linear(32, 1)

        def forward(self, x: Tensor, h_state: Tensor | None) -> tuple[Tensor, Tensor]:
            outputs, h_state = self.rnn(x, h_state)
            return self.out(outputs), h_state

    net, time = Sine(), torch.linspace(0, 6.28, 20)
    x, y = time.sin()[None, :, None], time.cos()[None, :, None]
    first, h_state = net(x, None)
    mse_loss(first, y).backward(retain_graph=True)
    net.zero_grad()
    return net, lambda: mse_loss(net(x, h_state)[0], y)


@report(
    "norse/norse#130",
    saw="Reusing a state crashes the next backward pass.",
    cause="A state takes part in two backward passes: detach it, or do not reuse it.",
    right=CARRIED,
)
def state_of_one_run_given_to_the_next() -> Built:
    class Leaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(12, 16)

        def forward(self, x: Tensor, s: Tensor | None = None) -> tuple[Tensor, Tensor]:
            outputs = []
            for step in x:
                s = self.cell(step, s)
                outputs.append(s)
            assert s is not None
            return torch.stack(outputs), s

    net, data = Leaky(), torch.randn(2, 15, 4, 12)
    out, s = net(data[0])
    out.square().mean().backward()
    net.zero_grad()
    return net, lambda: net(data[1], s)[0].square().mean()


@report(
    "vikrant7/mobile-vod-bottleneck-lstm#25",
    saw="A variable needed for the gradient has been modified by an in-place operation.",
    cause="The outer loop detaches the states; the inner loop must do so in each iteration.",
    right=CARRIED,
)
def states_detached_in_the_outer_loop() -> Built:
    class Bottleneck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTMCell(8, 16), nn.Linear(16, 4)

        def forward(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
            logits = []
            for frame in frames:
                state = self.cell(frame, state)
                logits.append(self.head(state[0]))
            return torch.stack(logits), state

    net, videos = Bottleneck(), torch.randn(2, 10, 6, 8)
    labels, optimizer = torch.randint(4, (10, 6)), torch.optim.SGD(net.parameters(), 0.1)
    logits, state = net(videos[0], (torch.zeros(6, 16), torch.zeros(6, 16)))
    cross_entropy(logits.flatten(0, 1), labels.flatten()).backward(retain_graph=True)
    optimizer.step()
    optimizer.zero_grad()

    def loss() -> Tensor:
        return cross_entropy(net(videos[1], state)[0].flatten(0, 1), labels.flatten())

    return net, loss


@report(
    "dgriff777/rl_a3c_pytorch#19",
    saw="How can gradients reach the past 20 steps if hx and cx become new variables?",
    cause="Every step of the environment detaches the state, so no gradient goes back in time.",
    right=("truncated",),
    also=("too short",),
    span=19,
)
def rollout_detached_at_every_step() -> Built:
    class A3C(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.critic = nn.LSTMCell(8, 16), nn.Linear(16, 1)

        def forward(self, seen: Tensor) -> Tensor:
            hx, cx = (torch.zeros(seen.shape[1], 16) for _ in range(2))
            values = []
            for frame in seen:
                hx, cx = self.lstm(frame, (hx.data, cx.data))
                values.append(self.critic(hx))
            return torch.stack(values)

    net, seen, returns = A3C(), torch.randn(20, 4, 8), torch.randn(20, 4, 1)
    return net, lambda: mse_loss(net(seen), returns)


GRAPH = (
    state_repackaged_at_every_step,
    sessions_detached_at_every_event,
    rollout_detached_at_every_step,
    pointer_network_that_never_updates_its_state,
    decoder_step_without_its_state,
    vision_core_with_static_states,
    repackage_hidden_that_detaches_nothing,
    state_kept_with_retain_graph,
    state_of_one_run_given_to_the_next,
    states_detached_in_the_outer_loop,
)
