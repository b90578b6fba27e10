"""What the loss reads and what becomes of parameters: each mistake as people make it, and named."""

import warnings
from typing import Any

import pytest
import torch
from mistaken_models import BROKEN, CHANGED, DEAD, PARTIAL, SWAPPED, Case
from ordinary_cases import ORDINARY
from ordinary_models import Built

import throughtime as tt
from throughtime.findings import Finding
from throughtime.recording import observe
from throughtime.tasks import make_task

MISTAKES = {
    "partial loss": PARTIAL,
    "axes swapped": SWAPPED,
    "dead parameters": DEAD,
    "weights changed": CHANGED,
    "non-finite": BROKEN,
}
CASES = {
    f"{disease}: {name}": (disease, case)
    for disease, cases in MISTAKES.items()
    for name, case in cases.items()
}


def diagnosed(built: Built) -> tt.Diagnosis:
    model, closure, *lengths = built
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tt.ThroughtimeWarning)
        return tt.diagnose(observe(model, closure, lengths=lengths[0] if lengths else None))


def findings(found: tt.Diagnosis, disease: str) -> dict[str, Finding]:
    return {one.subject: one for one in found.findings if one.disease == disease}


@pytest.mark.parametrize(("disease", "case"), CASES.values(), ids=CASES)
def test_a_mistake_is_named_with_what_to_change(disease: str, case: Case) -> None:
    build, subject, words = case
    torch.manual_seed(3)
    found = diagnosed(build())
    one = findings(found, disease)[subject]
    assert not [word for word in words if word not in one.sentence]
    assert one.korean
    assert found.diseases.index(disease) < 2
    assert tt.Diagnosis.from_json(found.to_json()) == found


def test_axes_that_look_exchanged_are_the_first_cause() -> None:
    found = diagnosed(SWAPPED["batch first, out[-1]"][0]())
    assert [cause.disease for cause in found.causes[:2]] == ["axes swapped", "partial loss"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_gradient_that_is_not_finite_outside_the_states_is_the_verdict(name: str) -> None:
    found = diagnosed(BROKEN[name][0]())
    assert (found.verdict, found.horizon, found.rate) == ("non-finite", None, None)


@pytest.mark.parametrize("name", CHANGED)
def test_observe_puts_the_weights_back(name: str) -> None:
    model, closure = CHANGED[name][0]()[:2]
    before = {key: (one, one.detach().clone()) for key, one in model.named_parameters()}
    first, again = (observe(model, closure).facts.losses for _ in range(2))
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[key] is one and torch.equal(one, old) for key, (one, old) in before.items())
    assert first == again  # the flat weights of the layer are the old ones as well


def test_a_step_of_the_optimizer_is_no_change_of_the_forward_pass() -> None:
    model, closure = ORDINARY["LSTM, last step"]()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tt.capture(model) as run:
        for _ in range(3):
            optimizer.zero_grad()
            closure().backward()
            optimizer.step()
        optimizer.zero_grad()
    facts = run.trace.facts
    assert not [one.name for one in facts.parameters if one.changed]
    assert {one.gradient for one in facts.parameters} == {"finite"}  # although .grad is None now
    assert len(facts.losses) == 3


def claims(how: str) -> set[str]:
    """What is said of the gradients of a model of which one layer never runs."""
    model, closure = DEAD["a head that does not run"][0]()
    if how == "accumulated":
        model.other[0].weight.grad = torch.ones_like(model.other[0].weight)
    with tt.capture(model) as run:
        loss = closure()
        if how == "autograd.grad":
            torch.autograd.grad(loss, list(model.rnn.parameters()))
        elif how == "inputs":
            loss.backward(inputs=list(model.rnn.parameters()))
        else:
            loss.backward()
    return {one.gradient for one in run.trace.facts.parameters if one.module == "other.0"}


@pytest.mark.parametrize(
    ("how", "known"),
    [
        ("backward", {"none"}),
        ("accumulated", {"unknown", "none"}),
        ("autograd.grad", {"unknown"}),
        ("inputs", {"unknown"}),
    ],
)
def test_nothing_is_claimed_of_a_gradient_that_no_pass_filled(how: str, known: set[str]) -> None:
    assert claims(how) == known


def test_the_gradient_of_an_unregistered_layer_is_left_as_it_was() -> None:
    model, closure = DEAD["in a list"][0]()[:2]
    observe(model, closure)
    assert all(one.grad is None for one in model.layers[0].parameters())


HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM, last step": ("all sequences at the last step", {"sequences": 6, "steps": "last"}),
    "one sequence": ("the sequence at the last step", {"of": 1, "steps": "last"}),
    "bidirectional, h_n": ("all sequences at the last step", {"steps": "last"}),
    "packed, h_n": ("all sequences at the last step", {"steps": "last"}),
    "packed, gathered": ("all sequences at the last step", {"steps": "last"}),
    "padded, gathered": ("all sequences at the last step", {"steps": "last"}),
    "attention pooling": ("all sequences at all steps", {"steps": "all"}),
    "tagging with padding": ("all sequences at all steps", {"steps": "all"}),
    "forecast": ("11 of 12 steps (0-10)", {"steps": "11 of 12: 0-10"}),
    "hinge": ("4 of 6 sequences at the last step", {"sequences": 4, "of": 6}),
    "translation": ("7 of 8 steps (0-6) of 'decoder'", {"layer": "decoder"}),
}


@pytest.mark.parametrize(("name", "told"), HEADS.items(), ids=HEADS)
def test_the_head_says_what_the_loss_reads(name: str, told: tuple[str, dict[str, Any]]) -> None:
    words, reads = told
    built = ORDINARY[name]()
    found = diagnosed(built)
    loss = built[1]().item()
    assert found.run["loss"] == pytest.approx(loss)
    assert reads.items() <= found.run["reads"].items()
    first = str(found).splitlines()[0]
    assert words in first
    assert f"loss {loss:.4g}" in first


def test_the_sizes_stand_beside_what_they_are_compared_with() -> None:
    model, closure = ORDINARY["RNN, last step"]()
    torch.nn.init.orthogonal_(model.rnn.weight_hh_l0)
    closure().backward()
    largest = max((one.grad.abs().max().item(), key) for key, one in model.named_parameters())
    sizes = diagnosed((model, closure)).run["sizes"]
    assert (sizes["largest_gradient"], sizes["largest_gradient_of"]) == pytest.approx(largest)
    # U(±1/√H) has a root mean square of 1/√(3H), an orthogonal matrix one of 1/√H.
    assert sizes["w_hh_over_initial_scale"] == pytest.approx({"rnn.weight_hh_l0": 3**0.5})


def test_a_problem_tells_its_trivial_loss() -> None:
    problem = make_task("adding", cell="gru", length=12, hidden=4)
    found = tt.diagnose(problem)
    assert found.run["sizes"]["trivial_loss"] == problem.trivial_loss
    assert "the trivial loss" in str(found).splitlines()[1]
