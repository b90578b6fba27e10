"""Treatments: what each does to a copy, by name, alone and joined."""

import threading

import numpy as np
import pytest
import torch
from prescribed_problems import SPAN, lived_in, reading, state_of
from torch import nn

import throughtime as tt
from throughtime.findings import DISEASES
from throughtime.prescription import TREATMENTS, canonical, treated
from throughtime.prescription.places import expression, place
from throughtime.prescription.treatment import SLOTS
from throughtime.remedies.catalogue import CATALOGUE

FITTING_AN_LSTM = ["orthogonal", "identity", "chrono", "forget-bias", "uniform-gates"]
UNFIT = {"lstm", "window", *CATALOGUE}  # the catalogue: see test_remedies_scans.py
NAMES = ["none", *TREATMENTS, "orthogonal+chrono+clip"]


def weights(problem: tt.Problem) -> dict[str, torch.Tensor]:
    return problem.model.state_dict()


def assert_same(first: object, second: object) -> None:
    if isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_same(value, second[key])
    elif isinstance(first, list | tuple):
        assert isinstance(second, list | tuple)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_the_users_model_and_all_random_states_stay_as_they_are(name: str) -> None:
    problem = lived_in(reading("lstm", clip=None))
    before = state_of(problem)
    try:
        treated(problem, name, SPAN)
    except tt.InputError:
        assert name in UNFIT
    assert_same(state_of(problem), before)


@pytest.mark.parametrize("name", ["none", *FITTING_AN_LSTM])
def test_a_copy_shares_no_memory_with_the_model_and_holds_no_gradient(name: str) -> None:
    problem = lived_in(reading("lstm"))
    copy = treated(problem, name, SPAN)
    theirs = {value.data_ptr() for value in weights(problem).values()}
    assert not theirs & {value.data_ptr() for value in weights(copy).values()}
    assert all(parameter.grad is None for parameter in copy.model.parameters())


def test_an_untreated_copy_has_the_same_weights() -> None:
    problem = reading("lstm")
    torch.testing.assert_close(weights(treated(problem, "none", SPAN)), weights(problem))


@pytest.mark.parametrize("name", FITTING_AN_LSTM)
def test_a_treatment_changes_the_copy_and_does_so_again_for_the_same_seed(name: str) -> None:
    problem = reading("lstm")
    first, second = (weights(treated(problem, name, SPAN, seed=3)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert any(not torch.equal(value, weights(problem)[key]) for key, value in first.items())


@pytest.mark.parametrize("name", [name for name in FITTING_AN_LSTM if name != "forget-bias"])
def test_another_seed_draws_other_weights(name: str) -> None:
    problem = reading("lstm")
    first, second = (weights(treated(problem, name, SPAN, seed=seed)) for seed in (0, 1))
    assert any(not torch.equal(value, second[key]) for key, value in first.items())


def test_joined_treatments_are_applied_one_after_another() -> None:
    problem = reading("lstm", clip=None)
    joined = treated(problem, "clip+chrono+orthogonal", SPAN)
    layer = joined.model.encoder["rnn"]
    for block in layer.weight_hh_l0.detach().chunk(4):
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)))
    forget = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().chunk(4)[1]
    assert (forget >= 0).all()
    assert joined.clip == 1.0


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("none", "none"),
        ("clip", "clip"),
        ("clip+chrono", "chrono+clip"),
        ("clip+chrono+orthogonal", "orthogonal+chrono+clip"),
    ],
)
def test_the_order_in_which_treatments_are_joined_does_not_matter(name: str, same: str) -> None:
    assert canonical(name) == same


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("chrono+forget-bias", "chrono and forget-bias overwrite each other"),
        ("chrono+chrono", "chrono and chrono overwrite each other"),
        ("none+chrono", "none stands alone"),
        ("sleep", "unknown remedy 'sleep'; combine these with"),
        ("", "unknown remedy ''"),
    ],
)
def test_names_that_cannot_be_joined_are_refused(name: str, told: str) -> None:
    with pytest.raises(tt.InputError, match=told):
        treated(reading("lstm"), name, SPAN)


@pytest.mark.parametrize(
    ("cell", "name", "told"),
    [
        ("rnn", "chrono", "no gate that keeps its state"),
        ("lstm", "clip", "clipped already, at a norm of 1"),
        ("lstm", "window", "cannot be cut through time"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(cell: str, name: str, told: str) -> None:
    with pytest.raises(tt.InputError, match=told):
        treated(reading(cell), name, SPAN)


def test_a_model_that_cannot_be_copied_is_told_in_one_line() -> None:
    problem = reading("lstm")
    problem.model.kept = threading.Lock()
    with pytest.raises(tt.InputError, match=r"its model cannot be copied .*keep no open file or"):
        treated(problem, "none", SPAN)


def test_what_a_model_keeps_of_a_past_forward_pass_does_not_hinder() -> None:
    problem = reading("lstm")
    past = problem.model.kept = problem.closure()
    problem.model.register_buffer("state", past * 2)
    copied = treated(problem, "none", SPAN).model
    assert (copied.kept.grad_fn, copied.kept, copied.state) == (None, past, 2 * past)
    assert problem.model.kept is past


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_says_what_it_is_and_what_for(name: str) -> None:
    one = TREATMENTS[name]
    assert one.name == name
    assert one.slot in SLOTS
    assert set(one.fits) <= set(DISEASES)
    assert one.fits
    assert one.sentence[0].islower()
    assert not one.sentence.endswith(".")
    assert one.paper


@pytest.mark.parametrize("name", sorted(TREATMENTS.keys() - UNFIT))
def test_the_lines_to_paste_run_on_the_users_own_model(name: str) -> None:
    problem = reading("lstm", clip=None)
    code = TREATMENTS[name].code(treated(problem, name, SPAN), SPAN)
    x, y = next(problem.batches(0))
    problem.closure().backward()
    names = {"tt": tt, "torch": torch, "model": problem.model, "x": x, "y": y}
    with torch.random.fork_rng():
        exec(code, {**names, "criterion": torch.nn.functional.mse_loss})  # noqa: S102  — our own
    copy = treated(reading("lstm", clip=None), name, SPAN)
    assert _kinds(problem.model) == _kinds(copy.model)
    same = _numbers(problem) == _numbers(reading("lstm"))
    assert same == (TREATMENTS[name].slot in ("gradient", "states", "clipping"))


def _kinds(model: nn.Module) -> dict[str, tuple[str, bool]]:
    """What stands where, and whether its ``forward`` is another one."""
    named = model.named_modules()
    return {name: (type(part).__name__, "forward" in vars(part)) for name, part in named}


def _numbers(problem: tt.Problem) -> dict[str, list[float]]:
    return {name: w.flatten().tolist() for name, w in problem.model.named_parameters()}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "model"),
        ("rnn", "model.rnn"),
        ("encoder.rnns.0", "model.encoder.rnns[0]"),
        ("my-rnn", "model.get_submodule('my-rnn')"),
    ],
)
def test_a_module_is_named_as_it_is_typed(name: str, told: str) -> None:
    assert expression(name) == told


def test_of_several_recurrent_layers_the_whole_model_is_named() -> None:
    assert place(nn.ModuleDict({"first": nn.LSTM(2, 2), "second": nn.GRU(2, 2)})) == "model"
