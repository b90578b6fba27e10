"""Our cells as people write them: one step after another, followed by autograd.

Each step is that of its paper, by torch's own operations, as in the code that its authors or others
published. What depends on the weights alone is computed once, before the first step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from throughtime.cells import RecurrentLayer

State = tuple[Tensor, ...]


class Loop(NamedTuple):
    """A cell as a loop: what it computes of one input or of all, the step, and what it returns."""

    hidden: int
    drive: Callable[[Tensor], Tensor]
    advance: Callable[..., State]
    """``advance(driven, *state)``: the next state, whose first part is what is read."""
    parts: int = 1
    complex: bool = False
    read_out: Callable[[Tensor, Tensor], Tensor] | None = None
    """From all that is read, and all inputs, where that is not the output itself."""

    def run(self, inputs: Tensor, hoisted: bool) -> Tensor:
        """The output (T B H) from a state of zeros; ``hoisted``: ``drive`` before the loop."""
        dtype = inputs.dtype.to_complex() if self.complex else inputs.dtype
        start = inputs.new_zeros(inputs.shape[1], self.hidden, dtype=dtype)
        state: State = (start,) * self.parts
        drives = self.drive(inputs).unbind(0) if hoisted else map(self.drive, inputs.unbind(0))
        read = []
        for driven in drives:
            state = self.advance(driven, *state)
            read.append(state[0])
        output = torch.stack(read)
        return output if self.read_out is None else self.read_out(output, inputs)


def janet(cell: RecurrentLayer) -> Loop:
    w_ih, w_hh, bias = _weights(cell)
    beta = cell.settings["beta"]

    def advance(driven: Tensor, h: Tensor) -> State:
        s, a = (driven + linear(h, w_hh)).chunk(2, -1)
        return (torch.sigmoid(s) * h + torch.sigmoid(beta - s) * torch.tanh(a),)

    return Loop(cell.hidden_size, lambda x: linear(x, w_ih, bias), advance)


def indrnn(cell: RecurrentLayer) -> Loop:
    w_ih, u, bias = _weights(cell)
    return Loop(
        cell.hidden_size,
        lambda x: linear(x, w_ih, bias),
        lambda driven, h: (torch.relu(torch.addcmul(driven, u, h)),),
    )


def antisymmetric(cell: RecurrentLayer) -> Loop:
    w_ih, w_hh, bias = _weights(cell)
    epsilon, gamma = cell.settings["epsilon"], cell.settings["gamma"]
    matrix = w_hh - w_hh.T - gamma * torch.eye(len(w_hh), dtype=w_hh.dtype)

    def advance(driven: Tensor, h: Tensor) -> State:
        return (h + epsilon * torch.tanh(driven + linear(h, matrix)),)

    return Loop(cell.hidden_size, lambda x: linear(x, w_ih, bias), advance)


def cornn(cell: RecurrentLayer) -> Loop:
    w_ih, w_hh, bias = _weights(cell)
    dt, gamma, epsilon = (cell.settings[name] for name in ("dt", "gamma", "epsilon"))

    def advance(driven: Tensor, y: Tensor, z: Tensor) -> State:
        force = torch.tanh(driven + linear(torch.cat([y, z], -1), w_hh))
        z = z + dt * (force - gamma * y - epsilon * z)
        return y + dt * z, z

    return Loop(cell.hidden_size, lambda x: linear(x, w_ih, bias), advance, parts=2)


def lem(cell: RecurrentLayer) -> Loop:
    w_ih, w_hh, bias = _weights(cell)
    size, dt = cell.hidden_size, cell.settings["dt"]
    from_y, from_z = w_hh.split([3 * size, size])

    def advance(driven: Tensor, y: Tensor, z: Tensor) -> State:
        for_y, for_z = driven.split([3 * size, size], -1)
        g, s, r = (for_y + linear(y, from_y)).chunk(3, -1)
        slow, fast = dt * torch.sigmoid(s), dt * torch.sigmoid(r)
        z = (1 - slow) * z + slow * torch.tanh(g)
        return (1 - fast) * y + fast * torch.tanh(for_z + linear(z, from_z)), z

    return Loop(cell.hidden_size, lambda x: linear(x, w_ih, bias), advance, parts=2)


def mingru(cell: RecurrentLayer) -> Loop:
    w_ih, bias = _weights(cell)

    def advance(driven: Tensor, h: Tensor) -> State:
        gate, candidate = driven.chunk(2, -1)
        return (torch.lerp(h, candidate, torch.sigmoid(gate)),)

    return Loop(cell.hidden_size, lambda x: linear(x, w_ih, bias), advance)


def lru(cell: RecurrentLayer) -> Loop:
    w_ih, nu, theta, gamma = _weights(cell)
    rates = torch.exp(torch.complex(-torch.exp(nu), torch.exp(theta)))
    reads = torch.complex(*w_ih.chunk(2)) * torch.exp(gamma).unsqueeze(1)
    read = cell.weights_of("_l0")

    def read_out(states: Tensor, inputs: Tensor) -> Tensor:
        parts = torch.cat([states.real, states.imag], -1)
        return linear(parts, read["weight_hr"], read["bias"]) + linear(inputs, read["weight_ir"])

    return Loop(
        cell.hidden_size,
        lambda x: x.to(reads.dtype) @ reads.T,
        lambda driven, s: (rates * s + driven,),
        complex=True,
        read_out=read_out,
    )


def orthogonal(cell: RecurrentLayer) -> Loop:
    w_ih, w_hh, bias = _weights(cell)

    def advance(driven: Tensor, h: Tensor) -> State:
        a = driven + linear(h, w_hh)
        return (torch.sign(a) * torch.relu(torch.abs(a) + bias),)

    return Loop(cell.hidden_size, lambda x: linear(x, w_ih), advance)


LOOPS: dict[str, Callable[[RecurrentLayer], Loop]] = {
    "janet": janet,
    "indrnn": indrnn,
    "antisymmetric": antisymmetric,
    "cornn": cornn,
    "lem": lem,
    "mingru": mingru,
    "lru": lru,
    "orthogonal": orthogonal,
}


def _weights(cell: RecurrentLayer) -> list[Tensor]:
    """Those of the recurrence, in its order."""
    held = cell.weights_of("_l0")
    return [held[name] for name in cell.recurrence.names]
