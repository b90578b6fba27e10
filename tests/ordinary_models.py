"""Ordinary correct models: functions that return (model, closure), or lengths as well."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn

T, B, I, H, CLASSES, WORDS = 12, 6, 3, 5, 4, 11
LENGTHS = (12, 9, 7, 12, 5, 8)
Built = tuple[Any, ...]


class Net(nn.Module):
    """Its parts, and a forward pass that is given."""

    def __init__(self, run: Callable[["Net"], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self) -> Tensor:
        return self.run(self)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def words(*shape: int, most: int = WORDS) -> Tensor:
    return torch.randint(1, most, shape, generator=torch.Generator().manual_seed(7))


def net(run: Callable[[Any], Tensor], **parts: nn.Module) -> Built:
    model = Net(run, **parts)
    return model, model


def padded(first: str = "time") -> Tensor:
    """Words with zeros after the end of each sequence."""
    alive = torch.arange(T).unsqueeze(1) < torch.tensor(LENGTHS)
    found = words(T, B) * alive
    return found if first == "time" else found.T


def head(size: int = H) -> nn.Linear:
    return nn.Linear(size, CLASSES)


def ce(scores: Tensor, least: int = 0) -> Tensor:
    return functional.cross_entropy(scores, words(len(scores), most=CLASSES) * 0 + least)


def tagging(ignored: bool, bidirectional: bool = False) -> Built:
    x = padded("batch")
    targets = torch.where(x == 0, -100, x % CLASSES) if ignored else x % CLASSES
    size = 2 * H if bidirectional else H
    return net(
        lambda m: functional.cross_entropy(m.head(m.lstm(m.embed(x))[0]).transpose(1, 2), targets),
        embed=nn.Embedding(WORDS, I, padding_idx=0),
        lstm=nn.LSTM(I, H, batch_first=True, bidirectional=bidirectional),
        head=head(size),
    )


def pack(m: Any, x: Tensor) -> rnn.PackedSequence:
    return rnn.pack_padded_sequence(m.embed(x), torch.tensor(LENGTHS), enforce_sorted=False)


def packed(read: str, **options: Any) -> Built:
    x = padded()

    def run(m: Any) -> Tensor:
        out, (h_n, _) = m.lstm(pack(m, x))
        padded_out = rnn.pad_packed_sequence(out)[0]
        if read == "gather":
            return ce(m.head(padded_out[torch.tensor(LENGTHS) - 1, torch.arange(B)]))
        if read == "mean":
            return ce(m.head(padded_out.sum(0) / torch.tensor(LENGTHS).unsqueeze(1)))
        return ce(m.head(torch.cat([h_n[-2], h_n[-1]], -1) if m.lstm.bidirectional else h_n[-1]))

    size = 2 * H if options.get("bidirectional") else H
    return net(
        run,
        embed=nn.Embedding(WORDS, I, padding_idx=0),
        lstm=nn.LSTM(I, H, **options),
        head=head(size),
    )


def gathered(dropout: float = 0.0) -> Built:
    """A padded batch, read at lengths − 1, with lengths given."""
    x, last = padded(), torch.tensor(LENGTHS) - 1
    model, closure = net(
        lambda m: ce(
            m.head(m.gru(functional.dropout(m.embed(x), dropout))[0][last, torch.arange(B)])
        ),
        embed=nn.Embedding(WORDS, I),
        gru=nn.GRU(I, H),
        head=head(),
    )
    return model, closure, LENGTHS


def last(kind: type[nn.Module], batch_first: bool, batch: int = B, steps: int = T) -> Built:
    x = draw(batch, steps, I) if batch_first else draw(steps, batch, I)
    index = (slice(None), -1) if batch_first else -1
    return net(
        lambda m: ce(m.head(m.rnn(x)[0][index])),
        rnn=kind(I, H, batch_first=batch_first),
        head=head(),
    )


def bidirectional(read: str, layers: int = 1) -> Built:
    x = draw(T, B, I)

    def run(m: Any) -> Tensor:
        out, (h_n, _) = m.lstm(x)
        if read == "h_n":
            return ce(m.head(torch.cat([h_n[-2], h_n[-1]], -1)))
        if read == "ends":
            return ce(m.head(torch.cat([out[-1, :, :H], out[0, :, H:]], -1)))
        return ce(m.head(out.amax(0) if read == "max" else out.mean(0)))

    return net(run, lstm=nn.LSTM(I, H, layers, bidirectional=True), head=head(2 * H))


def seq2seq(attention: bool) -> Built:
    source, target = draw(T, B, I), words(8, B)

    def run(m: Any) -> Tensor:
        memory, state = m.encoder(source)
        out, _ = m.decoder(m.embed(target), state)
        if attention:
            weights = torch.einsum("tbh,sbh->tbs", out, memory).softmax(-1)
            out = torch.cat([out, torch.einsum("tbs,sbh->tbh", weights, memory)], -1)
        return functional.cross_entropy(
            m.head(out[:-1]).flatten(0, 1), target[1:].flatten() % CLASSES
        )

    return net(
        run,
        encoder=nn.GRU(I, H),
        decoder=nn.GRU(I, H),
        embed=nn.Embedding(WORDS, I),
        head=head(2 * H if attention else H),
    )


def language_model(tied: bool) -> Built:
    x = words(T + 1, B)
    model, closure = net(
        lambda m: functional.cross_entropy(
            m.out(m.lstm(m.embed(x[:-1]))[0]).flatten(0, 1), x[1:].flatten()
        ),
        embed=nn.Embedding(WORDS, H),
        lstm=nn.LSTM(H, H, 2, dropout=0.2),
        out=nn.Linear(H, WORDS),
    )
    if tied:
        model.out.weight = model.embed.weight
    return model, closure


def pooled() -> Built:
    x = draw(B, T, I)

    def run(m: Any) -> Tensor:
        out = m.gru(x)[0]
        weights = m.score(torch.tanh(m.key(out))).softmax(1)
        return ce(m.head((weights * out).sum(1)))

    return net(
        run,
        gru=nn.GRU(I, H, batch_first=True),
        key=nn.Linear(H, H),
        score=nn.Linear(H, 1),
        head=head(),
    )


def loop(cell: type[nn.Module], every: bool) -> Built:
    x = draw(T, B, I)

    def run(m: Any) -> Tensor:
        state, outs = None, []
        for step in x:
            state = m.cell(step, state)
            outs.append(m.head(state[0] if isinstance(state, tuple) else state))
        return torch.stack([ce(out) for out in outs]).mean() if every else ce(outs[-1])

    return net(run, cell=cell(I, H), head=head())


def hinge() -> Built:
    """A margin that some sequences of the batch meet: their gradient is exactly 0."""
    x = draw(T, B, I)
    bar = torch.tensor([9.0, -9.0, 9.0, 9.0, -9.0, 9.0])
    return net(
        lambda m: torch.relu(bar - m.head(m.lstm(x)[0][-1]).squeeze(-1)).mean(),
        lstm=nn.LSTM(I, H),
        head=nn.Linear(H, 1),
    )


def ctc() -> Built:
    x, lengths = draw(T, B, I), torch.tensor([4, 4, 9, 4, 4, 4])
    targets = torch.ones(B, 9, dtype=torch.long)
    return net(
        lambda m: functional.ctc_loss(
            m.head(m.lstm(x)[0]).log_softmax(-1),
            targets,
            torch.full((B,), T),
            lengths,
            zero_infinity=True,
        ),
        lstm=nn.LSTM(I, H, bidirectional=True),
        head=head(2 * H),
    )


def frozen_embedding() -> Built:
    x = words(T, B)
    return net(
        lambda m: ce(m.head(m.lstm(m.embed(x))[0][-1])),
        embed=nn.Embedding.from_pretrained(draw(WORDS, I)),
        lstm=nn.LSTM(I, H),
        head=head(),
    )


def constrained(how: Callable[..., Any]) -> Built:
    x = draw(T, B, I)
    layer = how(nn.RNN(I, H), "weight_hh_l0")
    return net(lambda m: ce(m.head(m.rnn(x)[0][-1])), rnn=layer, head=head())


def normed() -> Built:
    x = draw(T, B, I)
    return net(
        lambda m: ce(m.head(m.norm(m.lstm(m.before(x.flatten(0, 1)).view(T, B, I))[0][-1]))),
        before=nn.BatchNorm1d(I),
        lstm=nn.LSTM(I, H),
        norm=nn.LayerNorm(H),
        head=head(),
    )


def silent_tail() -> Built:
    """A memory task: the input falls silent at the same step for all sequences."""
    x = torch.cat([draw(4, B, I), torch.zeros(T - 4, B, I)])
    return net(lambda m: ce(m.head(m.lstm(x)[0][-1])), lstm=nn.LSTM(I, H), head=head())


def bits() -> Built:
    """Parity: neighbouring bits are often the same, also at the end."""
    x = words(T, B, 1, most=3).float() - 1
    return net(lambda m: ce(m.head(m.rnn(x)[0][-1])), rnn=nn.RNN(1, H), head=head())


def one_hot() -> Built:
    x = functional.one_hot(words(B, T), WORDS).float()
    return net(
        lambda m: ce(m.head(m.gru(x)[1][-1])), gru=nn.GRU(WORDS, H, batch_first=True), head=head()
    )


def renormed() -> Built:
    x = words(T, B)
    return net(
        lambda m: ce(m.head(m.lstm(m.embed(x))[0][-1])),
        embed=nn.Embedding(WORDS, I, max_norm=0.5),
        lstm=nn.LSTM(I, H),
        head=head(),
    )


def zero_start() -> Built:
    """A residual branch that starts at 0, and opens with the first update."""
    x = draw(T, B, I)

    def run(m: Any) -> Tensor:
        out = m.lstm(x)[0][-1]
        return ce(m.head(out + m.alpha.weight * m.branch(out)))

    model, closure = net(
        run,
        lstm=nn.LSTM(I, H),
        branch=nn.Linear(H, H),
        alpha=nn.Linear(1, 1, bias=False),
        head=head(),
    )
    nn.init.zeros_(model.alpha.weight)
    return model, closure


def zeros_in() -> Built:
    """An autoencoder whose decoder reads zeros: W_ih of the decoder gets exactly 0."""
    x = draw(T, B, I)

    def run(m: Any) -> Tensor:
        state = m.encoder(x)[1]
        return functional.mse_loss(m.out(m.decoder(torch.zeros(T, B, I), state)[0]), x)

    return net(run, encoder=nn.LSTM(I, H), decoder=nn.LSTM(I, H), out=nn.Linear(H, I))


def forecast() -> Built:
    """The next value at every step but the last."""
    x = draw(B, T, I)
    return net(
        lambda m: functional.mse_loss(m.out(m.lstm(x)[0][:, :-1]), x[:, 1:]),
        lstm=nn.LSTM(I, H, batch_first=True),
        out=nn.Linear(H, I),
    )


def learned_start() -> Built:
    x = draw(T, B, I)
    model = Net(
        lambda m: ce(m.head(m.gru(x, m.start.expand(1, B, H).contiguous())[0][-1])),
        gru=nn.GRU(I, H),
        head=head(),
    )
    model.register_parameter("start", nn.Parameter(draw(1, 1, H)))
    return model, model


def two_towers() -> Built:
    left, right = draw(T, B, I), draw(T, B, I)
    return net(
        lambda m: -functional.cosine_similarity(m.left(left)[1][-1], m.right(right)[1][-1]).mean(),
        left=nn.GRU(I, H),
        right=nn.GRU(I, H),
    )


def stacked() -> Built:
    """Two layers of different modules, the upper one bidirectional, over a masked padded batch."""
    x = padded("batch")
    targets = torch.where(x == 0, -100, x % CLASSES)

    def run(m: Any) -> Tensor:
        out = m.upper(m.dropout(m.lower(m.embed(x))[0]))[0]
        return functional.cross_entropy(m.head(out).transpose(1, 2), targets, ignore_index=-100)

    model, closure = net(
        run,
        embed=nn.Embedding(WORDS, I, padding_idx=0),
        lower=nn.LSTM(I, H, batch_first=True),
        dropout=nn.Dropout(0.1),
        upper=nn.LSTM(H, H, batch_first=True, bidirectional=True),
        head=head(2 * H),
    )
    return model, closure, LENGTHS
