"""The strip of time on which the first number that is not finite lies."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.findings import Diagnosis
from throughtime.report import place, style
from throughtime.report.figures.subject import titled
from throughtime.report.language import say


def first_non_finite(subject: Diagnosis, ax: Axes | None = None) -> Figure:
    """The steps of the sequence: finite, the first that is not, and those it spread to.

    In the forward pass it spreads the way that the layer reads, on the way back against it.
    """
    axes = ax or style.new_axes(style.STRIP)
    found = place.first_bad(subject)
    if found is None or found.step is None or not found.steps or found.step >= found.steps:
        return style.nothing(axes, say("It is not known at which step."))
    start, end = (0, found.step + 1) if found.to_earlier else (found.step, found.steps)
    axes.barh(0, found.steps, 0.6, color=style.WALL, alpha=0.35, label=say("finite"))
    axes.barh(
        0, end - start, 0.6, left=start, color=style.BROKEN, alpha=0.45,
        label=say("reached from there"),
    )  # fmt: skip  # what belongs together, on one line
    axes.barh(0, max(1.0, found.steps / 200), 0.6, left=found.step, color=style.BROKEN)
    far = found.step > found.steps / 2
    axes.annotate(
        say("← step {number}", number=f"{found.step:,}")
        if found.to_earlier
        else say("step {number} →", number=f"{found.step:,}"),
        (found.step + 0.5, 0.36), xytext=(0, 3), textcoords="offset points",
        ha="right" if far else "left", va="bottom", color=style.BROKEN, fontsize=10,
        annotation_clip=False,
    )  # fmt: skip  # what belongs together, on one line
    style.dress(axes, say("step t"), "")
    axes.set_yticks([])
    axes.set_xlim(0, found.steps)
    axes.set_ylim(-0.36, 0.85)
    style.legend(axes)
    return titled(axes, ax, say("The first number that is not finite"))
