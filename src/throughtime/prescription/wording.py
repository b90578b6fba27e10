"""The sentences of a prescription."""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.errors import counted
from throughtime.findings import Diagnosis
from throughtime.prescription.answer import Option, Reading
from throughtime.prescription.treated import TREATMENTS

_BOUNDS = ("clipping", "states")
_PROOF = (
    "a gradient that arrives is neither necessary nor enough to learn; `throughtime treat` "
    "proves a remedy by paired trainings"
)
_USELESS = (
    "clipping is not among them: it bounds a gradient that is too large, and here it vanishes"
)
_INPUT = "no remedy helps against a NaN or an infinity in what the network is given: mend the data"
_LOSS = (
    "within the first updates the loss is no longer finite, though the gradient vanishes on its "
    "way back: look at the loss function, the read-out and the learning rate first"
)
_OWN = (
    "of a recurrence by hand the states are known, not which matrix multiplies them: a remedy "
    "changes every square one, and nothing else; a layer of throughtime.cells in its place would "
    "take all of them"
)
_OPERATION = (
    "no remedy fixes an operation that makes a NaN or an infinity: correct it where the diagnosis "
    "says it first arises"
)
_WEIGHT = "a weight is NaN or infinite already: go back to a checkpoint from before that update"

ASSUMED_SPAN = "no span was given: taken is the longest lag of the captured sequences"
OTHER_WEIGHTS = (
    "the function made other weights at each call: what is compared are different models; seed it"
)


def healthy(before: Diagnosis) -> str:
    """Nothing to prescribe."""
    return (
        "Nothing to prescribe: nothing was found that stops the gradient, or blows it up, within "
        f"{_steps(before.span)}."
    )


def unknown(before: Diagnosis) -> str:
    """Nothing was measured that a remedy could be chosen for."""
    return (
        f"Nothing is prescribed, since how far the gradient reaches is not known: {before.sentence}"
    )


def result(options: Sequence[Option], span: int) -> str:
    """What it comes to, in one sentence."""
    if not options:
        return "No remedy that is known here fits this model."
    best = options[0]
    if best.verdict == "healthy":
        if len(options) == 1:
            return f"{best.name} brings a useful gradient over {_steps(span)}: try it."
        number = sum(option.verdict == "healthy" for option in options)
        bring = "brings" if number == 1 else "bring"
        return (
            f"{number} of {len(options)} remedies {bring} a useful gradient over {_steps(span)}; "
            f"try {best.name} first."
        )
    if best.verdict == "exploding" and best.loss is not None:
        return (
            f"None of {len(options)} remedies tames the gradient over {_steps(span)}; {best.name} "
            "bounds at least the step that it makes."
        )
    reached = "none" if best.horizon is None else _steps(best.horizon)
    if len(options) == 1:
        return (
            f"{best.name} brings no useful gradient over {_steps(span)}: it reaches {reached}, and "
            "no other was tried."
        )
    return (
        f"None of {len(options)} remedies brings a useful gradient over {_steps(span)}: the best, "
        f"{best.name}, reaches {reached}."
    )


def note(name: str, treated: Reading, untreated: Reading) -> str:
    """What a remedy does not do, where that is easily taken for granted."""
    slots = {TREATMENTS[part].slot for part in name.split("+") if part in TREATMENTS}
    if slots and slots <= set(_BOUNDS) and untreated.verdict == "exploding":
        return "It bounds the step alone: on its way back the gradient explodes as before."
    if slots and slots <= {"gradient"} and treated == untreated:
        return "It works through the updates: before the first the gradient is as it was."
    return ""


def out_of_time(names: Sequence[str], seconds: float) -> str:
    """Remedies that were not tried."""
    return (
        f"left out, since {seconds:g} seconds were over: {', '.join(names)}; whatever was tried "
        "made all its updates, and more seconds try more"
    )


def notes(
    before: Diagnosis, untreated: Option, options: Sequence[Option], untried: Sequence[str]
) -> tuple[str, ...]:
    """What a reader must know beside the ranking."""
    found = [_PROOF] if options else []
    found += [_OWN] if any(layer.kind == "marked" for layer in before.layers) else []
    captured = max((reading.horizon or 0 for reading in _cut_short(options)), default=before.span)
    if captured < before.span:
        found.append(
            f"the batch reaches {_steps(captured)} back: what is said of {before.span} is "
            "extrapolated; longer sequences would measure it"
        )
    if before.verdict == "vanishing":
        found.append(_USELESS)
        found += [_LOSS] if untreated.loss is None else []
    causes = {finding.evidence.get("cause") for finding in before.findings}
    found += [_INPUT] if causes & {"bad input", "bad loss", "bad initial state"} else []
    found += [_OPERATION] if causes & {"model", "between calls", "padding", "not known"} else []
    found += [_WEIGHT] if "bad weight" in causes else []
    found += [f"meant for it too, and not tried: {', '.join(untried)}"] if untried else []
    return tuple(found)


def _cut_short(options: Sequence[Option]) -> list[Reading]:
    """The readings whose horizon is the end of what was captured."""
    return [option.reading for option in options if option.reading.reaches_end]


def _steps(number: int) -> str:
    return counted(number, "step")
