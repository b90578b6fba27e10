"""``prescribe``: what it comes to, what is measured, and what is left as it was."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from prescribed_problems import (
    SPAN,
    B,
    H,
    I,
    Reader,
    T,
    lived_in,
    loss,
    of_a_broken_network,
    of_a_healthy_network,
    of_an_exploding_network,
    of_an_lstm,
    quick,
    reading,
    state_of,
)
from test_prescription import assert_same
from torch import Tensor, nn

import throughtime as tt
from throughtime.diagnosis import diagnose
from throughtime.prescription import (
    TREATMENTS,
    Option,
    Prescription,
    Reading,
    from_pair,
    prescribe,
    treated,
)
from throughtime.prescription.reading import of_trace
from throughtime.problem import seeded
from throughtime.recording import observe
from throughtime.tasks import make_task


def named(found: Prescription, name: str) -> Option:
    return next(option for option in found.options if option.name == name)


# What it comes to.


def test_a_vanishing_lstm_gets_chrono_biases_first() -> None:
    found = prescribe(reading("lstm"), updates=3, remedies=["orthogonal", "chrono"])
    assert found.before.verdict == "vanishing"
    assert [option.name for option in found.options] == ["chrono", "orthogonal"]
    assert [option.verdict for option in found.options] == ["healthy", "vanishing"]


def test_a_healthy_model_gets_nothing() -> None:
    found = of_a_healthy_network()
    assert found.healthy
    assert found.options == ()
    assert found.sentence.startswith("Nothing to prescribe")


def test_an_exploding_network_is_tamed_or_at_least_bounded() -> None:
    found = of_an_exploding_network()
    assert found.options[0].name == "gru+chrono+clip"
    assert named(found, "clip").verdict == "exploding"
    assert "as before" in named(found, "clip").note


def test_where_nothing_helps_it_says_so() -> None:
    found = prescribe(reading("rnn"), updates=3, remedies=["orthogonal"])
    assert found.sentence.startswith("orthogonal brings no useful gradient over 19 steps: it reach")


def test_what_does_not_fit_is_listed_with_the_reason() -> None:
    found = prescribe(reading("rnn"), updates=3, remedies=["chrono", "orthogonal"])
    assert [one.name for one in found.refused] == ["chrono"]
    assert "no gate that keeps its state" in found.refused[0].reason


def test_no_more_are_tried_than_asked_for_and_the_others_are_named() -> None:
    found = prescribe(reading("lstm"), updates=3, most=2)
    assert len(found.options) == 2
    assert any("not tried: " in note for note in found.notes)


def test_a_truncated_training_gets_a_longer_window_with_everything() -> None:
    whole = make_task("name-recall", cell="lstm", length=30, hidden=8, batch=4)
    found = prescribe(replace(whole, window=10), updates=3, most=2)
    assert "truncated" in found.before.diseases
    assert all("window" in option.name.split("+") for option in found.options)
    assert found.options[0].verdict == "healthy"


def test_a_network_that_broke_already_is_not_clipped_alone() -> None:
    problem = reading("lstm", clip=None)
    with torch.no_grad():
        problem.model.get_parameter("encoder.rnn.weight_hh_l0")[0, 0] = math.nan
    found = prescribe(problem, updates=3, most=3)
    assert found.before.verdict == "non-finite"
    assert {"clip", "autoclip", "clip-states"}.isdisjoint(option.name for option in found.options)
    assert any("checkpoint" in note for note in found.notes)


def test_the_code_of_a_joined_option_has_the_lines_of_all_its_parts() -> None:
    lines = of_an_exploding_network().options[0].code.splitlines()
    assert [line.partition("(")[0] for line in lines] == [
        "tt.remedies.replace_",
        "tt.remedies.chrono_",
        "tt.remedies.clip_grad_norm_",
    ]


# What is measured.


def test_an_option_is_read_as_diagnose_reads_its_treated_copy() -> None:
    problem = reading("lstm")
    found = of_an_lstm().options[0]
    copy = treated(problem, found.name, SPAN)
    with seeded(0, copy.model):
        said = diagnose(observe(copy.model, copy.closure), SPAN)
    assert (found.first.verdict, found.first.horizon) == (said.verdict, said.horizon)
    assert found.first.gain_at_span == pytest.approx(said.layers[0].gain_at_span)


@pytest.mark.parametrize(
    "model",
    [
        nn.LSTM(I, H),
        nn.GRU(I, H, num_layers=2),
        nn.RNN(I, H, bidirectional=True),
        nn.RNN(I, H, num_layers=2, nonlinearity="relu"),
    ],
    ids=["one layer", "stack", "two directions", "ReLU stack"],
)
@pytest.mark.parametrize("scale", [1.0, 4.0, math.inf])
def test_a_reading_is_the_verdict_of_the_diagnosis(model: nn.Module, scale: float) -> None:
    with seeded(0):
        x = torch.randn(T, B, I)
        for name, weight in model.named_parameters():
            nn.init.normal_(weight, std=0.3 * scale if "weight_hh" in name else 0.3)
    trace = observe(model, lambda: model(x)[0][-1].square().mean())
    said, found = diagnose(trace, SPAN), of_trace(trace, SPAN)
    told = Reading(said.verdict, said.horizon, said.reaches_end, found.gain_at_span, found.rate)
    assert found == told


def test_the_loss_after_the_updates_is_that_of_a_training() -> None:
    problem = reading("lstm", clip=None)
    found = prescribe(problem, updates=4, remedies=["chrono"]).options[0]
    copy = treated(problem, "chrono", SPAN)
    batches = list(zip(range(5), problem.batches(0), strict=False))
    optimizer = copy.optimizer(copy.model.parameters())
    for step, batch in batches[1:]:
        optimizer.zero_grad()
        with seeded(step - 1, copy.model):
            copy.loss(copy.model, batch).backward()
        optimizer.step()
    with seeded(0, copy.model):
        assert found.loss == pytest.approx(copy.loss(copy.model, batches[0][1]).item())


def test_what_diverges_is_ranked_last_and_has_no_later_reading() -> None:
    found = of_a_broken_network()
    assert [option.name for option in found.options] == ["gru+chrono", "clip"]
    assert found.options[1].later is None
    assert found.options[1].loss is None


def test_a_step_that_costs_more_is_told() -> None:
    slow = reading("lstm")

    def backward(_model: nn.Module, make_loss: Callable[[], Tensor]) -> Tensor:
        for _ in range(9):
            make_loss().backward()
        return make_loss()

    one = replace(TREATMENTS["forget-bias"], name="slow")
    fits = {"apply": lambda problem, _span, _draw: replace(problem, backward=backward)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TREATMENTS, "slow", replace(one, **fits))
        found = prescribe(slow, updates=9, remedies=["slow"])
    assert found.options[0].cost > 2


# What is left as it was.


@pytest.mark.parametrize("remedies", [["chrono"], ["gru", "clip-states"], ["orthogonal-weights"]])
def test_the_users_model_and_all_random_states_stay_as_they_are(remedies: list[str]) -> None:
    problem = lived_in(reading("lstm"))
    before = state_of(problem)
    prescribe(problem, updates=3, remedies=remedies)
    assert_same(state_of(problem), before)


def test_the_same_seed_gives_the_same_answer() -> None:
    first, second = of_an_lstm(), quick(reading("lstm"))
    for one, other in zip(first.options, second.options, strict=True):
        assert (one.name, one.first, one.later, one.loss) == (
            other.name, other.first, other.later, other.loss,
        )  # fmt: skip  # a list, not a column


# What cannot be treated.


def test_a_loss_that_runs_another_model_than_it_is_given_is_refused() -> None:
    problem = reading("lstm")
    own = replace(problem, loss=lambda _model, batch: loss(problem.model, batch))
    with pytest.raises(tt.InputError, match="its loss runs another model than the one that it is"):
        prescribe(own)


def test_an_optimizer_of_another_model_is_refused_and_leaves_it_alone() -> None:
    problem = lived_in(reading("lstm"))
    before = state_of(problem)
    own = replace(
        problem, optimizer=lambda _parameters: torch.optim.SGD(problem.model.parameters())
    )
    with pytest.raises(tt.InputError, match="its optimizer trains other parameters than those"):
        prescribe(own)
    assert_same(state_of(problem), before)


def test_a_backward_that_reaches_the_users_model_leaves_it_alone() -> None:
    problem = lived_in(reading("lstm"))
    before = state_of(problem)

    def backward(model: nn.Module, make_loss: Callable[[], Tensor]) -> Tensor:
        found = make_loss()
        weights = [*model.parameters(), *problem.model.parameters()]
        (found + sum(weight.square().sum() for weight in weights)).backward()
        return found

    quick(replace(problem, backward=backward))
    assert_same(state_of(problem), before)


def test_what_a_loss_only_looks_at_is_no_reason_to_refuse_it() -> None:
    problem = reading("lstm")

    def gentle(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        weights = problem.model.get_parameter("head.weight").detach()
        return loss(model, batch) + weights.square().sum()

    assert quick(replace(problem, loss=gentle)).options


def test_code_that_does_not_run_with_the_remedy_is_told_not_raised() -> None:
    class Peeking(Reader):
        def forward(self, x: Tensor) -> Tensor:
            assert isinstance(self.encoder["rnn"], nn.LSTM), "an LSTM it must be"
            return super().forward(x)

    problem = replace(reading("lstm"), model=Peeking("lstm"))
    found = prescribe(problem, updates=3, remedies=["gru", "chrono"])
    assert [option.name for option in found.options] == ["chrono"]
    assert "AssertionError: an LSTM it must be" in found.refused[0].reason


def test_a_batch_there_must_be() -> None:
    with pytest.raises(tt.InputError, match=r"batches\(0\) gives no batch"):
        prescribe(replace(reading("lstm"), batches=lambda _seed: iter(())))


def test_an_unknown_remedy_is_refused_before_any_work() -> None:
    with pytest.raises(tt.InputError, match="unknown remedy 'sleep'"):
        prescribe(reading("lstm"), remedies=["sleep"])


# A model and a closure.


def pair() -> tt.Problem:
    """Made anew for every remedy, with the same weights."""
    problem = reading("lstm")
    batch = next(problem.batches(0))
    return from_pair(problem.model, lambda: loss(problem.model, batch), SPAN)


def test_a_pair_that_is_made_anew_is_treated_as_a_problem_is() -> None:
    found = prescribe(pair, updates=3, remedies=["chrono"]).options[0]
    same = prescribe(reading("lstm"), updates=3, remedies=["chrono"]).options[0]
    assert found.first == same.first


def test_a_closure_may_go_backwards_by_itself() -> None:
    def backwards() -> tt.Problem:
        problem = reading("lstm")
        batch = next(problem.batches(0))

        def closure() -> Tensor:
            found = loss(problem.model, batch)
            found.backward()
            return found

        return from_pair(problem.model, closure, SPAN)

    first, second = (prescribe(make, updates=3, remedies=["chrono"]) for make in (backwards, pair))
    assert first.options[0].loss == pytest.approx(second.options[0].loss)
