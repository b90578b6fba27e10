"""What every task promises: its trivial answer, its windows, its held-out data, any cell."""

import re
import time

import pytest
import torch
from torch import Tensor, nn

from throughtime.cells import CELLS
from throughtime.errors import InputError
from throughtime.problem import Problem
from throughtime.tasks import TASKS, make_task
from throughtime.tasks.sequences import NOT_ASKED
from throughtime.training import train

SHORT = {"digits": None, "digits-permuted": None}  # they have one length
STREAMS = ["words", "characters"]
DRAWN = [  # task and settings of everything that is drawn from a generator
    ("adding", {}),
    ("adding", {"variant": "skip"}),
    ("adding", {"variant": "1997"}),
    ("copy", {}),
    ("copy", {"variant": "2019"}),
    ("copy-ten", {}),
    ("temporal-order", {}),
    ("temporal-order", {"symbols": 3}),
    ("temporal-order", {"variant": "1997"}),
    ("delayed-xor", {}),
    ("parity", {}),
    ("latch", {}),
]


def small(task: str, cell="lstm", **settings) -> Problem:
    return make_task(task, cell=cell, **{"length": SHORT.get(task, 20), "hidden": 6, **settings})


def many(task: str, **settings) -> tuple[Tensor, Tensor]:
    return next(small(task, batch=20_000, **settings).batches(1))


def best_constant(targets: Tensor) -> float:
    """The loss of the best answer that knows the step and nothing else."""
    if targets.is_floating_point():
        return targets.var(unbiased=False).item()
    asked = [step for step in torch.atleast_2d(targets) if (step != NOT_ASKED).all()]
    shares = [torch.bincount(step).double() / len(step) for step in asked]
    return float(sum(-torch.xlogy(share, share).sum() for share in shares) / len(shares))


@pytest.mark.parametrize(("task", "settings"), DRAWN)
def test_the_trivial_loss_is_that_of_the_best_answer_that_ignores_the_input(task, settings) -> None:
    _, targets = many(task, **settings)
    assert best_constant(targets) == pytest.approx(small(task, **settings).trivial_loss, rel=0.02)


@pytest.mark.parametrize(
    ("length", "expected"), [(100, 0.1733), (200, 0.0945), (500, 0.0400), (1000, 0.0204)]
)
def test_the_trivial_loss_of_copy_as_it_is_published(length: int, expected: float) -> None:
    problem = make_task("copy", cell="rnn", length=length, hidden=1)
    assert problem.trivial_loss == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("task", "settings", "span"),
    [
        ("adding", {"length": 100}, 99),
        ("adding", {"length": 100, "variant": "1997"}, 108),
        ("copy", {"length": 100}, 110),
        ("temporal-order", {"length": 50}, 44),
        ("temporal-order", {"length": 100, "variant": "1997"}, 100),
        ("delayed-xor", {"length": 300}, 20),
        ("parity", {"length": 50}, 49),
        ("latch", {"length": 100, "informative": 1}, 109),
        ("name-recall", {"length": 30}, 30),
        ("digits", {}, 63),
    ],
)
def test_the_span_is_the_longest_way_back_to_what_is_asked_for(task, settings, span: int) -> None:
    assert make_task(task, cell="rnn", hidden=1, **settings).span == span


@pytest.mark.parametrize("task", TASKS)
def test_every_task_starts_near_or_above_its_trivial_loss(task: str) -> None:
    problem = small(task)
    assert problem.closure().item() > 0.9 * problem.trivial_loss


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("task", ["adding", "delayed-xor", "name-recall", "characters"])
def test_every_cell_can_be_trained_on_numbers_and_on_tokens(task: str, cell: str) -> None:
    problem = small(task, cell, batch=4)
    problem.closure().backward()
    grads = [p.grad for p in problem.model.recurrent.parameters() if p.grad is not None]
    assert any(bool(grad.any()) for grad in grads)


@pytest.mark.parametrize("task", TASKS)
def test_windows_with_the_state_carried_say_what_one_pass_says(task: str) -> None:
    problem = small(task, batch=3)
    inputs, targets = next(problem.batches(0))
    state, said = None, []
    for piece, _ in problem.windows((inputs, targets), 7):
        scores, state = problem.model.run(piece, state)
        said.append(scores)
    together = torch.cat(said) if targets.dim() == 2 else said[-1]
    assert torch.allclose(together, problem.model(inputs), atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_one_window_as_long_as_the_batch_has_the_loss_of_the_batch(task: str) -> None:
    problem = small(task, batch=3)
    batch = next(problem.batches(0))
    ((loss, _),) = [
        problem.carry(problem.model, window, None) for window in problem.windows(batch, 10**6)
    ]
    assert loss.item() == pytest.approx(problem.loss(problem.model, batch).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("task", "asked"), [("adding", [False, False, True]), ("copy", [True] * 6)]
)
def test_where_the_last_step_alone_is_asked_for_its_window_alone_has_a_loss(task, asked) -> None:
    problem = small(task, batch=3)
    pieces = problem.windows(next(problem.batches(0)), 7)
    losses = [problem.carry(problem.model, piece, None)[0] for piece in pieces]
    assert [loss is not None for loss in losses] == asked


def test_a_window_in_which_delayed_xor_asks_for_nothing_has_no_loss() -> None:
    problem = small("delayed-xor", delay=7)
    first, *_ = problem.windows(next(problem.batches(0)), 10)
    assert problem.carry(problem.model, first, None)[0] is None


def test_the_first_window_is_the_short_one() -> None:
    problem = small("adding")
    pieces = problem.windows(next(problem.batches(0)), 7)
    assert [len(inputs) for inputs, _ in pieces] == [6, 7, 7]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_trained_in_windows(task: str) -> None:
    losses = train(small(task, batch=3), 2, window=6).losses
    assert all(loss > 0 for loss in losses)


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_batches(task: str) -> None:
    first, second = (small(task, batch=3).batches(5) for _ in range(2))
    pairs = [(next(first), next(second)) for _ in range(3)]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


@pytest.mark.parametrize("task", TASKS)
def test_another_seed_gives_others(task: str) -> None:
    problem = small(task, batch=64)
    (one, _), (other, _) = (next(problem.batches(seed)) for seed in (0, 1))
    assert one.shape != other.shape or not torch.equal(one, other)


@pytest.mark.parametrize("task", TASKS)
def test_no_task_touches_the_global_random_state(task: str) -> None:
    before = torch.random.get_rng_state()
    problem = small(task)
    next(problem.batches(0))
    problem.evaluate(problem.model)
    assert torch.equal(before, torch.random.get_rng_state())


def test_batches_go_on_from_where_others_were() -> None:
    first, second = small("adding").batches(0), small("adding").batches(1)
    next(first)
    second.load_state_dict(first.state_dict())
    assert torch.equal(next(first)[0], next(second)[0])


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_is_always_the_same_and_leaves_the_mode_alone(task: str) -> None:
    problem = small(task)
    problem.model.train()
    scores = [problem.evaluate(problem.model) for _ in range(2)]
    assert (scores[0], problem.model.training) == (scores[1], True)


@pytest.mark.parametrize("task", [task for task in TASKS if task not in STREAMS])
def test_the_criterion_speaks_of_a_score_that_there_is(task: str) -> None:
    problem = small(task)
    assert problem.solved.met(problem.evaluate(problem.model)) is False


class Oracle(nn.Module):
    """Knows the answer to adding: the sum of what is marked."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs[..., 0] * inputs[..., 1]).sum(dim=0).unsqueeze(-1)


@pytest.mark.parametrize("variant", ["halves", "skip"])
def test_who_knows_the_answer_has_solved_the_task(variant: str) -> None:
    problem = small("adding", variant=variant)
    assert problem.solved.met(problem.evaluate(Oracle()))


def test_fewer_sequences_can_be_asked_for() -> None:
    problem = small("parity")
    one = problem.evaluate(problem.model, sequences=1)["accuracy"]
    assert one in {0.0, 1.0}


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # oneDNN has none
@pytest.mark.parametrize(
    "layer",
    [nn.LSTM(2, 5), nn.GRU(2, 5, bidirectional=True), nn.LSTM(2, 5, proj_size=3), nn.RNN(2, 5, 2)],
    ids=["lstm", "both ways", "projected", "two layers"],
)
def test_a_layer_of_ones_own_is_used_as_it_is(layer: nn.Module) -> None:
    problem = small("adding", layer)
    problem.closure().backward()
    assert problem.model.recurrent is layer


def test_a_layer_of_ones_own_reads_tokens_through_an_embedding_as_wide_as_its_input() -> None:
    assert small("name-recall", nn.GRU(11, 5)).model.embedding.embedding_dim == 11


def test_the_parts_of_a_model_come_in_the_order_in_which_they_are_used() -> None:
    parts = [name for name, _ in small("words").model.named_children()]
    assert parts == ["embedding", "recurrent", "readout"]


@pytest.mark.parametrize("unit", STREAMS)
def test_a_stream_goes_on_where_it_was(unit: str) -> None:
    stream = small(unit, batch=4, stream=True).batches(0)
    (_, before), (after, _) = next(stream), next(stream)
    assert torch.equal(before[-1], after[0])


def test_readers_of_a_stream_start_a_share_of_the_text_apart() -> None:
    text = "".join(chr(0x4E00 + n) for n in range(2000))  # every character once
    problem = small("characters", batch=4, stream=True, text=text, vocabulary=5000)
    inputs, _ = next(problem.batches(0))
    assert {int(d) for d in (inputs[0, 1:] - inputs[0, :-1]) % 1800} == {450}


def test_a_stream_carries_its_state_from_batch_to_batch() -> None:
    problem = small("words", stream=True)
    assert (problem.windows, problem.carry is None) == (None, False)


def test_a_syllable_of_korean_is_one_character() -> None:
    text = "영희가 방에 들어왔다. 철수는 자고 있었다. " * 20
    assert small("characters", text=text).model.readout.out_features == len(set(text)) + 1


@pytest.mark.parametrize(
    ("task", "wrong", "message"),
    [
        (
            "addition",
            {},
            "unknown task 'addition'; did you mean 'adding'? choose from: adding, copy,",
        ),
        ("adding", {"length": 9}, "length is 9, and must be at least 10"),
        ("adding", {"batch": 0}, "batch is 0, and must be at least 1"),
        ("adding", {"hidden": 0}, "hidden is 0, and must be at least 1"),
        ("adding", {"variant": "1998"}, "unknown variant '1998'; did you mean '1997'"),
        (
            "adding",
            {"markers": 3},
            "task 'adding': unknown setting 'markers'; choose from: length, variant",
        ),
        ("adding", {"cell": "elman"}, "choose from: rnn,"),
        ("adding", {"cell": nn.LSTM(3, 4)}, "make it with input_size=2"),
        ("adding", {"cell": nn.LSTM(2, 4, batch_first=True)}, "batch_first=False"),
        ("adding", {"cell": nn.Linear(2, 4)}, "the signature of nn.LSTM"),
        ("copy", {"length": 0}, "length is 0, and must be at least 1"),
        ("copy", {"variant": "eleven"}, "choose from: 2016, 2019, ten"),
        ("temporal-order", {"symbols": 4}, "has 2 or 3 that matter"),
        ("temporal-order", {"variant": "2012"}, "choose from: 2013, 1997"),
        ("temporal-order", {"length": 5}, "must be at least 10"),
        ("delayed-xor", {"length": 20, "delay": 10}, "must be at least 21"),
        ("delayed-xor", {"delay": 0}, "delay is 0"),
        ("parity", {"length": 1}, "must be at least 2"),
        ("parity", {"noise": -0.1}, "noise is -0.1, and must be at least 0"),
        ("latch", {"informative": 0}, "informative is 0"),
        ("latch", {"informative": 20}, "length is 20, and must be at least 21"),
        ("digits", {"length": 784}, "an image has 64 pixels"),
        ("digits", {"batch": 1438}, "there are 1437 images"),
        ("words", {"unit": "letters"}, "unknown unit 'letters'; choose from: words,"),
        ("name-recall", {"batch": 0}, "batch is 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(task: str, wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=rf"\A[^\n]*{re.escape(message)}[^\n]*\Z"):
        small(task, **wrong)


def test_a_long_batch_is_drawn_quickly() -> None:
    stream = make_task("adding", cell="rnn", length=1000, hidden=1, batch=50).batches(0)
    next(stream)
    began = time.perf_counter()
    next(stream)
    assert (time.perf_counter() - began) / 50 < 1e-3  # seconds a sequence; it takes 1e-5
