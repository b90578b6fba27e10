"""Scans of one layer after another, each from the last state of the one before, as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.scans.linear import LinearisedScan
from throughtime.recurrences import Linearised


class InTurn(Linearised):
    """Each step is that of the scan that it belongs to; nothing lies between two scans."""

    def __init__(self, scans: Sequence[LinearisedScan]) -> None:
        self._scans = list(scans)
        self._starts = [0, *accumulate(scan.steps for scan in scans)]
        self.steps = self._starts.pop()
        self.dtype, self.variants = scans[0].dtype, scans[0].variants
        self.weight = scans[0].weight

    @classmethod
    def of(cls, scans: Sequence[LinearisedScan]) -> Linearised:
        """Several as one; a single one is itself."""
        return scans[0] if len(scans) == 1 else cls(scans)

    def _at(self, t: int) -> tuple[LinearisedScan, int]:
        index = bisect_right(self._starts, t) - 1
        return self._scans[index], t - self._starts[index]

    def _parts(self, rows: Tensor) -> list[tuple[LinearisedScan, Tensor]]:
        pieces = rows.split([scan.steps for scan in self._scans])
        return list(zip(self._scans, pieces, strict=True))

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        scan, step = self._at(t)
        return scan.vjp(step, rows, plus, out)

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        scan, step = self._at(t)
        return scan.jvp(step, columns, x)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        scan, step = self._at(t)
        return scan.input_vjp(step, rows)

    def vjp_every(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B S"]:
        return torch.cat([scan.vjp_every(part) for scan, part in self._parts(rows)])

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        scan, step = self._at(t)
        return scan.stages(step, rows)

    def read(self, t: int) -> dict[str, Tensor]:
        scan, step = self._at(t)
        return scan.read(step)

    def activations(self) -> dict[str, Float[Tensor, "T B H"]]:
        found = [scan.activations() for scan in self._scans]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        found = [scan.recurrent_weight_gradient(part) for scan, part in self._parts(rows)]
        known = [one.flatten() for one in found if one is not None]
        return torch.cat(known) if len(known) == len(found) else None

    def variant(self, name: str) -> Linearised:
        return InTurn([scan.variant(name) for scan in self._scans])

    def to(self, dtype: torch.dtype) -> Linearised:
        return InTurn([scan.to(dtype) for scan in self._scans])

    def take(self, sequences: Sequence[int]) -> Linearised:
        return InTurn([scan.take(sequences) for scan in self._scans])
