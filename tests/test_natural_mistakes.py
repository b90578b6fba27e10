"""What people hand over by mistake: one line that says what came, and what to write instead."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime import cells, measures, remedies, tasks
from throughtime.errors import counted, unknown


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l = nn.LSTM(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.l(x)[0].square().mean()


with torch.random.fork_rng():
    torch.manual_seed(0)
    MODEL, X = Net(), torch.randn(9, 2, 3)


def loss() -> Tensor:
    return MODEL(X)


TRACE = tt.observe(MODEL, loss)
FOUND = tt.diagnose(TRACE)
PROBLEM = tt.Problem("mine", MODEL, lambda _: iter([X] * 9), lambda model, x: model(x), 4)

GIVEN: dict[str, tuple[Callable[[Any], object], str]] = {
    "observe, a tensor": (lambda g: g.observe(MODEL, loss()), "observe got a tensor for the clo"),
    "diagnose, a tensor": (lambda g: g.diagnose(MODEL, loss()), "diagnose got a tensor for the "),
    "assert_reaches, a tensor": (
        lambda g: g.assert_reaches(MODEL, loss(), 3),
        "assert_reaches got a tensor for the closure: give the function that computes the loss",
    ),
    "swapped": (lambda g: g.observe(loss, MODEL), "got the closure first and then the model"),
    "swapped, diagnose": (lambda g: g.diagnose(loss, MODEL), "got the closure first and then"),
    "a class": (lambda g: g.observe(Net, loss), "not the class Net itself (give an instance, Net"),
    "a class, diagnose": (lambda g: g.diagnose(Net, loss), "not the class Net itself"),
    "a class, capture": (lambda g: g.capture(Net), "not the class Net itself"),
    "an argument": (lambda g: g.observe(MODEL, lambda x: x), "without arguments, and takes 'x'"),
    "the model twice": (lambda g: g.observe(MODEL, MODEL), "without arguments, and takes 'x'"),
    "no closure": (lambda g: g.diagnose(MODEL), "function that returns its loss, not None"),
    "a list": (lambda g: g.diagnose([X, X]), "a model and its closure, not a list"),
    "the answer": (lambda g: g.diagnose(FOUND), "not a Diagnosis: it is the answer already"),
    "a span as text": (
        lambda g: g.diagnose(TRACE, "8"),
        "span is '8': give",
    ),
    "half a step": (
        lambda g: g.diagnose(TRACE, span=1.5),
        "span is 1.5: give",
    ),
    "no number": (
        lambda g: g.assert_reaches(MODEL, loss, float("nan")),
        "span is nan: give",
    ),
    "prescribe, a model": (lambda g: g.prescribe(MODEL), "a model alone cannot be run"),
    "prescribe, a pair": (lambda g: g.prescribe(lambda: (MODEL, loss)), "Problem, not a tuple"),
    "prescribe, a tensor": (lambda g: g.prescribe(loss()), "throughtime.Problem, not a Tensor"),
    "train, a model": (lambda g: g.train(MODEL, 2), "train takes a throughtime.Problem, not a Net"),
    "treat, a tensor": (lambda g: g.treat(X, steps=1, folder="x"), "takes a function for that, n"),
    "report, a trace": (
        lambda g: g.write_report(TRACE, "x.html"),
        "a report takes a Diagnosis, not Trace: tt.diagnose(trace) makes one",
    ),
    "report, named": (lambda g: g.write_report({"a": MODEL}, "x.html"), "a Diagnosis, not Net"),
    "remedy, a class": (lambda _: remedies.chrono_(Net, 9), "takes a torch.nn.Module, not the cl"),
    "window, a diagnosis": (lambda _: remedies.suggest_window(FOUND), "layers, not Diagnosis: "),
    "a layer too many": (lambda _: measures.lyapunov(TRACE, 7), "no layer 7 in this trace: it has"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_natural_mistake_is_told_in_one_line(name: str) -> None:
    do, said = GIVEN[name]
    with pytest.raises(tt.InputError) as caught:
        do(tt)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [FOUND, MODEL, PROBLEM, [X], None, Net, X], ids=type)
@pytest.mark.parametrize(
    "name", [one for one in measures.__all__ if one[0].islower() and one != "reach"]
)
def test_what_is_no_trace_is_told_by_every_measure(name: str, given: object) -> None:
    with pytest.raises(tt.InputError, match="a measure takes a Trace, or one of its layers, not "):
        getattr(measures, name)(given, **({"lag": 3} if name == "directions" else {}))


# The loss as Hugging Face models return it


class Output(OrderedDict[str, Any]):
    @property
    def loss(self) -> Any:
        return self["loss"]


class Plain(NamedTuple):
    logits: Tensor
    loss: Tensor


LOSSES: dict[str, Callable[[], object]] = {
    "a dictionary": lambda: {"logits": X, "loss": loss()},
    "a ModelOutput": lambda: Output(loss=loss(), logits=X),
    "a named tuple": lambda: Plain(X, loss()),
    "a tuple": lambda: (loss(), X),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_taken_out_of_what_a_model_returns(name: str) -> None:
    trace = tt.observe(MODEL, LOSSES[name])  # type: ignore[arg-type]  # that is the test
    assert torch.equal(trace[0].gradients, TRACE[0].gradients)


NO_LOSS: dict[str, tuple[object, str]] = {
    "logits first": (
        (X, 1),
        r"returned a tuple whose first element is a tensor of shape \(9, 2, 3",
    ),
    "a number first": ((3.0, X), "a tuple whose first element is float"),
    "no entry": ({"logits": X}, "returned entries 'logits' and no 'loss' in a dict"),
    "no labels": (Output(loss=None), "a Output whose loss is None: give the model its labels"),
    "nothing": (None, "returned None: is a return missing?"),
    "a list": ([X], "returned list"),
}


@pytest.mark.parametrize("name", NO_LOSS)
def test_what_holds_no_loss_is_told_with_what_it_holds(name: str) -> None:
    given, said = NO_LOSS[name]
    with pytest.raises(tt.InputError, match=said):
        tt.observe(MODEL, lambda: given)  # type: ignore[arg-type,return-value]  # that is the test


# Did you mean


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("cronno", "unknown remedy 'cronno'; did you mean 'chrono'? choose from: chrono, relu-rnn"),
        ("Chrono", "unknown remedy 'Chrono'; did you mean 'chrono'? choose from: chrono, relu-rnn"),
        ("relu_rnn", "unknown remedy 'relu_rnn'; did you mean 'relu-rnn'? choose from: chrono, re"),
        ("prayer", "unknown remedy 'prayer'; choose from: chrono, relu-rnn"),
        ("\x1b[31m", "unknown remedy ' [31m'; choose from: chrono, relu-rnn"),
    ],
)
def test_a_name_that_is_nearly_right_is_guessed(given: str, said: str) -> None:
    assert unknown("remedy", given, ["chrono", "relu-rnn"]).startswith(said)


GUESSED: dict[str, Callable[[], object]] = {
    "lstm": lambda: cells.make_cell("lstmm", 3, 4),
    "adding": lambda: tasks.make_task("ading"),
    "variant": lambda: tasks.make_task("adding", varient="skip"),
    "l": lambda: TRACE["L"],
    "h": lambda: measures.lags(TRACE, part="H"),
    "cosine": lambda: tt.train(PROBLEM, 1, schedule="cosin"),
}


@pytest.mark.parametrize("name", GUESSED)
def test_every_kind_of_name_is_guessed(name: str) -> None:
    with pytest.raises(tt.InputError, match=f"; did you mean '{name}'. choose from: "):
        GUESSED[name]()


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1500, "1,500 steps"), (0.5, "0.5 steps"),
     (1.0, "1 step")],
)  # fmt: skip  # rows of a table
def test_one_thing_is_one(number: float, said: str) -> None:
    assert counted(number, "step") == said


def test_a_layer_has_the_name_that_its_owner_gave_it() -> None:
    assert (TRACE.names, FOUND.decided_by) == (("l",), "l")
    assert [one.name for one in remedies.weights.recurrent_weights(MODEL)] == ["l"]


def test_a_remedy_is_guessed() -> None:
    with pytest.raises(tt.InputError, match=r"did you mean 'chrono'. combine these with \+: lstm"):
        tt.prescribe(PROBLEM, remedies=["cronno"])


def test_what_tells_the_layers_of_a_stack_apart_is_in_their_names() -> None:
    model = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    names = tuple(one.name for one in remedies.weights.recurrent_weights(model))
    trace = tt.observe(model, lambda: model(X)[0].square().mean())
    assert names == ("lstm.l0", "lstm.l0.reverse", "lstm.l1", "lstm.l1.reverse")
    assert set(trace.names) == set(names)
