"""The first NaN: plantings of the benchmark, the order of the run, what is told of the others."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from benchmarks.plantings.planting import Planting, Result, grade, run
from benchmarks.plantings.suite import SUITE
from throughtime.findings import Diagnosis, Finding
from throughtime.report import language, place

SEEDS = {f"{one.group}: {one.name}": seed for seed, one in enumerate(SUITE)}
# A few of each group; all of them run by ``python -m benchmarks.plantings``.
CHOSEN = [
    "input: LSTM, packed", "input: data by keyword", "weight: RNN, bias_hh_l0",
    "weight: GRU, bias_hh_l1", "weight: LSTM, weight_hh_l0_reverse", "initial state: learned state",
    "overflow: growth in float16", "overflow: growth in float64", "overflow: large input",
    "between calls: LSTMCell, one sequence", "between calls: GRUCell, marked",
    "between calls: RNNCell, a norm", "cell: LSTMCell, bias_hh", "model: GRUCell, input made",
    "feedback: lower cell", "feedback: upper cell", "marked: own parameter",
    "marked: frozen parameter", "marked: operation", "marked: root of 0 on the way back",
    "model: third of a Sequential", "model: frozen linear", "model: outside of the model",
    "loss: NaN in a target", "loss: bias of the head", "padding: ahead, LSTM",
    "padding: ahead, RNN relu", "padding: read backwards", "padding: packed",
]  # fmt: skip  # a list, not a column


def named(name: str) -> Planting:
    return next(one for one in SUITE if f"{one.group}: {one.name}" == name)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_planted_number_is_found_where_it_was_planted(name: str) -> None:
    planting = named(name)
    result = run(planting, SEEDS[name])
    assert (result.grade, result.why) == ("right", "")


def test_there_are_a_hundred_plantings_each_with_a_name_of_its_own() -> None:
    names = {f"{one.group}: {one.name}" for one in SUITE}
    assert len(names) == len(SUITE) >= 100


def answered(**evidence: object) -> Diagnosis:
    found = Finding("non-finite", "rnn", "It says so.", {"pass": "forward", **evidence})
    return Diagnosis("non-finite", None, None, False, 1, "", "rnn", (), (found,))


GRADES: dict[str, tuple[dict[str, object], str]] = {
    "right": ({"cause": "model", "time_step": 3}, "right"),
    "another cause": ({"cause": "bad input", "time_step": 3}, "wrong"),
    "another place": ({"cause": "model", "time_step": 4}, "wrong"),
    "not known": ({"cause": "not known", "time_step": 3}, "unknown"),
    "not known, elsewhere": ({"cause": "not known", "time_step": 4}, "wrong"),
}


@pytest.mark.parametrize("name", GRADES)
def test_the_benchmark_can_say_wrong(name: str) -> None:
    evidence, expected = GRADES[name]
    planting = replace(SUITE[0], cause="model", holds={"time_step": 3}, subject="rnn", said=())
    result: Result = grade(planting, answered(**evidence))
    assert result.grade == expected


def spoilt(tensor: Tensor, index: int = 0) -> None:
    with torch.no_grad():
        tensor.view(-1)[index] = math.nan


def diagnosed(model: nn.Module, *inputs: Tensor) -> Diagnosis:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tt.ThroughtimeWarning)
        return tt.diagnose(tt.observe(model, lambda: model(*inputs).square().sum()))


class Net(nn.Module):
    """Two branches, an attention with a mask, and a recurrence."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.attend, self.rnn = nn.Softmax(-1), nn.GRU(4, 5)
        self.other = nn.LSTM(4, 5)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.kind == "branches":
            return self.rnn(self.a(x) + self.b(x))[0]
        if self.kind == "towers":
            return self.rnn(x)[0] + self.other(x)[0]
        if self.kind == "state":
            state = self.other(x)[0][-1:]
            return self.rnn(x, state / (state - state))[0]
        weights = self.attend((self.a(x) @ x.transpose(1, 2)).masked_fill(mask, -math.inf))
        read = weights @ x
        return self.rnn(torch.log(read - read) if self.kind == "log" else read)[0]


def net(kind: str, *, rows: bool = False, bad: Callable[[Net], None] | None = None) -> Diagnosis:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model, x = Net(kind), torch.randn(8, 3, 4)
    if bad is not None:
        bad(model)
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, : 3 if rows else 1] = True
    return diagnosed(model, x, mask)


def both(model: Net) -> None:
    spoilt(model.rnn.bias_hh_l0)
    spoilt(model.other.bias_ih_l0)


SOURCES: dict[str, tuple[Callable[[], Diagnosis], str | None]] = {
    "one of two branches": (
        lambda: net("branches", bad=lambda m: spoilt(m.a.bias)), "parameter 'a.bias' of module 'a'",
    ),
    "a mask is no fault": (lambda: net("attention"), None),
    "a mask over a whole row": (lambda: net("attention", rows=True), "module 'attend' (Softmax)"),
    "behind a mask": (lambda: net("log"), "after 'attend' and before 'rnn'"),
    "the state that is handed on": (lambda: net("state"), "after 'other' and before 'rnn'"),
    "two towers": (lambda: net("towers", bad=both), "(parameter 'rnn.bias_hh_l0')"),
}  # fmt: skip  # a list, not a column


@pytest.mark.parametrize("name", SOURCES)
def test_the_module_that_made_it_is_named(name: str) -> None:
    make, said = SOURCES[name]
    first = next((one for one in make().findings if "pass" in one.evidence), None)
    assert (first is None) if said is None else (first is not None and said in first.sentence)


def test_a_second_layer_with_a_fault_of_its_own_is_not_told_that_it_spread() -> None:
    found = [one for one in net("towers", bad=both).findings if one.disease == "non-finite"]
    assert (
        "for a reason of its own" in next(one for one in found if one.subject == "other").sentence
    )


def test_a_layer_whose_gradient_alone_is_not_finite_gets_a_finding() -> None:
    found = {one.subject: one.sentence for one in net("state").findings}
    assert "its states are finite: it comes back from layer 'rnn'" in found["other"]


ADVICE = {
    # planting: what is advised, what is not
    "overflow: growth in float32": ("a wider format would only delay", "float16"),
    "overflow: growth in float64": ("number of float64", "float32"),
    "overflow: growth in float16": ("use bfloat16 or float32", "delay"),
    "overflow: large input": ("Scale the input", "tanh"),
    "between calls: GRUCell, all": ("between two calls of the layer", "detach"),
    "model: operation": ("not the data", "each batch"),
    "model: frozen linear": ("broke the weights", "each batch"),
    "padding: ahead, GRU": ("pack the batch", "loss"),
    "marked: operation": ("torch.isfinite", "float16"),
}


@pytest.mark.parametrize("spoken", ["en", "ko"])
@pytest.mark.parametrize("name", ADVICE)
def test_the_advice_fits_the_cause(name: str, spoken: str) -> None:
    case = named(name).make(1)
    with warnings.catch_warnings(), language.speaking(spoken):
        warnings.simplefilter("ignore")
        found = tt.diagnose(tt.observe(case.model, case.closure, lengths=case.lengths))
        broken = place.first_bad(found)
        assert broken is not None
        advice = place.advice(broken)
        facts = " ".join(label for label, _ in broken.facts())
    said, unsaid = ADVICE[name]
    if spoken == "en":
        assert said in advice
        assert unsaid not in advice
    else:
        assert re.search("[가-힣]", advice)
        assert "십시오" in advice or "낮추세요" in advice
        assert not re.search("Arises|Parameter|format", facts)


def test_a_vanilla_rnn_has_a_preactivation_and_no_gate() -> None:
    case = named("weight: RNN, bias_hh_l0").make(1)
    findings = tt.diagnose(tt.observe(case.model, case.closure)).findings
    found = next(one for one in findings if "pass" in one.evidence)
    assert (found.evidence["gate"], found.evidence["preactivation"]) == (None, True)
    assert "in the pre-activation" in found.sentence


def test_nothing_of_the_run_is_held_when_the_block_has_ended() -> None:
    model, x = nn.GRU(4, 5), torch.randn(6, 3, 4)
    with tt.capture(model) as captured:
        model(x)[0].sum().backward()
    witness = captured._recorder.witness
    assert (witness._known, witness._open, witness._fine) == ([], [], None)
