"""How a gradient gets from what a call read to the calls that wrote it: in closed form, or not.

Where every step of a call reads the same step of others alone, what lies between is a factor for
each number, one matrix for all steps, or one for each. A few backward passes tell which; from then
on nobody needs the graph. What reads other steps as well (attention) is pulled through the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.assemble import in_batch_order
from throughtime.recording.calls import Call
from throughtime.recording.links.between import Between, shape_of
from throughtime.trace import turn

# So many numbers may the matrices of all steps of one link have.
_MOST = 2**24

Inputs = Float[Tensor, "A T B I"]
States = Float[Tensor, "A T B S"]


@dataclass(frozen=True, eq=False)
class InStep:
    """From one call to another that it reads at its own step alone.

    Attributes:
        below: the call that is read.
        map: factors (T B W), or one matrix for all steps (I W), or one for each (T B I W), in the
            order of computation of the call that reads; None: it is read as it is.
        columns: which columns of the input the factors are for.
        turned: one of the two reads its sequence from the end.
        lengths: of the sequences of a packed batch.
    """

    below: Call
    map: Tensor | None
    columns: tuple[int, int] | None = None
    turned: bool = False
    lengths: tuple[int, ...] | None = None

    def pull(self, inputs: Inputs) -> States:
        """What a gradient of the input is at the states of the call below."""
        sent = inputs
        if self.map is None or self.map.dim() == 3:
            sent = sent if self.columns is None else sent[..., slice(*self.columns)]
            sent = sent if self.map is None else sent * self.map
        elif self.map.dim() == 2:
            sent = sent @ self.map
        else:
            sent = (sent.unsqueeze(-2) @ self.map).squeeze(-2)
        steps, batch, size = shape_of(self.below)
        found = inputs.new_zeros(len(inputs), steps, batch, size)
        found[..., : sent.shape[-1]] = self._turn(sent)
        return found

    def _turn(self, values: Tensor) -> Tensor:
        if not self.turned:
            return values
        return torch.stack([turn(one, self.lengths) for one in values])


def within_a_run(call: Call, below: Sequence[Call]) -> list[InStep]:
    """The links inside of one stacked kernel, whose every part is known."""
    lengths = lengths_of(call)
    links, start = [], 0
    for other in below:
        stop = start + other.outputs.shape[-1]
        scale = None
        if call.scale is not None:
            scale = in_batch_order(call.scale, call)[..., start:stop].double()
            scale = turn(scale, lengths) if call.reverse else scale
        turned = call.reverse != other.reverse
        links.append(InStep(other, scale, (start, stop), turned, lengths))
        start = stop
    return links


def measured(call: Call, below: Sequence[Call], between: Between) -> list[InStep] | None:
    """The links to these calls, by a few backward passes; None where that is no closed form."""
    steps, batch, size = call.steps, len(call.initial[0]), call.inputs.shape[-1]
    device = call.inputs.device
    lengths = lengths_of(call)
    turned = [call.reverse != other.reverse for other in below]
    state = torch.zeros(shape_of(call)[1:], dtype=torch.float64, device=device)

    def pull(sent: Tensor) -> list[Tensor]:
        found = between.from_entry(call, sent, state, below, near_one=True)
        pairs = zip(found, below, turned, strict=True)
        rows = [(part[..., : other.outputs.shape[-1]], way) for part, other, way in pairs]
        return [turn(part, lengths) if way else part for part, way in rows]

    draw = torch.Generator().manual_seed(3)
    shape = steps, batch, size
    sent = [_powers_of_two(shape, draw).to(device) for _ in range(2)]
    found = [pull(one) for one in sent]
    maps = [_factors(sent, [found[0][n], found[1][n]]) for n in range(len(below))]
    if any(one is None for one in maps):
        units = _units(shape, lengths, device)
        once = [None] * len(below) if units is None else pull(units)
        maps = [
            _matrix(units, rows, sent[0], found[0][n]) if one is None else one
            for n, (one, rows) in enumerate(zip(maps, once, strict=True))
        ]
    width = sum(other.outputs.shape[-1] for other in below)
    if any(one is None for one in maps):
        if steps * batch * size * width > _MOST:
            return None
        every = [pull(_column(shape, n, device)) for n in range(size)]
        dense = [torch.stack([rows[n] for rows in every], -2) for n in range(len(below))]
        maps = [a if a is not None else b for a, b in zip(maps, dense, strict=True)]
    links = [
        InStep(other, one, None, way, lengths)
        for other, one, way in zip(below, maps, turned, strict=True)
    ]
    return links if _hold(links, pull(sent[1]), sent[1]) else None


def lengths_of(call: Call) -> tuple[int, ...] | None:
    """The lengths of a packed batch, in the order of the user's batch."""
    if call.lengths is None or call.order is None:
        return call.lengths
    return tuple(call.lengths[b] for b in call.order.tolist())


def _factors(sent: Sequence[Tensor], found: Sequence[Tensor]) -> Tensor | None:
    if sent[0].shape != found[0].shape:
        return None
    one, other = (b / a for a, b in zip(sent, found, strict=True))
    return one if bool(((one - other).abs() <= 1e-6 * one.abs()).all()) else None


def _matrix(
    units: Tensor | None, rows: Tensor | None, sent: Tensor, found: Tensor
) -> Tensor | None:
    """One matrix for all steps, if that is what it is."""
    if units is None or rows is None:
        return None
    matrix = units.flatten(0, 1).T @ rows.flatten(0, 1)
    return matrix if _close(sent @ matrix, found) else None


def _units(
    shape: tuple[int, int, int], lengths: tuple[int, ...] | None, device: torch.device
) -> Tensor | None:
    """Every unit vector once, each in a place of its own; None where there are too few places."""
    steps, batch, size = shape
    ends = torch.tensor(lengths or (steps,) * batch)
    places = (torch.arange(steps).unsqueeze(1) < ends).nonzero()
    if len(places) < size:
        return None
    units = torch.zeros(shape, dtype=torch.float64, device=device)
    units[places[:size, 0], places[:size, 1], torch.arange(size)] = 1
    return units


def _column(shape: tuple[int, int, int], n: int, device: torch.device) -> Tensor:
    column = torch.zeros(shape, dtype=torch.float64, device=device)
    column[..., n] = 1
    return column


def _hold(links: Sequence[InStep], found: Sequence[Tensor], sent: Tensor) -> bool:
    for link, wanted in zip(links, found, strict=True):
        rebuilt = link.pull(sent.unsqueeze(0))[0]
        rebuilt = turn(rebuilt, link.lengths) if link.turned else rebuilt
        if not _close(rebuilt[..., : wanted.shape[-1]], wanted):
            return False
    return True


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool(((found - wanted).abs() <= 1e-5 * wanted.abs().amax()).all())


def _powers_of_two(shape: tuple[int, int, int], draw: torch.Generator) -> Tensor:
    exponents = torch.randint(-1, 2, shape, generator=draw)
    signs = torch.randint(0, 2, shape, generator=draw) * 2 - 1
    return (signs * 2.0**exponents).double()
