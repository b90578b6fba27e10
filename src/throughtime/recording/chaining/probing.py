"""The map between two steps of a layer, from small backward passes through the user's own graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences import Carried, Mixing

Pull = Callable[[Float[Tensor, "N B S"]], Float[Tensor, "N B S"]]
"""Backward passes from the state that a step starts from to the one that the step before left."""

# So many numbers may the map of one step have.
_MOST = 2**24


def carried(pull: Pull, like: Float[Tensor, "B S"]) -> Carried | Mixing | None:
    """The map, compared with a random gradient; None where it is no linear map, or is too large."""
    batch, size = like.shape
    if batch * size * size > _MOST:
        return None
    draw = torch.Generator().manual_seed(1)
    sent = torch.randn(1, batch, size, generator=draw, dtype=torch.float64).to(like)
    wanted = pull(sent)[0]
    own = Carried(_each(pull, like))
    if _close(own.back(sent[0]), wanted):
        return _smaller(own)
    sources = _sources(pull, sent[0])
    if sources is not None:
        moved = Carried(_moved(pull, like, sources), sources)
        return _smaller(moved) if _close(moved.back(sent[0]), wanted) else None
    if (batch * size) ** 2 > _MOST:
        return None
    units = torch.eye(batch * size).to(like).view(-1, batch, size)
    mixing = Mixing(pull(units).flatten(1))
    return mixing if _close(mixing.back(sent[0]), wanted) else None


def _each(pull: Pull, like: Tensor) -> Float[Tensor, "B S S"]:
    """A matrix for each sequence, if none of them depends on another."""
    batch, size = like.shape
    units = torch.eye(size).to(like).unsqueeze(1).expand(size, batch, size)
    return pull(units.contiguous()).transpose(0, 1).contiguous()


def _sources(pull: Pull, sent: Float[Tensor, "B S"]) -> Tensor | None:
    """The one sequence that each goes on from; None where one goes on from several."""
    alone = torch.eye(len(sent)).to(sent).unsqueeze(-1) * sent
    reached = (pull(alone) != 0).any(-1)
    if bool((reached.sum(1) > 1).any()):
        return None
    own = torch.arange(len(sent), device=sent.device)
    return torch.where(reached.any(1), reached.int().argmax(1), own)


def _moved(pull: Pull, like: Tensor, sources: Tensor) -> Float[Tensor, "B S S"]:
    """A matrix for each sequence, those of one source in passes of their own."""
    batch, size = like.shape
    found = like.new_zeros(batch, size, size)
    seen = Counter[int]()
    turns: list[list[int]] = []
    for b, source in enumerate(sources.tolist()):
        turns += [[]] * (seen[source] == len(turns))
        turns[seen[source]] = [*turns[seen[source]], b]
        seen[source] += 1
    for rows in turns:
        units = like.new_zeros(size, batch, size)
        units[:, rows] = torch.eye(size).to(like).unsqueeze(1)
        found[rows] = pull(units)[:, sources[rows]].transpose(0, 1)
    return found


def _smaller(one: Carried) -> Carried:
    """Factors alone where nothing crosses from unit to unit, one matrix where all are the same."""
    diagonal = one.map.diagonal(dim1=1, dim2=2)
    if bool((torch.diag_embed(diagonal) == one.map).all()):
        return Carried(diagonal.contiguous(), one.source)
    if bool((one.map == one.map[:1]).all()):
        return Carried(one.map[:1].contiguous(), one.source)
    return one


def _close(found: Tensor, wanted: Tensor) -> bool:
    noise = 1e3 * torch.finfo(wanted.dtype).eps * float(wanted.abs().amax())
    return bool(((found - wanted).abs() <= noise).all())
