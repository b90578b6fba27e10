"""Parameters without a gradient, and parameters that the forward pass changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, mse_loss

import throughtime as tt
from benchmarks.reports.report import Built, report


@report(
    "ikostrikov/pytorch-meta-optimizer#11",
    saw="The LSTM weights of a meta-optimizer do not change.",
    cause="The cells are in a Python list, so the model does not register them.",
    right=("dead parameters",),
)
def cells_in_a_python_list() -> Built:
    class MetaOptimizer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(3, 16), nn.Linear(16, 1)
            self.lstms = [nn.LSTMCell(16, 16) for _ in range(2)]

        def forward(self, x: Tensor) -> Tensor:
            states = [(x.new_zeros(x.shape[1], 16),) * 2 for _ in self.lstms]
            updates = []
            for step in x:
                h = torch.tanh(self.into(step))
                for layer, cell in enumerate(self.lstms):
                    states[layer] = cell(h, states[layer])
                    h = states[layer][0]
                updates.append(self.out(h))
            return torch.stack(updates)

    net, x = MetaOptimizer(), torch.randn(20, 8, 3)
    return net, lambda: net(x).square().mean()


@report(
    "fastai/fastai2#427",
    saw="weight_hh_l0_raw.grad is None after backward.",
    cause="WeightDropout gives the LSTM a new leaf, so the raw weight gets no gradient.",
    right=("dead parameters", "weights changed"),
)
def weight_dropout_without_backpropagation() -> Built:
    class WeightDropout(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.LSTM(6, 16)
            self.weight_hh_l0_raw = nn.Parameter(self.module.weight_hh_l0.detach().clone())

        def forward(self, x: Tensor) -> Tensor:
            dropped = dropout(self.weight_hh_l0_raw, 0.3, self.training)
            self.module.weight_hh_l0 = nn.Parameter(dropped.detach())
            return self.module(x)[0]

    net, x = WeightDropout(), torch.randn(20, 8, 6)
    return net, lambda: net(x).square().mean()


@report(
    "keitakurita/Better_LSTM_PyTorch#7",
    saw="forward() drops entries of weight_hh and never restores them.",
    cause="Dropout changes the weight itself: it is all zero after some batches.",
    right=("weights changed",),
)
def dropout_written_into_the_weight() -> Built:
    class BetterLSTM(nn.LSTM):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            for name, parameter in self.named_parameters():
                if "weight_hh" in name:
                    parameter.data = dropout(parameter.data, 0.2, self.training)
            return super().forward(x)[0]

    net, x = BetterLSTM(6, 16), torch.randn(20, 8, 6)
    return net, lambda: net(x).square().mean()


@report(
    "dasguptar/treelstm.pytorch#4",
    saw="The layers fx and fh are declared but never used.",
    cause="A typo: the forget gate uses ix and ih, the layers of the input gate.",
    right=("dead parameters",),
)
def forget_gate_by_the_layers_of_the_input_gate() -> Built:
    class ChildSumTreeLSTM(nn.Module):
        def __init__(self, inputs: int, size: int) -> None:
            super().__init__()
            for gate in ("i", "f", "u", "o"):
                setattr(self, f"{gate}x", nn.Linear(inputs, size))
                setattr(self, f"{gate}h", nn.Linear(size, size))
            self.size = size

        def forward(self, x: Tensor) -> Tensor:
            h = c = x.new_zeros(x.shape[1], self.size)
            for step in x:  # a tree without branches
                i, o = (torch.sigmoid(self.gate(name, step, h)) for name in ("i", "o"))
                f = torch.sigmoid(self.gate("i", step, h))
                c = i * torch.tanh(self.gate("u", step, h)) + f * c
                h = o * torch.tanh(c)
                tt.mark((h, c), "tree")
            return h

        def gate(self, name: str, step: Tensor, h: Tensor) -> Tensor:
            return self.get_submodule(f"{name}x")(step) + self.get_submodule(f"{name}h")(h)

    net, x = ChildSumTreeLSTM(6, 16), torch.randn(10, 8, 6)
    return net, lambda: net(x).square().mean()


@report(
    "ematvey/tensorflow-seq2seq-tutorials#1",
    saw="A bidirectional encoder concatenates the forward output with itself.",
    cause="A typo: the backward output is not used.",
    right=("dead parameters", "partial loss"),
    also=("no gradient",),
)
def forward_output_joined_with_itself() -> Built:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fw, self.bw, self.out = nn.LSTM(6, 16), nn.LSTM(6, 16), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            forward, _backward = self.fw(x)[0], self.bw(x.flip(0))[0].flip(0)
            return self.out(torch.cat([forward, forward], -1))

    net, x, y = Encoder(), torch.randn(20, 8, 6), torch.randint(5, (20, 8))
    return net, lambda: cross_entropy(net(x).flatten(0, 1), y.flatten())


@report(
    "b04901014/FT-w2v2-ser#3",
    saw="The LSTM seems to be useless.",
    cause="The LSTM is built, but the forward pass never runs it.",
    right=("NothingRecordedError", "dead parameters"),
)
def LSTM_that_never_runs() -> Built:
    class Finetuned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.rnn = nn.Linear(12, 16), nn.LSTM(16, 16, bidirectional=True)
            self.head = nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.features(x)).mean(0))

    net, x, y = Finetuned(), torch.randn(20, 8, 12), torch.randint(4, (8,))
    return net, lambda: cross_entropy(net(x), y)


@report(
    "pytorch/pytorch#1339",
    saw="The gradients of the first of two modules are None.",
    cause="An argmax between the modules has no gradient.",
    right=("dead parameters",),
    also=("no gradient",),
)
def argmax_between_two_modules() -> Built:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.words = nn.GRU(6, 16), nn.Linear(16, 20)
            self.embed, self.second = nn.Embedding(20, 12), nn.GRU(12, 16)
            self.out = nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            symbols = self.words(self.first(x)[0]).max(-1)[1]
            return self.out(self.second(self.embed(symbols))[0])

    net, x, y = Two(), torch.randn(15, 8, 6), torch.randint(5, (15, 8))
    return net, lambda: cross_entropy(net(x).flatten(0, 1), y.flatten())


@report(
    "keras-team/keras#2995",
    saw="The decoder starts from the values of the encoder's state; does the encoder learn?",
    cause="The values are copied outside the graph, so the encoder gets no gradient.",
    right=("dead parameters",),
    also=("no gradient", "truncated"),
)
def encoder_state_copied_by_value() -> Built:
    class Seq2Seq(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.LSTM(6, 16), nn.LSTM(5, 16)
            self.out = nn.Linear(16, 5)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            _, (h, c) = self.encoder(x)
            state = torch.tensor(h.tolist()), torch.tensor(c.tolist())
            return self.out(self.decoder(y, state)[0])

    net, x, y = Seq2Seq(), torch.randn(15, 8, 6), torch.randn(12, 8, 5)
    return net, lambda: mse_loss(net(x, y)[:-1], y[1:])


@report(
    "coqui-ai/TTS#2348",
    saw="The speaker consistency loss has no effect.",
    cause="The speaker encoder runs under no_grad, so its loss has no gradient.",
    right=("dead parameters",),
    also=("no gradient",),
)
def speaker_encoder_without_gradients() -> Built:
    class YourTTS(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator, self.mel = nn.GRU(8, 16), nn.Linear(16, 10)
            self.speaker_encoder = nn.LSTM(10, 12)

        def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
            mel = self.mel(self.generator(text)[0])
            with torch.no_grad():
                speaker = self.speaker_encoder(mel)[0][-1]
            return mel, speaker

    net, text = YourTTS(), torch.randn(18, 8, 8)
    wanted, speaker = torch.randn(18, 8, 10), torch.randn(8, 12)

    def loss() -> Tensor:
        mel, heard = net(text)
        return mse_loss(mel, wanted) + mse_loss(heard, speaker)

    return net, loss


@report(
    "spro/practical-pytorch#81",
    saw="A decoder starts from encoder_hidden[:n_layers] of a two-layer bidirectional GRU.",
    cause="Those are the two directions of layer 1; layer 2 is not used.",
    right=("dead parameters", "partial loss"),
    also=("no gradient",),
)
def decoder_started_from_the_lower_layer() -> Built:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.GRU(8, 16, 2, bidirectional=True)
            self.decoder, self.out = nn.GRU(8, 16, 2), nn.Linear(16, 20)

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            _, hidden = self.encoder(source)
            return self.out(self.decoder(target, hidden[:2].contiguous())[0])

    net, source, target = Translator(), torch.randn(14, 6, 8), torch.randn(10, 6, 8)
    words = torch.randint(20, (10, 6))
    return net, lambda: cross_entropy(net(source, target).flatten(0, 1), words.flatten())


@report(
    "fastai/fastai#2397",
    saw="Regularising the LSTM's activations has no effect in the first training phase.",
    cause="Everything below the head is frozen, so the LSTM gets no gradient.",
    right=("dead parameters", "no gradient", "NoGradientError"),
)
def frozen_language_model_under_a_head() -> Built:
    class TextClassifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.rnn = nn.Embedding(50, 12), nn.LSTM(12, 16, batch_first=True)
            self.head = nn.Linear(48, 2)
            for part in (self.encoder, self.rnn):
                part.requires_grad_(requires_grad=False)

        def forward(self, words: Tensor) -> Tensor:
            outputs = self.rnn(self.encoder(words))[0]
            return self.head(torch.cat([outputs[:, -1], outputs.amax(1), outputs.mean(1)], -1))

    net, words, y = TextClassifier(), torch.randint(50, (8, 20)), torch.randint(2, (8,))
    return net, lambda: cross_entropy(net(words), y)


@report(
    "sanyam5/skip-thoughts#1",
    saw="The model defines two decoders, but forward uses only one of them.",
    cause="prev_lstm decodes both sentences; next_lstm never runs.",
    right=("dead parameters",),
)
def second_decoder_that_never_runs() -> Built:
    class SkipThoughts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.LSTM(8, 16)
            self.prev_lstm, self.next_lstm = nn.LSTM(24, 8), nn.LSTM(24, 8)

        def forward(self, sentences: Tensor) -> tuple[Tensor, Tensor]:
            thoughts = self.encoder(sentences)[1][0].expand(len(sentences), -1, -1)
            before = torch.cat([thoughts[:, 1:], sentences[:, :-1]], -1)
            after = torch.cat([thoughts[:, :-1], sentences[:, 1:]], -1)
            return self.prev_lstm(before)[0], self.prev_lstm(after)[0]

    net, sentences = SkipThoughts(), torch.randn(12, 7, 8)

    def loss() -> Tensor:
        before, after = net(sentences)
        return mse_loss(before[:-1], sentences[1:, :-1]) + mse_loss(after[:-1], sentences[1:, 1:])

    return net, loss


@report(
    "jazzsaxmafia/show_attend_and_tell.tensorflow#10",
    saw="Training does not produce a usable model.",
    cause="h is computed from the candidate, so nothing reads the cell state.",
    right=("dead parameters", "no gradient"),
    also=("other routes",),
)
def output_from_the_candidate() -> Built:
    class Captions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.decode = nn.Linear(8 + 16, 4 * 16), nn.Linear(16, 20)

        def forward(self, words: Tensor) -> Tensor:
            h = c = words.new_zeros(words.shape[1], 16)
            logits = []
            for word in words:
                i, f, o, new = self.lstm(torch.cat([word, h], -1)).chunk(4, -1)
                new_c = torch.tanh(new)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * new_c
                h = torch.sigmoid(o) * torch.tanh(new_c)
                tt.mark((h, c), "lstm")
                logits.append(self.decode(h))
            return torch.stack(logits)

    net, words, y = Captions(), torch.randn(12, 6, 8), torch.randint(20, (12, 6))
    return net, lambda: cross_entropy(net(words).flatten(0, 1), y.flatten())


PARAMETERS = (
    cells_in_a_python_list,
    weight_dropout_without_backpropagation,
    dropout_written_into_the_weight,
    forget_gate_by_the_layers_of_the_input_gate,
    forward_output_joined_with_itself,
    LSTM_that_never_runs,
    argmax_between_two_modules,
    encoder_state_copied_by_value,
    speaker_encoder_without_gradients,
    decoder_started_from_the_lower_layer,
    frozen_language_model_under_a_head,
    second_decoder_that_never_runs,
    output_from_the_candidate,
)
