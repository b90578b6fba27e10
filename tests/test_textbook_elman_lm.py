"""The Elman language model: double sum, recursion, autograd and finite differences agree."""

import numpy as np
import pytest
import torch
from textbook_reference import leaf, numeric_gradient, same

from throughtime.textbook import elman_lm
from throughtime.textbook.elman_lm import Parameters

M, H = 5, 4
TOKENS = [0, 3, 1, 1, 4, 2, 0]
GENERATOR = np.random.default_rng(5)
P = Parameters(*(GENERATOR.normal(size=s) for s in [(H, M), (H, H), (M, H), (H,), (M,)]))
H0 = GENERATOR.normal(size=H)
RUN = elman_lm.forward(P, TOKENS, H0)
names = pytest.mark.parametrize("name", Parameters._fields)


def by_torch() -> tuple[float, Parameters, np.ndarray]:
    """The loss, the parameter gradients and the gradients of h_0..h_T by autograd."""
    U, W, V, b, c = parameters = [leaf(p) for p in P]
    states, logits = [leaf(H0)], []
    for token in TOKENS[:-1]:
        states.append(torch.tanh(U[:, token] + W @ states[-1] + b))
        states[-1].retain_grad()
        logits.append(V @ states[-1] + c)
    targets = torch.tensor(TOKENS[1:])
    loss = torch.nn.functional.cross_entropy(torch.stack(logits), targets, reduction="sum")
    loss.backward()
    gradients = Parameters(*(p.grad.numpy() for p in parameters))
    return loss.item(), gradients, np.stack([h.grad.numpy() for h in states])


def test_the_loss_is_torchs_cross_entropy_summed_over_time() -> None:
    assert RUN.loss == pytest.approx(by_torch()[0], rel=1e-13)


@names
def test_the_recursion_is_autograds(name: str) -> None:
    same(getattr(elman_lm.bptt(P, RUN), name), getattr(by_torch()[1], name))


@names
def test_the_double_sum_is_the_recursion(name: str) -> None:
    same(getattr(elman_lm.bptt_double_sum(P, RUN), name), getattr(elman_lm.bptt(P, RUN), name))


@names
def test_the_gradients_are_finite_differences(name: str) -> None:
    def loss(value: np.ndarray) -> float:
        return elman_lm.forward(P._replace(**{name: value}), TOKENS, H0).loss

    numeric = numeric_gradient(loss, getattr(P, name))
    same(getattr(elman_lm.bptt(P, RUN), name), numeric, tolerance=1e-7)


def test_the_total_gradients_are_autograds() -> None:
    same(elman_lm.total_gradients(P, RUN), by_torch()[2])


def test_the_lags_add_up_to_the_whole() -> None:
    same(elman_lm.w_gradient_by_lag(P, RUN).sum(axis=0), elman_lm.bptt(P, RUN).W)


@pytest.mark.parametrize("lag", range(len(TOKENS) - 1))
def test_each_lag_is_the_part_that_autograd_sends_through_one_use_of_W(lag: int) -> None:
    parts = []
    for t in range(lag + 1, len(TOKENS)):
        uses = [leaf(P.W) for _ in range(t)]  # one leaf for every step's use of W
        h = torch.tensor(H0)
        for token, W in zip(TOKENS[:t], uses, strict=True):
            h = torch.tanh(torch.tensor(P.U[:, token] + P.b) + W @ h)
        logits = torch.tensor(P.V) @ h + torch.tensor(P.c)
        torch.nn.functional.cross_entropy(logits, torch.tensor(TOKENS[t])).backward()
        parts.append(uses[t - lag - 1].grad.numpy())
    same(elman_lm.w_gradient_by_lag(P, RUN)[lag], sum(parts))


def transposed_factor() -> np.ndarray:
    """The recursion with the factor Wᵀ diag(1 - h²) for J: its product with δ is not J's."""
    delta = np.vstack([np.zeros(H), elman_lm.direct_gradients(P, RUN)])
    for t in range(len(TOKENS) - 2, -1, -1):
        delta[t] += np.diag(1 - RUN.h[t + 1] ** 2) @ P.W @ delta[t + 1]
    return delta


WRONG = {
    "the longest lag dropped": lambda: (
        elman_lm.w_gradient_by_lag(P, RUN)[:-1].sum(axis=0),
        1,
        "W",
    ),
    "lag 0 alone": lambda: (elman_lm.w_gradient_by_lag(P, RUN)[0], 1, "W"),
    "the transposed factor": lambda: (transposed_factor(), 2, None),
    "direct gradients for total": lambda: (elman_lm.direct_gradients(P, RUN), 3, None),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_formula_is_caught(wrong: object) -> None:
    actual, place, name = wrong()
    right = {1: by_torch()[1], 2: by_torch()[2], 3: by_torch()[2][1:]}[place]
    with pytest.raises(AssertionError):
        same(actual, getattr(right, name) if name else right)


@names
def test_the_update_goes_against_the_gradient(name: str) -> None:
    g = elman_lm.bptt(P, RUN)
    expected = getattr(P, name) - 0.1 * getattr(g, name)
    same(getattr(elman_lm.update(P, g, 0.1), name), expected, tolerance=0.0)


def test_a_small_update_lowers_the_loss_by_alpha_times_the_squared_norm() -> None:
    g, alpha = elman_lm.bptt(P, RUN), 1e-7
    after = elman_lm.forward(elman_lm.update(P, g, alpha), TOKENS, H0).loss
    squared_norm = sum(float((part**2).sum()) for part in g)
    assert (RUN.loss - after) / alpha == pytest.approx(squared_norm, rel=1e-4)


def test_large_logits_do_not_overflow() -> None:
    assert np.isfinite(elman_lm.forward(P._replace(V=1e4 * P.V), TOKENS).loss)


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        ([], "give 2 or more, got 0"),
        ([1], "give 2 or more, got 1"),
        ([0, 5], "token 5 is outside the vocabulary 0..4"),
        ([-1, 0], "token -1 is outside the vocabulary 0..4"),
    ],
)
def test_bad_tokens_are_refused(tokens: list[int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        elman_lm.forward(P, tokens)
