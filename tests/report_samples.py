"""Diagnoses made by hand, one for each thing that a report must be able to show."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from report_measurements import (
    QUANTILES,
    STAGES,
    causes,
    depths,
    labelled,
    spoilt,
)

from throughtime.findings import Diagnosis, Finding, LayerDiagnosis, Measurement, Verdict

ZERO = -math.inf


def _band(middle: np.ndarray, width: float) -> np.ndarray:
    """Quantiles around a median, wider the further back."""
    spread = width * np.sqrt(np.arange(len(middle)) + 0.2)
    return np.stack([middle - spread, middle, middle + spread])


def _noise(seed: int, size: int, amount: float = 0.15) -> np.ndarray:
    return amount * np.random.default_rng(seed).standard_normal(size)


def gain(rate: float, lags: int, paths: Sequence[str] = (), wall: int | None = None) -> Measurement:
    """A gain that changes by ``rate`` decades per step, and is zero from lag ``wall`` on."""
    parts = ("s", *paths)
    curves = []
    for place, part in enumerate(parts):
        slope = rate * (1 + 0.4 * place * (-1) ** place)
        middle = slope * np.arange(lags + 1) + _noise(place, lags + 1) * (part == "s")
        middle[0] = 0.0
        if wall is not None:
            middle[wall:] = ZERO
        curves.append(_band(middle, 0.12))
    return Measurement(
        name="gain",
        values=np.stack(curves),
        axes=("part", "quantile", "lag"),
        unit="log10",
        how="one reverse sweep from 32 anchors; each divided by its own norm at lag 0",
        coords={"part": parts, "quantile": QUANTILES, "lag": tuple(range(lags + 1))},
    ).plain()


def lag_matrix(rate: float, steps: int, window: int | None = None) -> Measurement:
    """One row for each anchor; with a ``window``, a wall that no gradient crosses."""
    stride = max(1, steps // 64)
    anchors, times = np.arange(0, steps, stride), np.arange(steps)
    lag = anchors[:, None] - times[None, :]
    values = rate * lag - 1.0 + _noise(7, lag.size, 0.1).reshape(lag.shape)
    values[lag < 0] = math.nan
    if window is not None:
        values[(lag >= 0) & (times[None, :] // window < anchors[:, None] // window)] = ZERO
    return Measurement(
        name="lag matrix",
        values=values,
        axes=("anchor", "time"),
        unit="log10",
        how="median over the batch of the norm of each anchor's gradient at each step",
        coords={"anchor": tuple(anchors.tolist()), "time": tuple(times.tolist())},
    ).plain()


def through_time(rate: float, steps: int) -> tuple[Measurement, Measurement]:
    """Norms of the states, and of the total and the direct gradient."""
    time = np.arange(steps)
    states = _band(0.8 * (1 - np.exp(-time / 4)) + _noise(1, steps, 0.03), 0.01)
    total = rate * (steps - 1 - time) - 1.0 + _noise(2, steps, 0.08)
    direct = np.full(steps, ZERO)
    direct[-1] = -1.0
    labels = {"quantile": QUANTILES, "time": tuple(time.tolist())}
    return (
        Measurement(
            "states", states, ("quantile", "time"), "log10",
            "Euclidean norm of the captured state; quantiles over the batch", labels,
        ).plain(),
        Measurement(
            "gradients", np.stack([_band(total, 0.02), np.stack([direct] * 3)]),
            ("source", "quantile", "time"), "log10",
            "norm of the total and of the direct gradient; before clipping, not scaled",
            {"source": ("total", "direct"), **labels},
        ).plain(),
    )  # fmt: skip  # a list, not a column


def layer(
    name: str = "encoder.rnn",
    kind: str = "RNN",
    rate: float = -0.22,
    steps: int = 100,
    span: int | None = None,
    paths: Sequence[str] = (),
    window: int | None = None,
) -> LayerDiagnosis:
    """One layer whose gain has this rate, with all of its pictures."""
    horizon = steps - 1 if rate > -2 / steps else int(2 / -rate)
    verdict: Verdict = "healthy" if abs(rate) < 0.02 else "vanishing" if rate < 0 else "exploding"
    span = steps if span is None else span
    sentence = {
        "healthy": f"The gradient of {name} reaches all of the {span} steps that the task needs.",
        "vanishing": f"After {horizon} steps back, less than 1 % of the gradient of {name} is "
        f"left; the task needs {span}. What happened earlier can hardly be learnt.",
        "exploding": f"The gradient of {name} grows at every step back: after {span} steps it is "
        "so large that one update can throw the weights far away.",
    }[verdict]
    return LayerDiagnosis(
        name=name,
        kind=kind,
        verdict=verdict,
        rate=rate,
        horizon=horizon,
        reaches_end=horizon == steps - 1,
        span=span,
        gain_at_span=rate * span,
        sentence=sentence,
        verified=3.1e-7,
        unverified_because="",
        checked_by="the gradient of its recurrent weight, with autograd's: 3e-07 (limit 1e-04)",
        findings=()
        if verdict == "healthy"
        else (
            Finding(verdict, name, sentence, {"rate_decades_per_step": rate, "horizon": horizon}),
        ),
        measurements=(
            gain(rate, steps - 1, paths, window),
            lag_matrix(rate, steps, window),
            *through_time(rate, steps),
        ),
    )


def diagnosis(*layers: LayerDiagnosis, notes: Sequence[str] = ()) -> Diagnosis:
    """A diagnosis decided by the first of its layers."""
    worst = layers[0]
    return Diagnosis(
        verdict=worst.verdict,
        rate=worst.rate,
        horizon=worst.horizon,
        reaches_end=worst.reaches_end,
        span=worst.span,
        sentence=worst.sentence,
        decided_by=worst.name,
        layers=layers,
        findings=worst.findings,
        notes=tuple(notes),
        run={
            "steps": 100,
            "batch": 16,
            "dtype": "float32",
            "torch": "2.13.0",
            "throughtime": "0.1.0",
            "source": "examples/language_model.py:build",
            "verdict thresholds": {"horizon gain": 0.01, "exploding rate": 0.02},
        },
    )


def vanishing() -> Diagnosis:
    return diagnosis(
        layer(), notes=["The last 12 steps are constant: if they are padding, pass lengths."]
    )


def exploding() -> Diagnosis:
    return diagnosis(layer(rate=0.31, steps=60))


def healthy() -> Diagnosis:
    return diagnosis(layer("lstm", "LSTM", rate=-0.004, paths=("h", "c")))


def truncated() -> Diagnosis:
    return diagnosis(layer("rnn", rate=-0.05, window=20))


def stack() -> Diagnosis:
    """Three layers and their stack, which decides; two of the layers have no pictures."""
    bare = replace(layer("head.gru", "GRU", rate=-0.01), measurements=())
    return diagnosis(
        layer("lstm (all layers)", "stack", rate=-0.12),
        layer("lstm.layers.0", "LSTM", rate=-0.19, paths=("h", "c")),
        replace(layer("lstm.layers.1", "LSTM", rate=-0.12), measurements=()),
        replace(
            bare, verified=None, unverified_because="dropout", verdict="unknown", checked_by=""
        ),
    )


def empty() -> Diagnosis:
    """T = 1 and B = 0: every curve is there, and none has a point."""
    labels = {"quantile": QUANTILES, "lag": (), "time": (), "part": ("s",), "anchor": ()}
    nothing = (
        Measurement("gain", (((), (), ()),), ("part", "quantile", "lag"), "log10", "-", labels),
        Measurement("lag matrix", (), ("anchor", "time"), "log10", "-", labels),
        Measurement("states", ((), (), ()), ("quantile", "time"), "log10", "-", labels),
    )
    bare = replace(
        layer("cell", "RNNCell"), verdict="unknown", rate=None, horizon=0, reaches_end=True, span=1,
        gain_at_span=None, sentence="There is one step, and nothing to travel back through.",
        findings=(), measurements=nothing, checked_by="",
    )  # fmt: skip  # what belongs together, on one line
    return diagnosis(bare, replace(bare, name="other", measurements=()))


def no_layer() -> Diagnosis:
    """A diagnosis of nothing: no layer at all."""
    return replace(empty(), layers=(), decided_by="")


def non_finite() -> Diagnosis:
    """Infinite, undefined and exactly zero values everywhere that a number can be."""
    names = {}
    for measurement in layer(paths=("h", "c")).measurements:
        values = np.array(measurement.values)
        flat = values.reshape(-1)
        flat[::5], flat[1::7], flat[2::11] = math.nan, math.inf, ZERO
        names[measurement.name] = replace(measurement, values=values).plain()
    broken = replace(
        layer(), verdict="non-finite", rate=math.nan, horizon=None, gain_at_span=math.inf,
        sentence="A NaN appeared in the state of encoder.rnn at step 37, sample 4.",
        verified=math.nan, measurements=tuple(names.values()),
    )  # fmt: skip  # what belongs together, on one line
    return diagnosis(broken, notes=["Statistics are over the 83 finite samples of 96."])


def nothing_finite() -> Diagnosis:
    """Not one finite number in any measurement."""
    broken = tuple(
        replace(m, values=np.full(np.shape(m.values), math.nan)).plain()
        for m in layer().measurements
    )
    bad = replace(
        layer(), verdict="non-finite", rate=None, horizon=None, gain_at_span=None, verified=None,
        unverified_because="no finite gradient", measurements=broken,
    )  # fmt: skip  # what belongs together, on one line
    return diagnosis(bad)


def explained(kind: str = "LSTM", deep: bool = True) -> Diagnosis:
    """A vanishing layer with every measurement that explains, and its causes in two languages."""
    rate = sum(STAGES[kind].values())
    base = layer("encoder.rnn", kind, rate=rate, paths=() if kind == "RNN" else ("h", "c"))
    more = (*causes(kind), *(depths(kind) if deep else ()))
    korean = (
        f"기울기는 {base.horizon}스텝만 거슬러 올라가도 1 % 미만으로 줄어듭니다. 과제에 필요한 "
        "거리는 100스텝입니다."
    )
    found = (
        Finding(
            "vanishing", base.name, base.sentence, {"rate_decades_per_step": rate}, 1.0, korean
        ),
        Finding(
            "gates closed", base.name,
            "The forget gates are closed: held open, the gradient would still have 67 % left after "
            "100 steps.", {"gain_with_open_gates": -0.4}, 0.94,
            "망각 게이트가 닫혀 있습니다. 열어 두면 100스텝 뒤에도 기울기의 67 %가 남습니다.",
        ),
        Finding(
            "budget", base.name,
            "−0.198 decades a step: −0.148 gates, −0.071 W_hh, +0.021 read-out; with the forget "
            "gate at 1 it would be −0.004.", {"whole": rate}, 1.0,
            "스텝당 −0.198자릿수: 게이트 −0.148, W_hh −0.071, 출력 +0.021. 망각 게이트를 1로 두면 "
            "−0.004가 됩니다.",
        ),
        Finding("carried", base.name, "The state is carried over from the batch before."),
    )  # fmt: skip  # a list, not a column
    whole = replace(base, findings=found, measurements=(*base.measurements, *more), korean=korean)
    return replace(diagnosis(whole), findings=found, korean=korean)


def changed(change: Callable[[Measurement], Measurement]) -> Diagnosis:
    """The explained LSTM with each of the measurements that explain it changed."""
    found = explained()
    first, more = found.layers[0], (*causes("LSTM"), *depths("LSTM"))
    kept = first.measurements[: -len(more)]
    layers = (replace(first, measurements=(*kept, *map(change, more))),)
    return replace(found, layers=layers)


def explained_stack() -> Diagnosis:
    """The stack decides, and one of its layers has the measurements that explain it."""
    inner = explained("GRU", deep=False)
    first = replace(inner.layers[0], name="gru.l0")
    second = replace(explained("RNN").layers[0], name="gru.l1", verified=None)
    found = tuple(replace(one, subject="gru.l0") for one in inner.findings)
    whole = replace(layer("all layers", "stack", rate=-0.19), measurements=first.measurements[:2])
    return replace(diagnosis(whole, first, second), findings=found)


def broken(backward: bool = False) -> Diagnosis:
    """A number that is not finite, and where it was first."""
    kind = (
        "the backward recurrence overflows: the gradient has exploded"
        if backward
        else "all that it reads is finite, and a product overflows"
    )
    sentence = (
        f"The {'back' if backward else 'for'}ward pass of layer 'encoder.rnn' goes non-finite "
        f"first at time step 37, sample 4, unit c[12] in gate 'f': {kind}."
    )
    found = Finding(
        "non-finite", "encoder.rnn", sentence,
        {
            "pass": "backward" if backward else "forward", "time_step": 37, "sample": 4,
            "unit": "c[12]", "gate": None if backward else "f", "kind": kind,
            "non_finite_entries": 2_017, "entries": 204_800,
        },
    )  # fmt: skip  # what belongs together, on one line
    bad = replace(
        layer(), verdict="non-finite", rate=None, horizon=None, gain_at_span=None,
        sentence=sentence, findings=(found,),
    )  # fmt: skip  # what belongs together, on one line
    return replace(diagnosis(bad), findings=(found,))


HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\x1b[31mred\x1b[0m [bold]bold[/bold] :smile:",
    "{{7*7}} {% raw %} ${7*7} $\\frac{1}{2}$",
    "a\u202eb\u2066c 철수의 기억 \ud800 \ufffe \x00",
    "_hidden' onmouseover='alert(3)\" style=\"x:url(https://example.org/)",
    "]]><svg onload=alert(4)> --> <!-- url(#a)",
)


def hostile() -> Diagnosis:
    """Markup, escapes and formats in every place where a user's or a file's text can stand."""
    pictures = [
        replace(m, how=how) for m, how in zip(layer(steps=12).measurements, HOSTILE, strict=False)
    ]
    layers = [
        replace(
            layer(name, kind=name, steps=12),
            measurements=tuple(pictures) if number < 2 else (),
            sentence=name,
            unverified_because=name,
            verified=None,
            findings=(Finding(name, name, name, {name: name}),),
        )
        for number, name in enumerate(HOSTILE)
    ]
    found = diagnosis(*layers, notes=HOSTILE)
    return replace(
        found, sentence=" ".join(HOSTILE), run={name: {name: (name,)} for name in HOSTILE}
    )


ALL = {
    "vanishing": vanishing,
    "exploding": exploding,
    "healthy": healthy,
    "truncated": truncated,
    "stack": stack,
    "empty": empty,
    "no layer": no_layer,
    "non-finite": non_finite,
    "nothing finite": nothing_finite,
    "explained LSTM": explained,
    "explained RNN": lambda: explained("RNN", deep=False),
    "explained stack": explained_stack,
    "broken forward": broken,
    "broken backward": lambda: broken(backward=True),
    "hostile": hostile,
    "hostile causes": lambda: changed(lambda one: labelled(one, HOSTILE)),
    "spoilt causes": lambda: changed(spoilt),
}
