"""The pictures of one page: drawn, described in words, counted so that the page stays small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import curves, figures, style, wording
from throughtime.report.svg import to_svg

ROOM = 700_000
"""Bytes for all pictures of a page that is to stay under 1 MB."""

_NARROW = (4.5, 3.4)


@dataclass(frozen=True)
class Picture:
    """A picture, what to look for in it, and a second drawing of it for a narrow screen.

    The drawings are SVG from ``to_svg``, whose XML writer has escaped every text in them.
    """

    caption: str
    drawing: str
    narrow: str | None = None


class Album:
    """Draws pictures until there is no more room for them."""

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self.drawn = 0
        self._explained: set[str] = set()

    def has_room(self) -> bool:
        """Whether the pictures of another layer, of at most 100 kB, still fit."""
        return self.room > 100_000

    def gain(self, layer: LayerDiagnosis, wide: bool = False) -> Picture | None:
        """Gain by lag; ``wide`` for the top of the page."""
        curve = curves.gain(layer)
        if curve is None:
            return None
        label = (
            f"Gain by lag of {layer.name}. {_ends(curve, 'lag')} Horizon: {wording.reach(layer)}."
        )
        caption = (
            "Gain by lag: how much of the gradient of one loss is left k steps further back; the "
            "median over the batch and the loss steps, and the band of its quantiles. Under the "
            "dashed line less than 1 % is left, and there the horizon ends."
        )
        return self._picture(lambda ax: figures.gain(layer, ax), label, caption, wide)

    def compare(self, diagnoses: Mapping[str, Diagnosis]) -> Picture | None:
        """Gain by lag of several networks."""
        layers = {name: curves.deciding(one) for name, one in diagnoses.items()}
        found = {n: c for n, layer in layers.items() if layer and (c := curves.gain(layer))}
        if not found:
            return None
        label = "Gain by lag. " + " ".join(f"{n}: {_ends(c, 'lag')}" for n, c in found.items())
        caption = (
            "How much of the gradient of one loss is left k steps further back in each network. "
            "Under the dashed line less than 1 % is left, and there the horizon ends."
        )
        return self._picture(lambda ax: figures.compare(diagnoses, ax), label, caption, wide=True)

    def matrix(self, layer: LayerDiagnosis) -> Picture | None:
        """The lag matrix."""
        matrix = curves.lag_matrix(layer)
        if matrix is None:
            return None
        finite = matrix.values[np.isfinite(matrix.values)]
        zero = np.isneginf(matrix.values).sum() / max(1, (~np.isnan(matrix.values)).sum())
        label = f"Lag matrix of {layer.name}: {len(matrix.anchors)} losses, each at every step."
        if finite.size:
            label += f" From {wording.power(finite.min())} to {wording.power(finite.max())}."
        if zero:
            label += f" {100 * zero:.0f} % of it is exactly zero."
        caption = (
            "Lag matrix: each row is the loss at one step t, each column the state at a step "
            "k before it. Follow a row from the diagonal to the left, and you see that loss's "
            "gradient travel back. Grey would be exactly zero: a wall that nothing crosses."
        )
        return self._picture(
            lambda ax: figures.lag_matrix(layer, ax), label, caption, size=style.SQUARE
        )

    def gradients(self, layer: LayerDiagnosis) -> Picture | None:
        """Total and direct gradient through time."""
        total = curves.gradients(layer, "total")
        if total is None:
            return None
        label = f"Gradients through time of {layer.name}. Total: {_ends(total, 'step')}"
        caption = (
            "Gradient through time: the direct one is what the loss at step t alone sends into "
            "the state, the total one adds everything that comes back from later steps. Where "
            "every step has a loss, the total is level even in a network that forgets."
        )
        return self._picture(
            lambda ax: figures.gradients(layer, ax), label, caption, size=style.COMPACT
        )

    def states(self, layer: LayerDiagnosis) -> Picture | None:
        """Norm of the state through time."""
        norms = curves.states(layer)
        if norms is None:
            return None
        label = f"States through time of {layer.name}. {_ends(norms, 'step')}"
        caption = "Norm of the state through time: the median over the batch, and its quantiles."
        return self._picture(
            lambda ax: figures.states(layer, ax), label, caption, size=style.COMPACT
        )

    def _picture(
        self,
        draw: Callable[[Axes], Figure],
        label: str,
        caption: str,
        wide: bool = False,
        size: tuple[float, float] = style.COMPACT,
    ) -> Picture:
        drawing = self._svg(draw, style.WIDE if wide else size, label)
        if caption in self._explained:  # once on a page is enough
            caption = caption.partition(":")[0] + "."
        self._explained.add(caption)
        return Picture(caption, drawing, self._svg(draw, _NARROW, label) if wide else None)

    def _svg(self, draw: Callable[[Axes], Figure], size: tuple[float, float], label: str) -> str:
        self.drawn += 1
        figure = draw(style.new_axes(size))
        text = to_svg(figure, style.VARIABLES, f"tt{self.drawn}", wording.clean(label))
        self.room -= len(text.encode())
        return text


def _ends(curve: curves.Curve, along: str) -> str:
    """Where a curve begins and ends, for those who cannot see it."""
    first, last = wording.power(curve.middle[0]), wording.power(curve.middle[-1])
    return f"Median {first} at {along} {curve.at[0]:g}, {last} at {along} {curve.at[-1]:g}."
