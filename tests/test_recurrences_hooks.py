"""What the measures ask a linearised recurrence for: stages, paths, variants, all steps at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cases import normal
from torch import Tensor

from throughtime.errors import InputError
from throughtime.recurrences import GRU, LSTM, Elman, Linearised, Recurrence
from throughtime.recurrences.joined import Segment, Segments

T, B, I, H, P = 5, 3, 3, 4, 2
EXACT = {"rtol": 1e-10, "atol": 1e-12}
Pick = Callable[[Tensor], Tensor]
"""How a counterfactual sees a factor: itself, or another one in the derivative alone."""


def elman(nonlinearity: str = "tanh") -> Elman:
    return Elman(normal(H, I, seed=1), normal(H, H, seed=2), normal(H, seed=3), nonlinearity)


CELLS: dict[str, Callable[[], Recurrence]] = {
    "tanh": elman,
    "relu": lambda: elman("relu"),
    "LSTM": lambda: LSTM(normal(4 * H, I, seed=1), normal(4 * H, H, seed=2), normal(4 * H, seed=3)),
    "LSTM-proj": lambda: LSTM(
        normal(4 * H, I, seed=1), normal(4 * H, P, seed=2), None, normal(P, H, seed=4)
    ),
    "GRU": lambda: GRU(
        normal(3 * H, I, seed=1), normal(3 * H, H, seed=2), normal(3 * H, seed=3),
        normal(3 * H, seed=4),
    ),
}  # fmt: skip  # rows of a table


def run(cell: Recurrence, rows: Tensor | None = None) -> Segments:
    """Two segments along one trajectory; ``rows``: which sequences go on into the second."""
    inputs, initial = normal(T, B, I, seed=5), normal(B, cell.state_size, seed=6)
    states = cell.unroll(inputs, initial)
    return Segments(
        [
            Segment(cell, initial, states[:2], inputs[:2]),
            Segment(cell, states[1], states[2:], inputs[2:], rows=rows),
        ]
    )


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("leading", [(), (2,)])
def test_the_last_stage_and_the_sum_of_the_paths_are_the_adjoint(
    kind: str, leading: tuple[int, ...]
) -> None:
    linear = run(CELLS[kind]())
    for t in range(T):
        rows = normal(*leading, B, linear.cell(t).state_size, seed=t)
        whole = linear.vjp(t, rows)
        ways = [list(linear.stages(t, rows).values())[-1]]
        if paths := linear.paths(t, rows, whole):
            ways.append(sum(paths.values(), torch.zeros_like(whole)))
        for way in ways:
            torch.testing.assert_close(way, whole, **EXACT)


@pytest.mark.parametrize("kind", CELLS)
def test_every_step_at_once_is_each_step_by_itself(kind: str) -> None:
    linear = run(CELLS[kind](), torch.tensor([True, False, True]))
    rows = normal(T, B, linear.cell(0).state_size)
    each = torch.stack([linear.vjp(t, rows[t]) for t in range(T)])
    torch.testing.assert_close(linear.vjp_every(rows), each, **EXACT)
    torch.testing.assert_close(Linearised.vjp_every(linear, rows), each, **EXACT)


@pytest.mark.parametrize("kind", ["LSTM", "LSTM-proj", "GRU"])
def test_the_carousel_is_what_is_left_without_the_gates(kind: str) -> None:
    linear = run(CELLS[kind]())
    rows = normal(B, linear.cell(0).state_size)
    found = linear.paths(3, rows, linear.vjp(3, rows))["carousel"]
    wanted = linear.variant("no way through the gates").vjp(3, rows)
    torch.testing.assert_close(found, wanted, **EXACT)


def derived(value: Tensor, derivative: Tensor) -> Tensor:
    """``value`` itself, whose derivative is that of another expression."""
    return value.detach() + derivative - derivative.detach()


def orthogonal(weight: Tensor, blocks: int) -> Tensor:
    parts = [torch.linalg.svd(block, full_matrices=False) for block in weight.chunk(blocks)]
    return torch.cat([u @ vh for u, _, vh in parts])


def altered_elman(cell: Elman, name: str, h: Tensor, x: Tensor) -> Tensor:
    weight = orthogonal(cell.weight_hh, 1) if name == "W_hh orthogonal" else cell.weight_hh
    a = x @ cell.weight_ih.T + cell.bias + derived(h @ cell.weight_hh.T, h @ weight.T)
    after = a.tanh() if cell.nonlinearity == "tanh" else a.relu()
    return derived(after, a) if name == "no squashing" else after


def altered_lstm(cell: LSTM, name: str, state: Tensor, x: Tensor) -> Tensor:
    h, c = cell.split(state)
    weight = orthogonal(cell.weight_hh, 4) if name == "W_hh orthogonal" else cell.weight_hh
    if name == "no way through the gates":
        weight = torch.zeros_like(weight)
    a = x @ cell.weight_ih.T + derived(h @ cell.weight_hh.T, h @ weight.T)
    a = a if cell.bias is None else a + cell.bias
    i, f, g, o = a.chunk(4, -1)
    squash = (lambda v: derived(v.tanh(), v)) if name == "no squashing" else torch.tanh
    forget = f.sigmoid()
    kept = forget * c.detach() + derived(
        forget.detach() * c, c if name == "forget gate at 1" else forget.detach() * c
    ) - (forget * c).detach()  # fmt: skip  # what belongs together, on one line
    new = kept + i.sigmoid() * squash(g)
    out = o.sigmoid() * squash(new)
    return torch.cat([out if cell.weight_hr is None else out @ cell.weight_hr.T, new], -1)


def altered_gru(cell: GRU, name: str, h: Tensor, x: Tensor) -> Tensor:
    weight = orthogonal(cell.weight_hh, 3) if name == "W_hh orthogonal" else cell.weight_hh
    if name == "no way through the gates":
        weight = torch.zeros_like(weight)
    q = (derived(h @ cell.weight_hh.T, h @ weight.T) + cell.bias_hh).chunk(3, -1)
    v = (x @ cell.weight_ih.T + cell.bias_ih).chunk(3, -1)
    r, z = (v[0] + q[0]).sigmoid(), (v[1] + q[1]).sigmoid()
    a = v[2] + r * q[2]
    n = derived(a.tanh(), a) if name == "no squashing" else a.tanh()
    carried = h if name == "update gate at 1" else z.detach() * h
    return (1 - z) * n + z * h.detach() + carried - carried.detach()


ALTERED = {"RNN": altered_elman, "LSTM": altered_lstm, "GRU": altered_gru}
VARIANTS = [(kind, name) for kind, make in CELLS.items() for name in make().variants]


@pytest.mark.parametrize(("kind", "name"), VARIANTS)
def test_a_variant_is_the_derivative_of_the_altered_step(kind: str, name: str) -> None:
    cell = CELLS[kind]()
    linear = run(cell)
    variant = linear.variant(name)
    for t in range(T):
        state, x = linear.read(t)["state"].clone().requires_grad_(), linear.read(t)["input"]
        rows = normal(B, cell.state_size, seed=t)
        after = ALTERED[cell.kind](cell, name, state, x)
        torch.testing.assert_close(after, cell.step(state, x))
        (wanted,) = torch.autograd.grad(after, state, rows)
        torch.testing.assert_close(variant.vjp(t, rows), wanted, **EXACT)
        assert not torch.allclose(variant.vjp(t, rows), linear.vjp(t, rows))


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(InputError, match="no variant 'closed'"):
        run(elman()).variant("closed")


@pytest.mark.parametrize("kind", CELLS)
def test_activations_are_what_the_step_computes(kind: str) -> None:
    cell = CELLS[kind]()
    linear = run(cell)
    found = linear.activations()
    assert set(found) == set(linear.squashing)
    squash = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
    for t in range(T):
        entering = linear.preactivations(t)
        for name, function in linear.squashing.items():
            if name == "c":
                wanted = cell.step(*linear.read(t).values())[..., cell.parts["c"]].tanh()
            else:
                wanted = squash[function](entering["a" if name == "h" else name])
            torch.testing.assert_close(found[name][t], wanted, **EXACT)


@pytest.mark.parametrize("kind", CELLS)
def test_another_precision_is_the_same_trajectory(kind: str) -> None:
    rough = run(CELLS[kind]())
    single = rough.to(torch.float32)
    assert (single.dtype, rough.to(torch.float64)) == (torch.float32, rough)
    rows = normal(B, rough.cell(0).state_size)
    torch.testing.assert_close(
        single.vjp(3, rows.float()).double(), rough.vjp(3, rows), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kind", CELLS)
def test_some_sequences_are_those_of_the_batch(kind: str) -> None:
    linear = run(CELLS[kind](), torch.tensor([True, False, True]))
    rows = normal(B, linear.cell(0).state_size)
    for t in range(T):
        some, whole = linear.take([1, 2]).vjp(t, rows[1:]), linear.vjp(t, rows)
        torch.testing.assert_close(some, whole[1:], **EXACT)


@pytest.mark.parametrize("kind", CELLS)
def test_the_blocks_of_the_recurrent_matrix_make_it_up(kind: str) -> None:
    linear = run(CELLS[kind]())
    blocks = linear.recurrent_blocks(0)
    assert tuple(blocks) == linear.cell(0).gates
    torch.testing.assert_close(torch.cat(list(blocks.values())), linear.weights(0)["weight_hh"])
