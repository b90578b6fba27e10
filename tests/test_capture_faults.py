"""What a capture refuses, and what it has to say: one line, what, where and what to do."""

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from captured_nets import CELLS, LAYERS, Encoder, first, float32, packed
from cases import B, H, I, T, fill, normal, weighed
from reference import EXACT, assert_same, unrolled
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import throughtime as tt
from throughtime.recording import kernels
from throughtime.recording.tails import ends
from throughtime.trace import Trace


def with_sizes(sizes: list[int]) -> PackedSequence:
    return PackedSequence(float32(6, I), torch.tensor(sizes))


BAD_INPUTS = {
    # name: layer, input, what the sentence says beside the layer's name
    "no step": (nn.GRU(I, H), float32(0, B, I), "0 steps.*pass at least one"),
    "no step, batch first": (
        nn.LSTM(I, H, batch_first=True),
        float32(B, 0, I),
        "0 steps.*pass at least one",
    ),
    "no step, no batch": (nn.RNN(I, H), float32(0, I), "0 steps.*pass at least one"),
    "features": (nn.LSTM(I, H), float32(T, B, I + 1), f"reads {I} features.* has {I + 1}"),
    "features, packed": (
        nn.LSTM(I + 1, H),
        packed([5, 2]),
        f"reads {I + 1} features.* has {I}",
    ),
    "dtype": (nn.GRU(I, H), normal(T, B, I), r"x\.to\(torch\.float32\)"),
    "whole numbers": (
        nn.GRU(I, H),
        torch.ones(T, B, I, dtype=torch.long),
        r"input is torch\.int64",
    ),
    "length beyond the padding": (nn.LSTM(I, H), packed([5, 9]), "sequence 1 claims 9 steps"),
    "more rows than lengths": (nn.LSTM(I, H), with_sizes([2, 2]), "claims 2 steps.* 6 rows"),
    "lengths that grow": (nn.LSTM(I, H), with_sizes([2, 1, 3]), "lengths do not fit"),
    "an empty step": (nn.LSTM(I, H), with_sizes([3, 3, 0]), "lengths do not fit"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_input_that_a_layer_cannot_take(name: str) -> None:
    layer, x, sentence = BAD_INPUTS[name]
    with (
        tt.capture(Encoder(layer)) as run,
        pytest.raises(tt.InputError, match=f"layer 'rnn' .*{sentence}"),
    ):
        run._model(x)


BAD_CELL_INPUTS = {
    "features": (float32(B, I + 1), f"reads {I} features"),
    "dtype": (normal(B, I), r"x\.to\(torch\.float32\)"),
}


@pytest.mark.parametrize("name", BAD_CELL_INPUTS)
@pytest.mark.parametrize("kind", CELLS)
def test_an_input_that_a_cell_cannot_take(kind: str, name: str) -> None:
    x, sentence = BAD_CELL_INPUTS[name]
    cell = CELLS[kind](I, H)
    with tt.capture(cell), pytest.raises(tt.InputError, match=f"cell' .*{sentence}"):
        cell(x)


BAD_LENGTHS = {
    "too long": ([5, 6, 2], r"lengths\[1\] is 6, and layer 'gru' read 5 steps"),
    "zero": ([5, 2, 0], r"lengths\[2\] is 0"),
    "negative": ([-1, 2, 3], r"lengths\[0\] is -1"),
    "in parts": ([5.0, 2.5, 1.0], r"lengths\[1\] is 2.5: a sequence has a whole number"),
    "too few": ([5, 5], "2 entries, and layer 'gru' read a batch of 3"),
}


@pytest.mark.parametrize("name", BAD_LENGTHS)
def test_lengths_that_do_not_fit(name: str) -> None:
    lengths, sentence = BAD_LENGTHS[name]
    model = nn.GRU(I, H)
    with tt.capture(model, lengths=torch.tensor(lengths)) as run:
        model(float32(T, B, I))[0].sum().backward()
    with pytest.raises(tt.InputError, match=sentence):
        _ = run.trace


@pytest.mark.parametrize("argument", [{"memory": 0}, {"memory": -1}])
def test_a_memory_budget_of_nothing(argument: dict[str, int]) -> None:
    with pytest.raises(tt.InputError, match="memory must be a positive number"):
        tt.capture(nn.GRU(I, H), **argument)


def test_something_else_than_a_model() -> None:
    with pytest.raises(tt.InputError, match=r"takes a torch\.nn\.Module, not a function"):
        tt.capture(lambda x: x)


def test_a_trace_inside_the_block_is_refused() -> None:
    with tt.capture(nn.GRU(I, H)) as run, pytest.raises(tt.InputError, match="leave the 'with'"):
        _ = run.trace


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("kind", LAYERS)
def test_one_step_and_an_empty_batch_work(kind: str, batch: int, steps: int) -> None:
    model = fill(LAYERS[kind](I, H, 2, bidirectional=True).double())
    with tt.capture(model) as run:
        weighed(model(normal(steps, batch, I))[0], 3).backward()
    shapes = {layer.gradients.shape[:2] for layer in run.trace}
    assert shapes == {(steps, batch)}
    assert all(layer.verified is not None and layer.verified < EXACT for layer in run.trace)


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_on_an_empty_batch_works(kind: str) -> None:
    model = fill(CELLS[kind](I, H).double())
    with tt.capture(model) as run:
        state = None
        for x in normal(T, 0, I):
            state = model(x, state)
        first(state).sum().backward()
    (layer,) = run.trace
    assert layer.gradients.shape[:2] == (T, 0)


def still_from(step: int, value: float = 0.0) -> Tensor:
    """An input that stands still from that step on, in the second sequence of the batch."""
    x = float32(8, B, I)
    x[step:, 1] = value
    return x


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_batch_that_looks_padded_warns(value: float) -> None:
    model = nn.GRU(I, H)
    with tt.capture(model) as run:
        model(still_from(4, value))[0].sum().backward()
    with pytest.warns(
        tt.ThroughtimeWarning, match="'gru' stands still at the end of 1 of .*lengths="
    ):
        trace = run.trace
    assert "lengths=" in " ".join(trace.notes)


NOT_PADDED = {
    "moves to the end": (still_from(7), None),
    "pauses at the end": (still_from(5), None),
    "never moves": (float32(1, B, I).expand(8, B, I), None),
    "is infinite at the end": (still_from(4, math.inf), None),
    "lengths are given": (still_from(4), [8, 4, 8]),
    "short": (torch.zeros(3, B, I), None),
    "packed": (packed([8, 4, 8], 8), None),
}


@pytest.mark.parametrize("name", NOT_PADDED)
def test_a_batch_that_is_not_padded_does_not_warn(name: str) -> None:
    x, lengths = NOT_PADDED[name]  # a warning would be an error
    model = Encoder(nn.GRU(I, H))
    with tt.capture(model, lengths=lengths) as run:
        model(x).backward()
    assert not run.trace.notes


@pytest.mark.parametrize(("value", "lengths"), [(0.0, (8, 4, 8)), (math.inf, ())])
def test_a_sequence_does_not_end_where_it_turns_infinite(
    value: float, lengths: tuple[int, ...]
) -> None:
    assert ends(still_from(4, value)) == lengths


def test_lengths_say_where_the_padding_begins() -> None:
    model = nn.GRU(I, H)
    with tt.capture(model, lengths=[8, 4, 8]) as run:
        model(still_from(4))[0].sum().backward()
    assert run.trace[0].alive().sum(0).tolist() == [8, 4, 8]


def test_lengths_belong_to_the_encoder() -> None:
    encoder, decoder = nn.GRU(I, H), nn.GRU(H, H)
    model = nn.ModuleList([encoder, decoder])
    with tt.capture(model, lengths=[T, 2, 1]) as run:
        out, state = encoder(float32(T, B, I))
        decoder(out[:2], state)[0].sum().backward()
    assert [layer.lengths for layer in run.trace] == [(T, 2, 1), None]


@pytest.mark.parametrize(
    ("is_cuda", "training", "grad", "off"),
    [
        (True, False, True, True),
        (True, True, True, False),
        (True, False, False, False),
        (False, False, True, False),
    ],
)
def test_cudnn_is_off_where_it_has_no_backward(
    is_cuda: bool, training: bool, grad: bool, off: bool
) -> None:
    fused = SimpleNamespace(inputs=SimpleNamespace(is_cuda=is_cuda), training=training)
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=True, deterministic=True), torch.set_grad_enabled(grad):
        with kernels.Fused._on_gpu(fused):
            assert cudnn.enabled is not off
            assert cudnn.deterministic is not off
        assert (cudnn.enabled, cudnn.deterministic) == (True, True)


def test_cudnns_warning_of_scattered_weights_is_ours_and_not_the_users() -> None:
    fused = SimpleNamespace(inputs=SimpleNamespace(is_cuda=True), training=True)
    with kernels.Fused._on_gpu(fused):
        warnings.warn("RNN module weights are not part of single contiguous chunk", stacklevel=1)
    with pytest.raises(UserWarning, match="another"), kernels.Fused._on_gpu(fused):
        warnings.warn("another", stacklevel=1)


def check_on_cuda(training: bool, **settings: bool | int) -> Trace:
    def build() -> nn.Module:
        model = fill(nn.LSTM(I, H, **settings).double())
        return model.train(training)

    model, (loops, walks) = build().cuda(), unrolled(build())
    with tt.capture(model) as run:
        weighed(model(normal(T, B, I).cuda())[0], 3).backward()
    weighed(loops(normal(T, B, I))[0], 3).backward()
    on_cpu = run.trace
    assert_same(on_cpu, walks, EXACT)
    return on_cpu


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")
@pytest.mark.parametrize("training", [True, False])
def test_on_a_gpu(training: bool) -> None:
    check_on_cuda(training, num_layers=2, bidirectional=True)
