"""The pictures of ``docs/modern.md``, as SVG that is the same each time it is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.modern import forgetting, summary
from benchmarks.modern.measuring import VANISHED
from benchmarks.modern.summary import STAGES, Cell, Gains

LOWEST = -6.0  # decades
_SETTINGS = {"svg.hashsalt": "throughtime", "svg.fonttype": "path", "font.size": 9}
_STYLES = {
    "LSTM": ("#111111", "-"),
    "GRU": ("#111111", "--"),
    "transformer": ("#8a8a8a", "-"),
    "Mamba": ("#1b5e9b", "-"),
    "Mamba-2": ("#1b5e9b", "--"),
    "gated DeltaNet": ("#b8521b", "-"),
    "gated DeltaNet (Qwen3-Next)": ("#b8521b", ":"),
    "gated DeltaNet (Qwen3-Next), step-sizes": ("#b8521b", "-."),
    "KDA": ("#b8521b", "--"),
    "RWKV-7": ("#80479b", "-"),
    "mLSTM": ("#1f7a5c", "-"),
    "RG-LRU": ("#1f7a5c", "--"),
}
_OTHER = ("#5d6977", "-.")


def gains(
    cells: Sequence[Cell], of: Callable[[Sequence[Cell], str], list[Gains]], what: str
) -> str:
    """Two panels, untrained and trained, each with a median curve for each architecture."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(9.6, 3.9), layout="constrained", facecolor="white")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, stage in zip(panels, STAGES, strict=True):
            for name, ones in summary.by_architecture(cells).items():
                _curve(axes, name, summary.median_curve(of(ones, stage)))
            axes.axhline(VANISHED, color="#8a6500", linewidth=0.8, linestyle=(0, (1, 2)))
            axes.set(title=stage, xlabel="lag (steps)", ylim=(LOWEST, 0.3))
            _calm(axes)
        panels[0].set_ylabel(what)
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right upper")
        return _svg(figure)


def forgot(cells: Sequence[Cell]) -> str:
    """The loss within the trained length, and far beyond it, by that length."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for states, colour in zip(
            forgetting.STATES, ("#1b5e9b", "#b8521b", "#1f7a5c"), strict=True
        ):
            ones = [one for one in cells if one["states"] == states]
            lengths = sorted({one["length"] for one in ones})
            for key, style in (("within", ":"), ("beyond", "-")):
                losses = [[o[key] for o in ones if o["length"] == length] for length in lengths]
                middle = [sorted(found)[len(found) // 2] for found in losses]
                label = f"{states} numbers a channel, {key}"
                axes.plot(lengths, middle, style, color=colour, marker=".", label=label)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="trained length (steps)", ylabel="loss (nats), median of seeds")
        _calm(axes)
        axes.legend(fontsize=8)
        return _svg(figure)


def _curve(axes: Axes, name: str, curve: Gains) -> None:
    colour, style = _STYLES.get(name, _OTHER)
    points = [(lag, max(one, LOWEST)) for lag, one in enumerate(curve) if one is not None]
    if points:
        lags, values = zip(*points, strict=True)
        axes.plot(lags, values, linestyle=style, color=colour, linewidth=1.3, label=name)


def _calm(axes: Axes) -> None:
    axes.grid(color="#dde2e8", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def write(folder: Path, cells: Sequence[Cell], forgot_cells: Sequence[Cell]) -> list[Path]:
    """All pictures, into this folder."""
    drawn = {
        "state.svg": gains(cells, summary.state_gains, "log10 gain of the state"),
        "inputs.svg": gains(cells, summary.input_gains, "log10 gain at the inputs"),
    }
    if forgot_cells:
        drawn["forgetting.svg"] = forgot(forgot_cells)
    folder.mkdir(exist_ok=True)
    for name, text in drawn.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in drawn]
