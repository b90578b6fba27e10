"""A scan linearised: ``J_t = D_t + u_t w_tᵀ`` on a state (H K V), one block of time at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.scans.form import Step, Steps
from throughtime.recording.scans.pieces import is_small, norms_by_lag
from throughtime.recurrences import Linearised
from throughtime.recurrences.base import FORGET_OPEN

NO_DELTA = "no erasing"
DECAY, DELTA = "decay", "delta"

_NUMBERS_PER_STATE = 8  # that a block of steps holds for each entry of the state


class LinearisedScan(Linearised):
    """The steps of one call of a core; those of one block of time are held at once.

    The input of a step is the value v_t that it writes (H V, flat): ``∂S_t/∂v_t`` is ``k_t ⊗ 1``.

    Args:
        make: the steps of a stretch of time, from the arguments of the core.
        steps: how many there are.
        shape: of the state (H K V).
        block: how many steps are held at once.
        numbers: how many may be held, in double precision.
        dtype: of the rows that are swept.
        weigh: the gradient of the argument ``weight``, from rows at every state; None where no
            gradient of it came back.
    """

    def __init__(
        self,
        make: Callable[[slice], Steps],
        steps: int,
        shape: tuple[int, int, int],
        block: int,
        numbers: int,
        dtype: torch.dtype,
        weight: str = "",
        weigh: Callable[[Tensor, list[int] | None], Tensor] | None = None,
    ) -> None:
        self.weight, self._weigh = weight, weigh
        self.steps, self.dtype, self.shape, self.block = steps, dtype, shape, block
        self._make, self._variant = make, ""
        self._chosen: list[int] | None = None
        self._held: tuple[int, Steps] | None = None
        self.variants = (FORGET_OPEN,)
        first = make(slice(0, 1))
        if first.left is not None:
            self.variants = (FORGET_OPEN, NO_DELTA)
        self._numbers = numbers

    def during(self, part: slice) -> Steps:
        """The steps of a stretch of time, as they are swept."""
        made = self._make(part)
        if self._chosen is not None:
            made = made.take(self._chosen)
        if self._variant == FORGET_OPEN:
            made = made.opened()
        if self._variant == NO_DELTA:
            made = Steps(made.decay, made.key, made.value, made.query)
        return made.to(self.dtype)

    def _at(self, t: int) -> tuple[Steps, int]:
        index = t // self.block
        if self._held is None or self._held[0] != index:
            self._held = None
            part = slice(index * self.block, min(self.steps, (index + 1) * self.block))
            self._held = index, self.during(part)
        return self._held[1], t - index * self.block

    def step(self, t: int) -> Step:
        """J_t."""
        steps, index = self._at(t)
        return steps.at(index)

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        back = self.step(t).back(self._split(rows)).flatten(-3)
        back = back if plus is None else back + plus
        return back if out is None else out.copy_(back)

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        pushed = self.step(t).forward(self._split(columns))
        if x is not None:
            heads, _, width = self.shape
            pushed = pushed + self._key(t).unsqueeze(-1) * x.unflatten(-1, (heads, 1, width))
        return pushed.flatten(-3)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        return (self._key(t).unsqueeze(-1) * self._split(rows)).sum(-2).flatten(-2)

    def adjoint(
        self, direct: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> Float[Tensor, "T B S"]:
        if blocked:
            return super().adjoint(direct, blocked)
        # δ_t = e_t + J_{t+1}ᵀ δ_{t+1}, an accumulation in reversed time.
        total = torch.empty_like(direct, memory_format=torch.contiguous_format)
        later, after = torch.zeros_like(self._split(direct[0])), None
        for start in reversed(range(0, self.steps, self.block)):
            part = slice(start, min(self.steps, start + self.block))
            steps = self.during(part)
            added = self._split(direct[part]).flip(0)
            made = steps.reversed_with(after).accumulated(added, later)
            if made is None:
                return super().adjoint(direct, blocked)
            total[part], later, after = made.flip(0).flatten(-3), made[-1], steps.first()
        return total

    def vjp_every(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B S"]:
        back = torch.empty_like(rows, memory_format=torch.contiguous_format)
        for start in range(0, self.steps, self.block):
            part = slice(start, min(self.steps, start + self.block))
            steps, split = self.during(part), self._split(rows[part])
            sent = steps.decay * split
            if steps.left is not None and steps.right is not None:
                pulled = (steps.left.unsqueeze(-1) * split).sum(-2, keepdim=True)
                sent = sent.addcmul(steps.right.unsqueeze(-1), pulled)
            back[part] = sent.flatten(-3)
        return back

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        return None if self._weigh is None else self._weigh(rows, self._chosen)

    def read(self, t: int) -> dict[str, Tensor]:
        steps, index = self._at(t)
        return {"input": steps.value[index].flatten(-2)}

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        step, split = self.step(t), self._split(rows)
        stages = {DECAY: (step.decay * split).flatten(-3)}
        if step.left is not None:
            stages[DELTA] = step.back(split).flatten(-3)
        return stages

    def activations(self) -> dict[str, Float[Tensor, "T B H"]]:
        decays = []
        for start in range(0, self.steps, self.block):
            steps = self.during(slice(start, min(self.steps, start + self.block)))
            decays.append(steps.decay.expand(*steps.value.shape[:2], -1, -1, -1))  # one of all, too
        return {DECAY: torch.cat(decays).flatten(2)}

    def variant(self, name: str) -> LinearisedScan:
        if name not in self.variants:
            super().variant(name)
        twin = self._twin()
        twin._variant = name
        return twin

    def to(self, dtype: torch.dtype) -> LinearisedScan:
        if dtype == self.dtype:
            return self
        twin = self._twin()
        twin.dtype = dtype
        return twin

    def take(self, sequences: Sequence[int]) -> LinearisedScan:
        twin, chosen = self._twin(), list(sequences)
        twin._chosen = chosen if self._chosen is None else [self._chosen[n] for n in chosen]
        return twin

    def condensed(
        self, sources: Float[Tensor, "A B S"]
    ) -> tuple[Linearised, Float[Tensor, "A B S2"]]:
        """Rows of the same norm with K numbers a head, where every source is of rank one.

        ``Jᵀ`` acts on the K axis alone, so that it takes ``a ⊗ b`` to ``(Jᵀ a) ⊗ b``: what is left
        of one loss step has the norm of ``Jᵀ … Jᵀ a`` times that of b, head by head.
        """
        heads, _, width = self.shape
        split = self._split(sources)
        if width == 1 or not self._acts_on_keys():
            return self, sources
        largest = (
            split.square().sum(-1).argmax(-1)[..., None, None].expand(*split.shape[:-2], 1, width)
        )
        along = torch.nn.functional.normalize(split.gather(-2, largest).squeeze(-2), dim=-1)
        rows = (split * along.unsqueeze(-2)).sum(-1)
        missed = (split - rows.unsqueeze(-1) * along.unsqueeze(-2)).norm(dim=(-1, -2))
        if bool((missed > 1e-4 * rows.norm(dim=-1)).any()):
            return self, sources
        twin = self._twin()
        twin.shape = heads, self.shape[1], 1
        steps, _ = self._at(0)
        if steps.left is None and steps.decay.shape[-2] == 1:  # one decay for all keys of a head
            twin.shape = heads, 1, 1
            rows = rows.norm(dim=-1, keepdim=True)
        return twin, rows.flatten(-2)

    def norms_by_lag(
        self, sources: Float[Tensor, "A B S"], anchors: Sequence[int]
    ) -> Float[Tensor, "T A B"] | None:
        first = self._at(0)[0]
        if not is_small(first) or self.steps * first.numbers() > self._numbers:
            return None
        steps = self.to(torch.float64).during(slice(0, self.steps))
        return norms_by_lag(steps, self._split(sources), anchors) if is_small(steps) else None

    def _acts_on_keys(self) -> bool:
        return self._at(0)[0].decay.shape[-1] == 1

    def _key(self, t: int) -> Tensor:
        steps, index = self._at(t)
        return steps.key[index if len(steps.key) > 1 else 0]

    def _split(self, rows: Tensor) -> Tensor:
        split: Tensor = rows.unflatten(-1, self.shape)
        return split

    def _twin(self) -> LinearisedScan:
        twin = copy.copy(self)
        twin._held = None
        return twin


def block_of(budget: int, entries: int) -> int:
    """How many steps of a state of so many entries fit into a budget in bytes."""
    return max(1, budget // (entries * 8 * _NUMBERS_PER_STATE))
