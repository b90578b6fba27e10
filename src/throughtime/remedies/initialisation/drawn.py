"""Initialisations that let a gradient travel far: each in place, per gate, over all layers.

A stacked weight of an LSTM or a GRU holds one block for each gate: a matrix that is orthogonal as a
whole has no orthogonal block. torch adds two biases: what is wanted must be their sum.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from throughtime.errors import InputError
from throughtime.remedies.weights import LayerWeights, square_blocks, with_keeping_gate

Module = TypeVar("Module", bound=nn.Module)

WRITING = "i"  # of an LSTM, whose forget gate does not say how much is written
FEWEST = 3  # units: from 1/H to 1 − 1/H there is nothing between two


@torch.no_grad()
def orthogonal_(
    module: Module, gain: float = 1.0, generator: torch.Generator | None = None
) -> Module:
    """Give every gate its own random orthogonal recurrent matrix (Saxe et al. 2014).

    Helps an Elman network most: a product of such matrices keeps every direction, where one of
    Gaussian or uniform matrices keeps a few. Not to the end under tanh: the slope of the squashing
    still shrinks the gradient at every step, the more the stronger the input (``critical_`` makes
    up for that). In a gated cell it changes only the paths through the gates: what the state
    keeps is up to the bias of the forget gate. Training moves the matrix away from it
    (``orthogonal_weights_`` does not let it).

    Args:
        module: a recurrent layer or cell, or a model that holds some: all of them are changed.
        gain: all singular values of every block.
        generator: what the blocks are drawn from; None for torch's global one.

    Returns:
        The module.

    Raises:
        InputError: no recurrent layer in it, or one whose blocks are no square matrices.
    """
    for _, blocks in square_blocks(module, "an orthogonal start"):
        for block in blocks:
            nn.init.orthogonal_(block, gain, generator)
    return module


@torch.no_grad()
def identity_(
    module: Module,
    scale: float = 1.0,
    input_std: float = 0.001,
    generator: torch.Generator | None = None,
) -> Module:
    """``W_hh = scale · I`` and no bias: with ReLU the IRNN (Le, Jaitly & Hinton 2015).

    Helps an Elman network with ReLU that has to add up what it reads: units that are on keep their
    state, and its gradient, for ever. It needs a small learning rate and a
    clipped gradient: nothing holds a largest eigenvalue just above 1. A ``scale`` below 1 forgets
    on purpose, for tasks of short memory. Little use under tanh, whose slope shrinks what the
    identity keeps, and in gated cells.

    Args:
        module: a recurrent layer or cell, or a model that holds some: all of them are changed.
        scale: of the identity, in every gate.
        input_std: standard deviation of the input weights, which are Gaussian around 0.
        generator: what these are drawn from; None for torch's global one.

    Returns:
        The module.

    Raises:
        InputError: no recurrent layer in it, or one whose blocks are neither square matrices nor
            diagonals (H).
    """
    for weights, blocks in square_blocks(module, "the identity", diagonal=True):
        for block in blocks:
            block.fill_(scale) if block.dim() == 1 else nn.init.eye_(block).mul_(scale)
        nn.init.normal_(weights.weight_ih, 0.0, input_std, generator)
        for bias in weights.biases:
            bias.zero_()
    return module


@torch.no_grad()
def chrono_(
    module: Module, t_max: float, t_min: float = 2.0, generator: torch.Generator | None = None
) -> Module:
    """Biases that make every unit forget at its own time scale (Tallec & Ollivier 2018).

    The time scales are uniform between ``t_min`` and ``t_max``, and ``σ(log(τ − 1)) = 1 − 1/τ``:
    so ``b_f = log(τ − 1)``, as the paper has it with its ``t_min`` of 2. An LSTM writes as much as
    it forgets: ``b_i = −b_f``. What is kept is f in an LSTM, z in a GRU, 1 − z in a minGRU.

    Helps a gated cell whose gradient fades before the span, where that is known: from the start
    there are units for every time scale up to it. Does not help where recent input decides, since
    slow units hardly write; and a gradient that arrives is not yet a task that is learned: with a
    ``t_max`` far beyond the task's the cell learns slowly. Without a span: ``uniform_gates_``.

    Args:
        module: a gated layer or cell, or a model that holds some: all of them are changed.
        t_max: the longest time scale, in steps: as long as the task's.
        t_min: the shortest one, in steps, above 1.
        generator: what they are drawn from; None for torch's global one.

    Returns:
        The module.

    Raises:
        InputError: the times are out of order, or the module has no gate that keeps, or no bias.
    """
    if not 1 < t_min <= t_max < math.inf:
        raise InputError(
            f"chrono draws times from t_min = {t_min:g} to t_max = {t_max:g}: they must be in "
            "order, and above 1 step"
        )
    for weights, keeping, sign in with_keeping_gate(module, "chrono"):
        times = torch.empty_like(weights.blocks(weights.biases[0])[keeping])
        bias = times.uniform_(t_min, t_max, generator=generator).sub_(1).log_()
        _keep(weights, keeping, sign, bias)
    return module


@torch.no_grad()
def forget_bias_(module: Module, value: float = 1.0) -> Module:
    """Start every forget gate near ``σ(value)`` (Gers, Schmidhuber & Cummins 2000).

    torch adds two biases: with both at 1 an LSTM has ``value`` 2. Helps where the span is a few
    times ``1 + exp(value)`` steps at most: so long a unit remembers. Beyond that all units forget
    alike and too soon: ``chrono_`` or ``uniform_gates_`` spread them. A large ``value`` keeps
    everything, and the gate saturates: it is slow to learn to forget.

    Args:
        module: a gated layer or cell, or a model that holds some: all of them are changed.
        value: what the biases of the gate add up to: f in an LSTM, z in a GRU; −z in a minGRU.

    Returns:
        The module.

    Raises:
        InputError: the module has no gate that keeps, or no bias.
    """
    for weights, keeping, sign in with_keeping_gate(module, "a forget bias"):
        weights.set_bias(keeping, sign * value)
    return module


@torch.no_grad()
def uniform_gates_(module: Module, generator: torch.Generator | None = None) -> Module:
    """Forget gates spread evenly between 0 and 1: no time scale to choose (Gu et al. 2020, UGI).

    ``b_f = −log(1/u − 1)`` with ``u ~ U(1/H, 1 − 1/H)``, so that ``σ(b_f) = u``: half of the units
    forget within 2 steps, and one in τ keeps for τ steps or more, up to H. The paper's cells tie
    the input gate, ``i = 1 − f``; an LSTM here starts as if it did: ``b_i = −b_f``. What is kept
    is f in an LSTM, z in a GRU, 1 − z in a minGRU.

    Helps a gated cell where the span is unknown, or the task needs many: most units stay quick to
    write and none saturates. Does not help beyond about H steps, where hardly a unit remembers:
    ``chrono_`` with the span has more. The paper gains most with its refine gate, which is another
    cell.

    Args:
        module: a gated layer or cell, or a model that holds some: all of them are changed.
        generator: what the gates are drawn from; None for torch's global one.

    Returns:
        The module.

    Raises:
        InputError: the module has no gate that keeps, or no bias, or fewer than 3 units, between
            which nothing is left to draw from.
    """
    found = with_keeping_gate(module, "uniform gates")
    for weights, keeping, _ in found:
        if len(weights.bias(keeping)) < FEWEST:
            raise InputError(
                f"{weights.name} has too few units to spread its gates between 1/H and 1 − 1/H: "
                f"uniform gates need at least {FEWEST}"
            )
    for weights, keeping, sign in found:
        gates = torch.empty_like(weights.bias(keeping))
        bias = gates.uniform_(1 / len(gates), 1 - 1 / len(gates), generator=generator).logit_()
        _keep(weights, keeping, sign, bias)
    return module


def _keep(weights: LayerWeights, keeping: str, sign: int, bias: Tensor) -> None:
    """Let the gate keep by this bias (H), and an LSTM write as much as it forgets."""
    weights.set_bias(keeping, sign * bias)
    if WRITING in weights.gates:
        weights.set_bias(WRITING, -bias)
