"""Why: the layer that explains, the sentences, the pictures of causes, the place of a NaN."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import report_measurements as by_hand
import report_samples as samples
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.errors import InputError
from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import bars, causes, figures, place, style
from throughtime.report.plates import deep, why

LAYER = samples.explained().layers[0]
DRAWN: dict[str, Callable[..., Figure]] = {
    "budget": figures.budget,
    "paths": figures.paths,
    "norm condition": figures.norm_condition,
    "gate histogram": figures.gate_histogram,
    "stuck by unit": figures.stuck_by_unit,
    "stuck by time": figures.stuck_by_time,
    "lyapunov": figures.exponents,
    "eigenvalues": figures.eigenvalues,
    "singular values": figures.singular_values,
    "input memory": figures.input_memory,
    "memory capacity": figures.memory_capacity,
    "contributions": figures.contributions,
}


def axes_of(figure: Figure) -> Axes:
    return figure.axes[0]


def written(figure: Figure) -> list[str]:
    """The texts and the names beside the rows, as they are drawn."""
    axes = axes_of(figure)
    rows = [*axes.get_yticklabels(), *axes.get_xticklabels()]
    return [text.get_text().replace("\n", " ") for text in [*axes.texts, *rows]]


def with_(name: str, **changes: Any) -> LayerDiagnosis:
    measured = tuple(
        replace(one, **changes) if one.name == name else one for one in LAYER.measurements
    )
    return replace(LAYER, measurements=measured)


def without(*names: str) -> LayerDiagnosis:
    return replace(LAYER, measurements=tuple(m for m in LAYER.measurements if m.name not in names))


# Which layer, which sentences


@pytest.mark.parametrize(
    ("found", "layer"),
    [
        (samples.explained(), "encoder.rnn"),
        (samples.explained_stack(), "gru.l0"),
        (replace(samples.explained_stack(), findings=()), "gru.l1"),
        (samples.vanishing(), "encoder.rnn"),
        (samples.stack(), "lstm (all layers)"),
    ],
    ids=["decided", "named by a cause", "shortest horizon", "nothing measured", "no part measured"],
)
def test_the_layer_that_explains(found: Diagnosis, layer: str) -> None:
    explaining = causes.explaining(found)
    assert explaining is not None
    assert explaining.name == layer


def test_without_a_layer_nothing_explains() -> None:
    assert causes.explaining(samples.no_layer()) is None


def test_each_sentence_once_in_its_order_and_one_budget() -> None:
    found = samples.explained_stack()
    budget = replace(found.findings[2], subject="gru.l1", sentence="Another layer's.")
    twice = replace(found.findings[0], subject="gru.l1")
    told = causes.sentences(replace(found, findings=(*found.findings, twice, budget)))
    assert [(one.disease, one.subject) for one in told] == [
        ("vanishing", "gru.l0"),
        ("gates closed", "gru.l0"),
        ("budget", "gru.l0"),
    ]


@pytest.mark.parametrize(
    ("shares", "lag"),
    [
        ([0.6, 0.395, 0.004, 0.001], "1"),
        ([0.6, 0.2, 0.195, 0.005], "3"),
        ([0.6, 0.2, 0.1, 0.1], None),
        ([0.6, 0.2, math.nan, 0.1], None),
        ([1.2, -0.18, -0.015, -0.005], "3"),
    ],
)
def test_how_far_back_the_update_reaches(shares: list[float], lag: str | None) -> None:
    layer = with_(
        "contributions",
        values=(tuple(shares),),
        coords={"figure": ("share of the update",), "bucket": ("0", "1", "2-3", "4-7")},
    )
    told = causes.reach_of_update(layer)
    assert (f"from more than {lag} steps" in told) if lag else (told == "")


# Pictures


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_of_a_cause_is_drawn_of_the_layer_that_explains(name: str) -> None:
    stack = samples.explained_stack()
    explaining = causes.explaining(stack)
    assert explaining is not None
    assert written(DRAWN[name](stack)) == written(DRAWN[name](explaining))


@pytest.mark.parametrize("name", DRAWN)
def test_what_was_not_measured_is_said_to_be_missing(name: str) -> None:
    bare = without(name, "counterfactuals")
    plates = [*why.all_of(bare), *deep.all_of(bare)]
    assert any(
        "was measured" in text or "were measured" in text for text in written(DRAWN[name](bare))
    )
    assert sum(plate is not None for plate in plates) == len(DRAWN) - 1


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": 1.0}, "a single number"),
        ({"values": ((1.0,), (1.0, 2.0))}, "not a rectangle of numbers"),
        ({"axes": ("here", "there")}, "axes are to be"),
    ],
)
def test_a_damaged_measurement_of_a_cause_is_named(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"encoder.rnn: .*{name}.*{message}"):
        DRAWN[name](with_(name, **changes))


def bars_of(figure: Figure) -> dict[str, tuple[float, float]]:
    """From where to where the bar beside each name goes."""
    axes = axes_of(figure)
    names = [text.get_text().replace("\n", " ") for text in axes.get_yticklabels()]
    return {
        names[round(bar.get_y() + bar.get_height() / 2)]: (
            bar.get_x(),
            bar.get_x() + bar.get_width(),
        )
        for bar in axes.patches
    }


def test_the_bars_of_the_budget_add_up_to_the_whole() -> None:
    drawn = bars_of(figures.budget(LAYER))
    stages = [drawn[name] for name in ("read-out", "gates", "recurrent matrix")]
    assert [start for start, _ in stages] == pytest.approx([0, *(end for _, end in stages[:-1])])
    assert drawn["whole"] == pytest.approx((0, stages[-1][1]))


def test_only_a_change_that_reaches_the_span_is_green() -> None:
    axes = axes_of(figures.budget(LAYER))
    green = [bar for bar in axes.patches if bar.get_facecolor()[:3] == pytest.approx(rgb(2))]
    assert [bar.get_width() for bar in green] == pytest.approx([-0.004])


def rgb(series: int) -> tuple[float, ...]:
    text = style.SERIES[series]
    return tuple(int(text[n : n + 2], 16) / 255 for n in (1, 3, 5))


def test_every_number_of_the_budget_is_written() -> None:
    expected = {"+0.021", "−0.148", "−0.071", "−0.198", "−0.004", "−0.301", "−0.120"}
    assert expected <= set(written(figures.budget(LAYER)))


def test_quantiles_of_a_budget_give_its_median() -> None:
    found = LAYER.measurement("budget")
    assert found is not None
    three = [[value - 1, value, value + 1] for value in found.values]
    layer = with_(
        "budget", values=three, axes=("cause", "quantile"),
        coords={**found.coords, "quantile": (0.1, 0.5, 0.9)},
    )  # fmt: skip  # what belongs together, on one line
    assert bars_of(figures.budget(layer)) == bars_of(figures.budget(LAYER))


def test_eigenvalues_lie_on_their_gate_with_the_unit_circle() -> None:
    axes = axes_of(figures.eigenvalues(LAYER))
    circles = [patch for patch in axes.patches if hasattr(patch, "radius")]
    assert [circle.radius for circle in circles] == [1.0] * 4
    found = LAYER.measurement("eigenvalues")
    assert found is not None
    radius = np.hypot(*np.array(found.values)[0]).max()
    assert f"i ρ {radius:.2f}" in written(figures.eigenvalues(LAYER))


def test_of_many_eigenvalues_the_largest_are_drawn() -> None:
    many = np.stack([np.linspace(-1, 1, 5000), np.zeros(5000)])[None]
    layer = with_(
        "eigenvalues", values=many, coords={"gate": ("a",), "part": ("real", "imaginary")}
    )
    dots = [
        patch
        for patch in axes_of(figures.eigenvalues(layer)).patches
        if patch.get_path().codes is not None
    ]
    drawn = np.unique(dots[-1].get_path().vertices[:, 0])
    assert (len(drawn), drawn[0], drawn[-1]) == (300, -1.0, 1.0)


def test_units_are_ordered_by_how_much_they_are_stuck() -> None:
    for image in axes_of(figures.stuck_by_unit(LAYER)).images:
        assert (np.diff(np.asarray(image.get_array())[0]) <= 0).all()


def test_where_next_to_nothing_is_stuck_there_are_no_strips() -> None:
    found = LAYER.measurement("stuck by unit")
    assert found is not None
    layer = with_("stuck by unit", values=np.array(found.values) / 10)
    assert (why.stuck_by_unit(layer), why.stuck_by_unit(LAYER) is None) == (None, False)


def test_an_unbounded_output_has_no_histogram() -> None:
    found = LAYER.measurement("gate histogram")
    assert found is not None
    at = np.array(found.coords["bin"]) * 1e30
    layer = with_("gate histogram", coords={**found.coords, "bin": tuple(at)})
    assert why.gates(layer) is None


def test_a_gated_cell_has_no_norm_condition_to_draw() -> None:
    assert deep.norm_condition(with_("norm condition", values=(math.nan, -0.2))) is None


# Where a number broke


def test_the_place_of_the_first_number_that_is_not_finite() -> None:
    found = place.first_bad(samples.broken())
    assert found is not None
    assert dict(found.facts()) == {
        "Layer": "encoder.rnn", "Pass": "forward", "Time step": "37 of 100", "Sample": "4",
        "Unit of the state": "c[12]", "Gate": "f", "Entries not finite": "2,017 of 204,800",
    }  # fmt: skip  # rows of a table


@pytest.mark.parametrize(
    ("backward", "cause", "start"),
    [
        (False, "bad input", "The data brings it."),
        (False, "bad weight", "An earlier update broke the weights"),
        (False, "bad initial state", "Check the state that is carried over"),
        (False, "overflow", "The state grows"),
        (True, "bad loss", "Look at the loss"),
        (True, "bad weight", "An earlier update broke the weights"),
        (True, "overflow", "The gradient explodes"),
        (True, "something new", "Capture the update before this one"),
        (False, "weight_hh is not finite (row 3)", "An earlier update broke the weights"),
    ],
)
def test_what_to_do_next_follows_from_the_cause(backward: bool, cause: str, start: str) -> None:
    found = place.first_bad(samples.broken(backward))
    assert found is not None
    assert place.advice(replace(found, cause=cause)).startswith(start)


@pytest.mark.parametrize(
    ("backward", "name", "stretch"),
    [
        (False, "lstm.l0", (37, 100)),
        (True, "lstm.l0", (0, 38)),
        (False, "lstm.l0.reverse", (0, 38)),
        (True, "lstm.l0.reverse", (37, 100)),
    ],
)
def test_it_spreads_the_way_a_layer_reads_and_back_against_it(
    backward: bool, name: str, stretch: tuple[int, int]
) -> None:
    found = samples.broken(backward)
    found = replace(found, findings=(replace(found.findings[0], subject=name),))
    every, spread, first = axes_of(figures.first_non_finite(found)).patches[-3:]
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in (every, spread, first)]
    assert ends == [(0, 100), stretch, (37, 38)]


@pytest.mark.parametrize(
    "evidence", [{}, {"time_step": "37"}, {"time_step": 1000}, {"time_step": -1}]
)
def test_a_step_that_cannot_be_is_not_drawn(evidence: dict[str, Any]) -> None:
    found = samples.broken()
    bad = replace(found.findings[0], evidence=evidence)
    layers = tuple(replace(layer, findings=()) for layer in found.layers)
    assert why.first_non_finite(replace(found, findings=(bad,), layers=layers)) is None


# In letters


def test_losses_lie_left_of_the_zero_and_gains_right_of_it() -> None:
    lines = bars.ledger(
        [("up", "+1.0", 1.0), ("down", "−3.0", -3.0), ("none", "unknown", math.nan)], 60
    )
    zero = lines[0].index(bars.FULL)
    assert [line.rindex(bars.FULL) < zero for line in lines[1:2]] == [True]
    assert lines[1].count(bars.FULL) == 3 * lines[0].count(bars.FULL)
    assert lines[2].endswith("unknown")


@pytest.mark.parametrize(("backward", "shown"), [(False, "░░░░░!████"), (True, "█████!░░░░")])
def test_the_strip_of_letters(backward: bool, shown: str) -> None:
    assert bars.strip(50, 100, backward, 10) == [shown, "0       99"]


def test_names_of_wide_letters_stand_in_columns() -> None:
    lines = bars.shares([("게이트", "38 %", 0.38), ("carousel", "62 %", 0.62)], 40)
    assert [line.index("%") + 3 * korean for line, korean in zip(lines, (1, 0), strict=True)] == [
        lines[1].index("%")
    ] * 2


def test_the_sample_measures_all_that_a_picture_shows() -> None:
    names = {one.name for one in (*by_hand.causes("LSTM"), *by_hand.depths("LSTM"))}
    assert set(DRAWN) <= names
