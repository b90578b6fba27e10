"""The loss reads the wrong outputs: a reverse direction too early, padding, the wrong axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, ctc_loss, mse_loss
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.reports.report import Built, padded, report

LENGTHS = torch.tensor([20, 17, 15, 12, 9, 8, 6, 4])


class Classifier(nn.Module):
    """A recurrent layer and a linear read-out."""

    def __init__(self, rnn: nn.RNNBase, classes: int = 10) -> None:
        super().__init__()
        self.rnn = rnn
        directions = 2 if rnn.bidirectional else 1
        self.fc = nn.Linear(rnn.hidden_size * directions, classes)


@report(
    "yunjey/pytorch-tutorial#149",
    saw="A bidirectional LSTM reads images row by row and classifies from its last output.",
    cause="The reverse direction has read only one input at the last step; use h_n.",
    right=("partial loss",),
    also=("dead parameters",),
)
def last_output_of_a_bidirectional_LSTM() -> Built:
    class BiRNN(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.rnn(x)[0][:, -1])

    net = BiRNN(nn.LSTM(28, 16, 2, batch_first=True, bidirectional=True))
    x, y = torch.rand(8, 28, 28), torch.randint(10, (8,))
    return net, lambda: cross_entropy(net(x), y)


@report(
    "aymericdamien/TensorFlow-Examples#201",
    saw="The classifier uses outputs[-1] of a static bidirectional RNN.",
    cause="The backward outputs are in input order: the last one is the first that was computed.",
    right=("partial loss",),
    also=("dead parameters",),
)
def last_of_outputs_turned_back() -> Built:
    class StaticBidirectional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.forward_cell, self.backward_cell = nn.LSTM(28, 16), nn.LSTM(28, 16)
            self.out = nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            backward = self.backward_cell(x.flip(0))[0].flip(0)
            return self.out(torch.cat([self.forward_cell(x)[0], backward], -1)[-1])

    net, x, y = StaticBidirectional(), torch.rand(28, 8, 28), torch.randint(10, (8,))
    return net, lambda: cross_entropy(net(x), y)


@report(
    "yalesong/pvse#13",
    saw="A bidirectional GRU reads sentences; the model gathers its output at the last word.",
    cause="The reverse direction has read only the last word there; h_n[1] differs.",
    right=("partial loss",),
    also=("dead parameters",),
)
def bidirectional_GRU_gathered_at_the_length() -> Built:
    class Sentence(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, LENGTHS, batch_first=True)
            outputs = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]
            return self.fc(outputs[torch.arange(len(x)), LENGTHS - 1])

    net = Sentence(nn.GRU(12, 16, batch_first=True, bidirectional=True))
    x, y = padded(LENGTHS, 20, 12), torch.randint(10, (8,))
    return net, lambda: cross_entropy(net(x), y)


@report(
    "thtrieu/qclass_dl#1",
    saw="The results are terrible with output = outputs[-1].",
    cause="Sentences are padded at the end: outputs[-1] is the output of the padding.",
    right=("partial loss",),
)
def output_of_the_padding() -> Built:
    class Questions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 12, padding_idx=0)
            self.rnn, self.fc = nn.LSTM(12, 16, batch_first=True), nn.Linear(16, 6)

        def forward(self, words: Tensor) -> Tensor:
            return self.fc(self.rnn(self.embedding(words))[0][:, -1])

    net, y = Questions(), torch.randint(6, (8,))
    words = torch.randint(1, 50, (8, 36)) * (torch.arange(36) < LENGTHS[:, None])
    return net, lambda: cross_entropy(net(words), y)


@report(
    "Atcold/NYU-DLSP20#19",
    saw="A sequence classifier works only while the batches contain little padding.",
    cause="The padding comes first, but the output is taken at index length - 1: too early.",
    right=("partial loss",),
    also=("dead parameters",),
)
def length_as_an_index_behind_padding_in_front() -> Built:
    class Symbols(Classifier):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return self.fc(self.rnn(x)[0][torch.arange(len(x)), lengths - 1])

    net = Symbols(nn.RNN(8, 16, batch_first=True), 4)
    lengths = torch.tensor([9, 8, 8, 8, 7, 7, 7, 7])
    x, y = padded(lengths, 24, 8), torch.randint(4, (8,))
    x = torch.stack([row.roll(24 - int(length), 0) for row, length in zip(x, lengths, strict=True)])
    return net, lambda: cross_entropy(net(x, lengths), y)


@report(
    "zhiyongc/GRU-D#5",
    saw="The hidden state is concatenated to the left of the earlier outputs.",
    cause="This reverses the outputs: the last one belongs to the first step.",
    right=("partial loss",),
    also=("too short", "dead parameters"),
)
def outputs_collected_backwards() -> Built:
    class Collected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.fc = nn.GRUCell(6, 16), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(len(x), 16)
            outputs = x.new_zeros(len(x), 0, 16)
            for step in x.unbind(1):
                h = self.cell(step, h)
                outputs = torch.cat([h[:, None], outputs], 1)
            return self.fc(outputs[:, -1]).squeeze(-1)

    net, x, y = Collected(), torch.randn(8, 20, 6), torch.randn(8)
    return net, lambda: mse_loss(net(x), y)


@report(
    "allenai/allennlp#1713",
    saw="The final encoder state of every shorter sentence is zero.",
    cause="The model reads the last masked output, which is zero for all but the longest sentence.",
    right=("partial loss",),
)
def final_output_masked_away() -> Built:
    class Masked(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, LENGTHS, batch_first=True)
            return self.fc(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0][:, -1])

    net = Masked(nn.LSTM(12, 16, batch_first=True))
    x, y = padded(LENGTHS, 20, 12), torch.randint(10, (8,))
    return net, lambda: cross_entropy(net(x), y)


@report(
    "yunjey/pytorch-tutorial#196",
    saw="The loss stays near 2 and the accuracy at 11 % with batch_first=False.",
    cause="The images are (batch, rows, columns), so the LSTM runs along the batch.",
    right=("axes swapped", "partial loss"),
)
def batch_first_switched_off() -> Built:
    class Rows(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.rnn(x)[0][:, -1])

    net = Rows(nn.LSTM(28, 16, 2))
    x, y = torch.rand(12, 28, 28), torch.randint(10, (12,))
    return net, lambda: cross_entropy(net(x), y)


@report(
    "HHTseng/video-classification#42",
    saw="A CRNN does not use the temporal structure of videos.",
    cause="The frames are (batch, time, features); the LSTM expects (time, batch, features).",
    right=("axes swapped", "partial loss"),
)
def decoder_of_a_video_along_the_batch() -> Built:
    class DecoderRNN(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            outputs, _ = self.rnn(x, None)
            return self.fc(torch.relu(outputs[:, -1]))

    net = DecoderRNN(nn.LSTM(20, 16, 3), 6)
    frames, y = torch.randn(5, 28, 20), torch.randint(6, (5,))
    return net, lambda: cross_entropy(net(frames), y)


@report(
    "AndersonJo/dqn-pytorch#1",
    saw="A recurrent Q-network learns even though its input has the wrong layout.",
    cause="The CNN features are (batch, time, features) and batch_first=True is missing.",
    right=("axes swapped",),
)
def recurrent_q_network_along_the_batch() -> Built:
    class DQN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.affine = nn.LSTM(16, 8), nn.Linear(64 * 8, 4)

        def forward(self, features: Tensor) -> Tensor:
            return self.affine(self.lstm(features)[0].flatten(1))

    net, features = DQN(), torch.randn(32, 64, 16)
    action, target = torch.randint(4, (32, 1)), torch.randn(32, 1)
    return net, lambda: mse_loss(net(features).gather(1, action), target)


@report(
    "https://discuss.pytorch.org/t/lstm-change-batch-first-true-loss-does-not-decrease/62364",
    saw="The loss of a CRNN stops decreasing after adding batch_first=True to its LSTM.",
    cause="The input is still (width, batch, channels), so the axes are swapped.",
    right=("axes swapped",),
)
def batch_first_switched_on() -> Built:
    class CRNN(Classifier):
        def forward(self, columns: Tensor) -> Tensor:
            return self.fc(self.rnn(columns)[0]).log_softmax(-1)

    net = CRNN(nn.LSTM(16, 16, batch_first=True, bidirectional=True), 12)
    columns, text = torch.randn(26, 8, 16), torch.randint(1, 12, (8, 5))
    widths, letters = torch.full((8,), 26), torch.full((8,), 5)
    return net, lambda: ctc_loss(net(columns), text, widths, letters)


READING = (
    last_output_of_a_bidirectional_LSTM,
    last_of_outputs_turned_back,
    bidirectional_GRU_gathered_at_the_length,
    output_of_the_padding,
    length_as_an_index_behind_padding_in_front,
    outputs_collected_backwards,
    final_output_masked_away,
    batch_first_switched_off,
    decoder_of_a_video_along_the_batch,
    recurrent_q_network_along_the_batch,
    batch_first_switched_on,
)
