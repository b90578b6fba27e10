"""The one form of a scan: ``S_t = (D_t + u_t w_tᵀ) S_{t−1} + k_t v_tᵀ``, read out as ``S_tᵀ q_t``.

Axes: T time, B batch, H heads, K the axis that keys and queries run along, V that of the values.
A diagonal recurrence has K = V = 1 and a head for each unit; S6 has K = N and a head for each
channel. Everything is computed in float64, in blocks of time, from the arguments of the core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.scans.accumulate import (
    accumulate,
    accumulate_mixing,
    mixes_little,
)


@dataclass(frozen=True, eq=False)
class Steps:
    """Consecutive steps of a scan.

    Attributes:
        decay: D, a factor for each entry of the state; axes of size 1 are broadcast.
        key, value: what is written, ``k vᵀ``.
        query: how the state is read; None where all of it is.
        left, right: u and w of the rank-one part; None where there is none.
    """

    decay: Float[Tensor, "#T #B #H #K #V"]
    key: Float[Tensor, "#T #B #H K"]
    value: Float[Tensor, "T B H V"]
    query: Float[Tensor, "#T #B #H K"] | None = None
    left: Float[Tensor, "T B H K"] | None = None
    right: Float[Tensor, "T B H K"] | None = None

    def reset(self, kept: Float[Tensor, "T B"] | None) -> Steps:
        """The same steps, where ``kept`` is 0 starting from nothing."""
        if kept is None:
            return self
        kept = kept[..., None, None, None]
        left = None if self.left is None else self.left * kept.squeeze(-1)
        return replace(self, decay=self.decay * kept, left=left)

    def take(self, sequences: list[int]) -> Steps:
        """These sequences of the batch alone."""
        return self._each(lambda part: part if part.shape[1] == 1 else part[:, sequences])

    def to(self, dtype: torch.dtype) -> Steps:
        """The same numbers in another format."""
        return self._each(lambda part: part.detach().to(dtype))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Steps:
        changed: dict[str, Any] = {
            one.name: change(part)
            for one in fields(self)
            if (part := getattr(self, one.name)) is not None
        }
        return replace(self, **changed)

    def numbers(self) -> float:
        """How many numbers one step takes."""
        parts: list[Tensor | None] = [getattr(self, one.name) for one in fields(self)]
        return sum(part.numel() for part in parts if part is not None) / len(self.value)

    def at(self, t: int) -> Step:
        """One of them."""
        return Step(
            self.decay[t if len(self.decay) > 1 else 0],
            None if self.left is None else self.left[t].unsqueeze(-1),
            None if self.right is None else self.right[t].unsqueeze(-1),
        )

    def every_decay(self) -> Float[Tensor, "T ..."]:
        """D of each step, also where it is the same at all."""
        return self.decay.expand(len(self.value), -1, -1, -1, -1)

    def carried(self, before: Float[Tensor, "T B H K V"]) -> Float[Tensor, "T B H K V"]:
        """What of the states before is left after each step."""
        left = self.decay * before
        if self.left is None or self.right is None:
            return left
        return left + self.left.unsqueeze(-1) * (self.right.unsqueeze(-1) * before).sum(-2, True)

    def accumulated(
        self, added: Float[Tensor, "T B H K V"], first: Float[Tensor, "B H K V"]
    ) -> Float[Tensor, "T B H K V"] | None:
        """``S_t = J_t S_{t−1} + added_t`` from ``first``; None where it must go one by one."""
        if self.left is None or self.right is None:
            return accumulate(self.every_decay(), added, first)
        if not mixes_little(self.left, self.decay, added.shape[-1]):
            return None
        made = accumulate_mixing(self.every_decay(), self.left, self.right, added, first)
        # A product may leave its range though the states do not, and the other way round never.
        return made if bool(made.isfinite().all()) else None

    def first(self) -> Steps:
        """The first of them alone, which holds no other."""
        return self._each(lambda part: part[:1].clone())

    def reversed_with(self, after: Steps | None) -> Steps:
        """``J_{t+1}ᵀ`` of these steps, the last one first; ``after``: the step behind them."""

        def turned(part: Tensor, behind: Tensor | None) -> Tensor:
            last = torch.zeros_like(part[:1]) if behind is None else behind[:1]
            return torch.cat([part[1:], last]).flip(0)

        decay = turned(self.every_decay(), None if after is None else after.every_decay())
        if self.left is None or self.right is None:
            return replace(self, decay=decay)
        left = turned(self.right, None if after is None else after.right)
        right = turned(self.left, None if after is None else after.left)
        return replace(self, decay=decay, left=left, right=right)

    def sent(
        self, total: Float[Tensor, "T B H K V"], before: Float[Tensor, "T B H K V"]
    ) -> Float[Tensor, ""]:
        """What has the gradient of ``Σ total · (carried(before) + written())``, if not its value.

        The long products are made without a graph: each part of the steps that depends on
        something is multiplied with what the others make of ``total``.
        """
        found = total.new_zeros(())
        for part, factor in self._factors(total.detach(), before.detach()):
            if part is not None and part.requires_grad:
                found = found + (part * factor().detach()).sum()
        return found

    def _factors(
        self, total: Tensor, before: Tensor
    ) -> Iterator[tuple[Tensor | None, Callable[[], Tensor]]]:
        decay, left, right = self.decay, self.left, self.right
        yield decay, lambda: _met(total, before, _at_most(total.shape, decay.shape))
        yield self.value, lambda: _pulled(self.key, total)
        yield self.key, lambda: _pushed(total, self.value)
        if left is not None and right is not None:
            yield left, lambda: _pushed(total, _pulled(right, before))
            yield right, lambda: _pushed(before, _pulled(left, total))

    def written(self) -> Float[Tensor, "T B H K V"]:
        """``k vᵀ``."""
        return self.key.unsqueeze(-1) * self.value.unsqueeze(-2)

    def reads(self, states: Float[Tensor, "T B H K V"]) -> Float[Tensor, "T B H R"]:
        """``Sᵀ q``, or the whole state, K and V side by side."""
        if self.query is None:
            return states.flatten(-2)
        return (self.query.unsqueeze(-2) @ states).squeeze(-2)

    def opened(self) -> Steps:
        """The same with every decay at 1, and the rank-one part that goes with it."""
        if self.right is None:
            return replace(self, decay=torch.ones_like(self.decay))
        smallest = torch.finfo(self.decay.dtype).tiny
        ratio = self.right / self.decay.squeeze(-1).clamp_min(smallest)
        return replace(self, decay=torch.ones_like(self.decay), right=ratio)


def _met(one: Tensor, other: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``one · other``, summed to this shape."""
    if shape[-2:] == (1, 1):  # without the product of all entries
        met = (one.flatten(-2).unsqueeze(-2) @ other.flatten(-2).unsqueeze(-1)).squeeze(-1)
        return met.unsqueeze(-1).sum_to_size(shape)
    return (one * other).sum_to_size(shape)


def _pulled(keys: Float[Tensor, "... K"], states: Float[Tensor, "... K V"]) -> Tensor:
    """``Sᵀ k``."""
    return (keys.unsqueeze(-2) @ states).squeeze(-2)


def _pushed(states: Float[Tensor, "... K V"], values: Float[Tensor, "... V"]) -> Tensor:
    """``S v``."""
    return (states @ values.unsqueeze(-1)).squeeze(-1)


def _at_most(whole: tuple[int, ...], part: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which a product is summed, to be multiplied with what is broadcast to it."""
    return tuple(min(one, other) for one, other in zip(whole, part, strict=True))


@dataclass(frozen=True, eq=False)
class Step:
    """J of one step: D, u and w, each ready to be multiplied with a state (… B H K V)."""

    decay: Tensor
    left: Tensor | None
    right: Tensor | None

    def forward(self, state: Float[Tensor, "... B H K V"]) -> Float[Tensor, "... B H K V"]:
        """``J S``."""
        return self._moved(state, self.right, self.left)

    def back(self, rows: Float[Tensor, "... B H K V"]) -> Float[Tensor, "... B H K V"]:
        """``Jᵀ δ``."""
        return self._moved(rows, self.left, self.right)

    def _moved(self, state: Tensor, taken: Tensor | None, put: Tensor | None) -> Tensor:
        moved = self.decay * state
        if taken is None or put is None:
            return moved
        return moved.addcmul(put, (taken * state).sum(-2, keepdim=True))


class Arguments:
    """The arguments of one call of a core, by name, as they are needed for a stretch of time.

    ``part``: the steps that ``timed`` gives; None for all of them.
    """

    def __init__(self, given: Mapping[str, Any], part: slice | None = None) -> None:
        self.given, self.part = given, part

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument; the default where it was not given, or is None."""
        value = self.given.get(name)
        return default if value is None else value

    def during(self, part: slice) -> Arguments:
        """The same arguments for the steps of ``part``."""
        return Arguments(self.given, part)

    def having(self, name: str, value: Tensor) -> Arguments:
        """The same arguments with another value for one of them."""
        return Arguments({**self.given, name: value}, self.part)

    def timed(self, name: str, axis: int = 1) -> Tensor:
        """An argument with time in front, these steps alone, in float64."""
        return self.cut(self.given[name], axis)

    def cut(self, tensor: Tensor, axis: int = 1) -> Tensor:
        """Any tensor with time in front, these steps alone, in float64."""
        tensor = tensor.movedim(axis, 0)
        return (tensor if self.part is None else tensor[self.part]).double()

    def fixed(self, name: str) -> Tensor:
        """An argument that is the same at all times, in float64."""
        value: Tensor = self.given[name]
        return value.double()
