"""Models as people write them, each against the unrolled loops."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import B, H, I, T, fill, normal, weighed
from reference import assert_captured, assert_same, unrolled
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime as tt

VOCABULARY = 7
LENGTHS = torch.tensor([2, T, 3])
TOKENS = torch.arange(T * B).reshape(T, B) * 5 % VOCABULARY


def seeded(step: Callable[[nn.Module], object]) -> Callable[[nn.Module], None]:
    """The step with a known random state, which is put back after it."""

    def run(model: nn.Module) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(4)
            step(model)

    return run


class LanguageModel(nn.Module):
    """PyTorch's word_language_model: dropout, tied weights, a hidden state handed from batch on."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.encoder = nn.Embedding(VOCABULARY, H)
        self.rnn = getattr(nn, kind)(H, H, 2, dropout=0.4)
        self.decoder = nn.Linear(H, VOCABULARY)
        self.decoder.weight = self.encoder.weight
        self.drop, self.kind = nn.Dropout(0.4), kind

    def init_hidden(self) -> Any:
        weight = next(self.parameters())
        zero = weight.new_zeros(2, B, H)
        return (zero, zero.clone()) if self.kind == "LSTM" else zero

    def forward(self, tokens: Tensor, hidden: Any) -> tuple[Tensor, Any]:
        output, hidden = self.rnn(self.drop(self.encoder(tokens)), hidden)
        return nn.functional.log_softmax(self.decoder(self.drop(output)), -1).flatten(0, 1), hidden


def repackage(hidden: Any) -> Any:
    return hidden.detach() if isinstance(hidden, Tensor) else tuple(map(repackage, hidden))


def train_language_model(model: nn.Module) -> None:
    hidden = model.init_hidden()
    for window in range(2):
        hidden = repackage(hidden)
        output, hidden = model(TOKENS.roll(window, 0), hidden)
        nn.functional.nll_loss(output, TOKENS.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(parameter.grad, alpha=-20)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_language_model_with_windows_clipping_and_steps(kind: str) -> None:
    trace = assert_captured(
        lambda: fill(LanguageModel(kind).double()), seeded(train_language_model)
    )
    assert [layer.walls for layer in trace] == [(T,), (T,)]


class WeightDrop(nn.Module):
    """DropConnect on the recurrent weight, the way AWD-LSTM and fastai do it."""

    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        self.module = layer
        weight = layer.weight_hh_l0
        self.weight_hh_l0_raw = nn.Parameter(weight.data)
        del layer._parameters["weight_hh_l0"]

    def forward(self, x: Tensor, state: Any = None) -> Any:
        dropped = nn.functional.dropout(self.weight_hh_l0_raw, 0.5, self.training)
        inner = self.module.layer if hasattr(self.module, "walks") else self.module
        inner.weight_hh_l0 = dropped
        return self.module(x, state)


class AWD(nn.Module):
    """Three LSTMs as modules of their own, one mask for all steps between them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, H)
        self.rnns = nn.ModuleList(WeightDrop(nn.LSTM(H, H)) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        output = self.embed(tokens)
        for rnn in self.rnns:
            mask = nn.functional.dropout(torch.ones_like(output[:1]), 0.3, self.training)
            output, _ = rnn(output * mask)
        return output @ self.embed.weight.T


def test_weight_dropped_lstms() -> None:
    trace = assert_captured(
        lambda: fill(AWD().double()), seeded(lambda model: weighed(model(TOKENS), 3).backward())
    )
    assert trace.names == ("rnns.0.module", "rnns.1.module", "rnns.2.module")


class Translator(nn.Module):
    """Bahdanau et al. 2015: a packed bidirectional encoder, a bridge, a cell that attends."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, H)
        self.encoder = nn.GRU(H, H, bidirectional=True)
        self.bridge = nn.Linear(2 * H, H)
        self.cell, self.kind = getattr(nn, kind)(3 * H, H), kind
        self.score = nn.Linear(3 * H, 1)
        self.read = nn.Linear(3 * H, VOCABULARY)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(source), LENGTHS, enforce_sorted=False)
        outputs, hidden = self.encoder(packed)
        memory, _ = pad_packed_sequence(outputs)
        padding = torch.arange(T).unsqueeze(1) >= LENGTHS
        h = self.bridge(torch.cat([hidden[-2], hidden[-1]], -1)).tanh()
        state: Any = (h, torch.zeros_like(h)) if self.kind == "LSTMCell" else h
        out = []
        for word in self.embed(target):
            query = h.expand(len(memory), B, H)
            scores = self.score(torch.cat([query, memory], -1)).squeeze(-1)
            attention = scores.masked_fill(padding, -torch.inf).softmax(0)
            context = (attention.unsqueeze(-1) * memory).sum(0)
            state = self.cell(torch.cat([word, context], -1), state)
            h = state[0] if isinstance(state, tuple) else state
            out.append(self.read(torch.cat([h, context], -1)))
        return torch.stack(out)


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_translator_with_attention(kind: str) -> None:
    trace = assert_captured(
        lambda: fill(Translator(kind).double(), scale=1.5),
        lambda model: weighed(model(TOKENS, TOKENS.roll(1, 0)), 3).backward(),
    )
    assert trace.names == ("encoder", "encoder.reverse", "cell")
    assert [set(joint.names) for joint in trace.joints] == [set(trace.names)]
    assert trace["encoder"].lengths == tuple(LENGTHS.tolist())


class Classifier(nn.Module):
    """The last state of each direction of the top layer, of packed sentences in any order."""

    def __init__(self, kind: str, pooled: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, I, padding_idx=0)
        self.rnn = getattr(nn, kind)(I, H, 2, batch_first=True, bidirectional=True, dropout=0.3)
        self.read, self.pooled = nn.Linear(2 * H, 3), pooled

    def forward(self, tokens: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embed(tokens.T), LENGTHS, batch_first=True, enforce_sorted=False
        )
        outputs, hidden = self.rnn(packed)
        if self.pooled:
            padded, _ = pad_packed_sequence(outputs, batch_first=True, padding_value=-torch.inf)
            return self.read(padded.amax(1))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.read(torch.cat([hidden[-2], hidden[-1]], -1))


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_sentence_classifier(kind: str, pooled: bool) -> None:
    def step(model: nn.Module) -> None:
        nn.functional.cross_entropy(model(TOKENS), torch.arange(B)).backward()

    assert_captured(lambda: fill(Classifier(kind, pooled).double(), scale=1.5), seeded(step))


class CRNN(nn.Module):
    """Shi et al. 2015: columns of an image as steps, two directions, CTC."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, I, 3, padding=1)
        self.norm = nn.BatchNorm2d(I)
        self.rnn = nn.Sequential(Directions(4 * I, H, H), Directions(H, H, VOCABULARY))

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.max_pool2d(self.norm(self.conv(images)).relu(), (2, 1))
        return self.rnn(features.flatten(1, 2).permute(2, 0, 1)).log_softmax(-1)


class Directions(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, bidirectional=True)
        self.embedding = nn.Linear(2 * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        recurrent, _ = self.rnn(x)
        T, b, h = recurrent.size()
        return self.embedding(recurrent.view(T * b, h)).view(T, b, -1)


def test_a_convolutional_reader_with_ctc() -> None:
    def step(model: nn.Module) -> None:
        out = model(normal(B, 1, 8, 9))
        targets = torch.tensor([[1, 2], [3, 3], [4, 1]])
        nn.functional.ctc_loss(out, targets, [9] * B, [2] * B).backward()

    assert_captured(lambda: fill(CRNN().double()), step)


class Tree(nn.Module):
    """A binary tree read from its root: each node's state goes to both of its children."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(I, H)

    def forward(self, nodes: Tensor) -> Tensor:
        root = self.cell(nodes[0])
        left = self.cell(nodes[1], root)
        right = self.cell(nodes[2], root)
        return torch.stack([left[0], right[0].square()])


def test_a_state_with_two_children() -> None:
    trace = assert_captured(
        lambda: fill(Tree().double()),
        lambda model: weighed(model(normal(3, B, I)), 3).backward(),
        chains={"cell": [[0, 1], [2]]},
    )
    assert trace.names == ("cell", "cell (2)")
    assert not trace.notes


class Forecaster(nn.Module):
    """A forecast that reads its own last output, as DeepAR does beyond the known past."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.read = nn.LSTM(1, H, 2), nn.Linear(H, 1)

    def forward(self, past: Tensor) -> Tensor:
        out, state = self.rnn(past)
        value = self.read(out[-1:])
        future = []
        for _ in range(3):
            out, state = self.rnn(value, state)
            value = self.read(out)
            future.append(value)
        return torch.cat(future)


def test_a_forecaster_that_reads_its_own_output() -> None:
    trace = assert_captured(
        lambda: fill(Forecaster().double(), scale=1.5),
        lambda model: weighed(model(normal(T, B, 1)), 3).backward(),
    )
    assert [layer.steps for layer in trace] == [T + 3, T + 3]


class Agent(nn.Module):
    """An actor and critic over a rollout that was made under no_grad, with episodes that end."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.actor, self.critic = nn.LSTMCell(I, H), nn.Linear(H, 2), nn.Linear(H, 1)

    def forward(self, x: Tensor, state: Any, done: Tensor) -> tuple[Tensor, Tensor, Any]:
        state = tuple((1 - done).unsqueeze(-1) * part for part in state)
        h, c = self.core(x, state)
        return self.actor(h), self.critic(h), (h, c)


def train_agent(model: nn.Module) -> None:
    zero = torch.zeros(B, H, dtype=torch.float64)
    done = torch.zeros(T, B, dtype=torch.float64)
    done[2, 0] = done[3, 2] = 1
    with torch.no_grad():
        state: Any = (zero, zero)
        for x in normal(T, B, I, seed=8):
            _, _, state = model(x, state, done[0])
    start = state
    loss = torch.zeros((), dtype=torch.float64)
    for t, x in enumerate(normal(T, B, I)):
        logits, value, state = model(x, state if t else start, done[t])
        loss = loss + weighed(logits, t) + value.square().mean()
    loss.backward()


def test_an_agent_with_episodes_that_end() -> None:
    model, (loops, walks) = fill(Agent().double()), unrolled(fill(Agent().double()))
    with tt.capture(model) as run:
        train_agent(model)
    train_agent(loops)
    walks["core"] = walks["core"][T:]  # the rollout is no part of the loss
    assert_same(run.trace, walks, 1e-10)
    assert run.trace[0].steps == T


class Adversaries(nn.Module):
    """A generator of sequences and a critic, which reads real and made ones."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = nn.GRU(I, I), nn.LSTM(I, H, 2)
        self.read = nn.Linear(H, 1)

    def judge(self, x: Tensor) -> Tensor:
        return self.read(self.critic(x)[1][0][-1])


def test_adversaries_that_train_in_turn() -> None:
    def train(model: nn.Module) -> None:
        noise, real = normal(T, B, I), normal(T, B, I, seed=2)
        made, _ = model.generator(noise)
        loss = nn.functional.softplus(-model.judge(real)) + nn.functional.softplus(
            model.judge(made.detach())
        )
        loss.mean().backward()
        nn.functional.softplus(-model.judge(made)).mean().backward()

    calls = [[0], [1], [2]]
    trace = assert_captured(
        lambda: fill(Adversaries().double()),
        train,
        chains={"critic.l0": calls, "critic.l1": calls},
    )
    assert len(trace) == 1 + 2 * 3


class Teacher(nn.Module):
    """A student, and a teacher that follows it at a distance and never learns."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = nn.GRU(I, H), nn.GRU(I, H)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            aim, _ = self.teacher(x)
        return nn.functional.mse_loss(self.student(x)[0], aim)


def test_a_teacher_under_no_grad_is_noted() -> None:
    model = fill(Teacher().double())
    with tt.capture(model) as run:
        model(normal(T, B, I)).backward()
    assert run.trace.names == ("student",)
    assert run.trace.notes == (
        "no gradient could reach layer 'teacher': it ran under torch.no_grad()",
    )


class Hidden(nn.Module):
    """Layers kept in a plain list, where torch itself does not see them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [fill(nn.GRU(I, H).double()), fill(nn.GRU(H, H).double(), seed=1)]

    def forward(self, x: Tensor) -> Tensor:
        out: Any = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
        for layer in self.layers:
            out, _ = layer(out)
        return pad_packed_sequence(out)[0]


def test_layers_that_torch_does_not_know_of() -> None:
    model, twin = Hidden(), Hidden()
    twin.layers = nn.ModuleList(twin.layers)
    with tt.capture(model) as run:
        weighed(model(normal(T, B, I)), 3).backward()
    with tt.capture(twin) as known:
        weighed(twin(normal(T, B, I)), 3).backward()
    assert run.trace.names == ("gru", "gru (2)")
    for seen, wanted in zip(run.trace, known.trace, strict=True):
        assert seen.lengths == wanted.lengths == tuple(LENGTHS.tolist())
        assert torch.equal(seen.gradients, wanted.gradients)
