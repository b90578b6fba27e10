"""The pictures: what they show, what they never show, and that they are the same every time."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import report_samples as samples
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.errors import InputError
from throughtime.findings import Diagnosis, LayerDiagnosis, Measurement
from throughtime.report import curves, figures, style
from throughtime.report.svg import to_svg

ALONG_TIME = (figures.gain, figures.lag_matrix, figures.gradients, figures.states)
PICTURES = (
    *ALONG_TIME,
    figures.budget,
    figures.paths,
    figures.norm_condition,
    figures.gate_histogram,
    figures.stuck_by_unit,
    figures.stuck_by_time,
    figures.exponents,
    figures.eigenvalues,
    figures.singular_values,
    figures.input_memory,
    figures.memory_capacity,
    figures.contributions,
    figures.first_non_finite,
)
Draw = Callable[[Diagnosis | LayerDiagnosis], Figure]


def svg(figure: Figure, prefix: str = "tt") -> str:
    return to_svg(figure, style.VARIABLES, prefix, "a label")


def legend(figure: Figure) -> list[str]:
    key = figure.axes[0].get_legend()
    return [] if key is None else [text.get_text() for text in key.get_texts()]


@pytest.mark.parametrize("draw", PICTURES)
@pytest.mark.parametrize("sample", samples.ALL.values(), ids=samples.ALL)
def test_every_picture_of_every_diagnosis_is_drawn(
    sample: Callable[[], Diagnosis], draw: Draw
) -> None:
    ElementTree.fromstring(svg(draw(sample())))


def test_a_picture_lands_on_the_axes_that_were_given() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert figures.gain(samples.vanishing(), ax=axes[1]) is figure
    assert (len(axes[0].lines), len(axes[1].lines) > 0) == (0, True)


def test_the_settings_of_matplotlib_are_left_alone() -> None:
    def settings() -> dict[str, object]:
        return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}

    before = settings()
    svg(figures.gain(samples.vanishing()))
    assert settings() == before


def test_pyplot_and_its_global_figures_are_not_used() -> None:
    script = """
import sys
import report_samples as samples
from throughtime.report import render_html
render_html(samples.truncated())
sys.exit("matplotlib.pyplot" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent, check=True)


def test_a_notebook_shows_the_figure() -> None:
    figure = figures.gain(samples.vanishing().layers[0])
    assert figure._repr_svg_().startswith("<svg")


def test_the_curve_is_the_median() -> None:
    layer = samples.layer()
    drawn = figures.gain(layer).axes[0].lines[0]
    gain = layer.measurement("gain")
    assert gain is not None
    np.testing.assert_array_equal(drawn.get_ydata(), gain.values[0][1])


def test_paths_of_an_lstm_are_drawn_beside_the_whole() -> None:
    assert legend(figures.gain(samples.healthy())) == ["median", "10 to 90 %", "path h", "path c"]


@pytest.mark.parametrize(
    ("draw", "sample", "expected"),
    [
        (figures.gain, samples.truncated, {"exactly zero"}),
        (figures.gain, samples.vanishing, set()),
        (figures.gain, samples.non_finite, {"exactly zero", "not finite"}),
        (figures.lag_matrix, samples.truncated, {"exactly zero"}),
        (figures.lag_matrix, samples.non_finite, {"exactly zero", "not finite"}),
        (figures.gradients, samples.vanishing, {"direct exactly zero"}),
    ],
)
def test_zero_and_non_finite_are_named_where_they_occur(
    draw: Draw, sample: Callable[[], Diagnosis], expected: set[str]
) -> None:
    named = {label for label in legend(draw(sample())) if "zero" in label or "finite" in label}
    assert named == expected


def heat(layer: LayerDiagnosis) -> tuple[np.ndarray, Axes]:
    """The colours of the heat map, cell by cell, and its axes."""
    axes = figures.lag_matrix(layer).axes[0]
    image = axes.images[0]
    return image.to_rgba(np.ma.asarray(image.get_array())), axes


def with_matrix(values: list[list[float]], anchors: tuple[int, ...]) -> LayerDiagnosis:
    times = tuple(range(len(values[0])))
    matrix = Measurement(
        "lag matrix", values, ("anchor", "time"), "log10", "by hand",
        {"anchor": anchors, "time": times},
    )  # fmt: skip  # what belongs together, on one line
    return replace(samples.layer(), measurements=(matrix.plain(),))


def test_the_rows_of_a_heat_map_are_whole_steps() -> None:
    _, axes = heat(with_matrix([[-2.0, -1.0, 0.0]], anchors=(39,)))
    low, high = axes.get_ylim()
    assert [tick for tick in axes.get_yticks() if low <= tick <= high] == [39]


def test_a_wall_has_a_colour_that_no_small_value_has() -> None:
    colours, _ = heat(with_matrix([[-300.0, -math.inf], [math.inf, math.nan]], (0, 1)))
    small, zero, infinite = colours[0, 0], colours[0, 1], colours[1, 0]
    scale = style.heat()(np.linspace(0, 1, 256))
    assert np.abs(scale - small).sum(axis=1).min() < 1e-6
    assert np.abs(scale - zero).sum(axis=1).min() > 0.3
    assert np.abs(scale - infinite).sum(axis=1).min() > 0.3
    assert colours[1, 1, 3] == 0  # nothing is drawn where there is no number


def test_anchors_far_apart_fill_the_rows_nearest_to_them() -> None:
    colours, axes = heat(with_matrix([[0.0] * 10, [-4.0] * 10], (1, 9)))
    rows = [tuple(row) for row in colours[:, 0]]
    assert axes.get_ylim() == (0.5, 9.5)
    assert [row == rows[0] for row in rows] == [True] * 5 + [False] * 4


def test_a_span_much_longer_than_the_capture_does_not_crush_the_curve() -> None:
    axes = figures.gain(samples.layer(steps=100, span=5000)).axes[0]
    assert axes.get_xlim()[1] < 105
    assert "span 5,000 →" in [text.get_text() for text in axes.texts]


def test_a_long_curve_is_thinned_to_what_a_screen_shows() -> None:
    layer = replace(samples.layer(), measurements=(samples.gain(-0.001, 20_000),))
    drawn = np.asarray(figures.gain(layer).axes[0].lines[0].get_xdata())
    assert (len(drawn) <= 400, drawn[0], drawn[-1]) == (True, 0, 20_000)
    assert len(svg(figures.gain(layer))) < 60_000


def test_two_networks_share_one_picture() -> None:
    both = {"RNN": samples.vanishing(), "_LSTM $x$": samples.healthy(), "none": samples.empty()}
    figure = figures.compare(both)
    assert [label.strip("\u200b") for label in legend(figure)] == [
        "RNN, horizon 9",
        "_LSTM $x$, horizon at least 99",
    ]
    assert "_LSTM $x$" in svg(figure)


def test_many_networks_with_long_names_still_fit() -> None:
    many = {f"{number} 철수의 아주 긴 이름" * 3: samples.vanishing() for number in range(9)}
    assert "철수의" in svg(figures.compare(many))


def test_only_a_diagnosis_can_be_drawn() -> None:
    with pytest.raises(InputError, match="of one of its layers; this is str"):
        figures.gain("diagnosis")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gain", {"values": ((1.0,), (1.0, 2.0))}, "not a rectangle"),
        ("gain", {"values": 1.0}, "a single number"),
        ("gain", {"axes": ("lag",)}, "axes are to be part, quantile, lag"),
        (
            "gain",
            {"coords": {"part": ("s",), "lag": (0, 1)}},
            "axis lag has 100 entries and 2 labels",
        ),
        ("states", {"coords": {"time": ("a",) * 100}}, "labels of axis time are not numbers"),
        ("lag matrix", {"values": (("x",),)}, "not a rectangle of numbers"),
    ],
)
def test_a_damaged_measurement_is_named(name: str, change: dict[str, Any], message: str) -> None:
    layer = samples.layer("rnn")
    bad = tuple(replace(m, **change) if m.name == name else m for m in layer.measurements)
    draw = {"gain": figures.gain, "states": figures.states, "lag matrix": figures.lag_matrix}[name]
    with pytest.raises(InputError, match=f"layer rnn: .*{name}.*{message}"):
        draw(replace(layer, measurements=bad))


def test_the_order_of_axes_does_not_matter() -> None:
    layer = samples.layer()
    turned = [
        replace(m, values=np.transpose(m.values).tolist(), axes=m.axes[::-1]).plain()
        for m in layer.measurements
    ]
    before, after = curves.gain(layer), curves.gain(replace(layer, measurements=tuple(turned)))
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before.middle, after.middle)


def test_the_same_diagnosis_gives_the_same_bytes() -> None:
    assert svg(figures.gain(samples.healthy())) == svg(figures.gain(samples.healthy()))


@pytest.mark.parametrize("draw", PICTURES)
def test_every_id_is_used_and_begins_with_the_prefix(draw: Draw) -> None:
    sample = samples.non_finite() if draw in ALONG_TIME else samples.explained()
    text = svg(draw(sample), "one")
    ids = set(re.findall(r'\bid="([^"]*)"', text))
    used = set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text))
    assert ids == {first or second for first, second in used}
    assert all(name.startswith("one-") for name in ids)


@pytest.mark.parametrize("draw", PICTURES)
def test_a_picture_refers_to_nothing_outside_and_keeps_its_letters(draw: Draw) -> None:
    text = svg(draw(samples.explained()))
    outside = re.findall(r"https?://[^\"]*", text.replace("http://www.w3.org/2000/svg", ""))
    assert (outside, "<style" in text, "<metadata" in text, "<text" in text) == (
        [],
        False,
        False,
        True,
    )


def test_colours_of_the_palette_become_variables_of_the_page() -> None:
    assert len({*style.VARIABLES.values()}) == len(style.VARIABLES)
    text = svg(figures.gain(samples.healthy()))
    assert "var(--tt-series-1, #1b5e9b)" in text
    assert not re.findall(r"(?<!, )#000000", text)
