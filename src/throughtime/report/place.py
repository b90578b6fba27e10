"""Where a number first was not finite, out of the evidence of its finding; and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from throughtime.findings import Diagnosis, Finding
from throughtime.report import wording
from throughtime.report.language import say


@dataclass(frozen=True)
class Place:
    """The first number that is not finite; None for what is not known.

    ``step`` counts in the time of the sequence, from 0; ``steps`` is its length. ``backward``: it
    arose on the way back through time. ``to_earlier``: the way it spread, which is also the way in
    which a reverse layer runs forward. ``more``: what else the advice depends on, in words; empty
    words are left out.
    """

    layer: str
    backward: bool
    to_earlier: bool
    step: int | None
    steps: int | None
    sample: int | None
    unit: str
    gate: str
    cause: str
    bad: int | None
    entries: int | None
    more: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> list[tuple[str, str]]:
        """What is known of the place, as pairs of a name and a value."""
        way = say("backward through time") if self.backward else say("forward")
        known = [
            (say("Layer"), self.layer),
            (say("Pass"), way),
            (say("Time step"), _of(self.step, self.steps)),
            (say("Sample"), _of(self.sample)),
            (say("Unit of the state"), self.unit),
            (say("Gate"), self.gate),
            (say("Arises in"), say("the pre-activation") if self.more.get("preactivation") else ""),
            (say("Parameter"), self.more.get("parameter", "")),
            (say("Number format"), self.more.get("dtype", "")),
            (say("Entries not finite"), _of(self.bad, self.entries)),
        ]
        return [(name, value) for name, value in known if value]


def first_bad(diagnosis: Diagnosis) -> Place | None:
    """The place of the first number that is not finite; None if there is none, or none is known."""
    every = [*diagnosis.findings, *(f for layer in diagnosis.layers for f in layer.findings)]
    found = (one for one in every if one.disease == "non-finite" and "time_step" in one.evidence)
    return next((_place(one, diagnosis) for one in found), None)


def advice(place: Place) -> str:
    """What to do next, from the cause of the first number that is not finite."""
    if place.more.get("parameter") and place.cause != "overflow":
        return say(_WEIGHT)
    if not place.backward and "overflow" in place.cause and place.more.get("dtype"):
        return _against_overflow(place.more)
    if place.backward and "overflow" in place.cause:
        half = place.more.get("dtype") in ("", None, "float16")
        return f"{say(_CLIP)} {say(_SCALE)}" if half else say(_CLIP)
    if place.cause in _KINDS:
        return say(_KINDS[place.cause])
    known = _BACKWARD if place.backward else _FORWARD
    return say(next((text for word, text in known.items() if word in place.cause), _UNKNOWN))


def _against_overflow(known: Mapping[str, str]) -> str:
    """What to do about a state that grew beyond the end of this number format."""
    dtype, limit = known["dtype"], known.get("largest_number", "")
    if dtype == "float16":
        first = say(_WIDER, limit=limit)
    else:
        first = say(_NO_WIDER, dtype=dtype, limit=limit)
    if "W_ih" in known.get("product", ""):
        return f"{first} {say(_SCALE_INPUT)}"
    return f"{first} {say(_SMALLER if known.get('bounded_state') else _BOUND)}"


_CLIP = (
    "The gradient explodes on its way back. Clip it with torch.nn.utils.clip_grad_norm_ and "
    "error_if_nonfinite=True, start W_hh orthogonal, or shorten the window."
)
_SCALE = "In float16 also lower the scale of the loss."
_WIDER = (
    "The state grows beyond {limit}, the largest number of float16: use bfloat16 or float32 for "
    "this layer."
)
_NO_WIDER = (
    "The state grows beyond {limit}, the largest number of {dtype}; a wider format would only "
    "delay that."
)
_BOUND = "Bound the state (tanh in place of ReLU), or make W_hh smaller."
_SMALLER = "Make the recurrent and the input weights smaller."
_SCALE_INPUT = "Scale the input of the layer to mean 0 and variance 1, or make W_ih smaller."
_BETWEEN = (
    "Check what the model does to the state between two calls of the layer: a mask, a division, a "
    "normalisation. Test the state with torch.isfinite(h).all() before and after it."
)
_MODEL = (
    "The model itself makes it, not the data. Check the operation that is named, with "
    "torch.isfinite before and after it: a division by zero, a logarithm or square root of 0, an "
    "overflow."
)
_PADDING = (
    "Fill the padding with zeros where the batch is made, or pack the batch with "
    "pack_padded_sequence, so that no layer reads the padding."
)
_UNKNOWN_CAUSE = (
    "Run this step again with the same input, and test the result of each of its operations with "
    "torch.isfinite; for the backward pass use torch.autograd.detect_anomaly()."
)
_WEIGHT = (
    "An earlier update broke the weights, not this batch. Go back to the last checkpoint that is "
    "finite, capture the update after it, clip its gradient and lower the learning rate; refuse "
    "an update whose gradient is not finite."
)
_INPUT = (
    "The data brings it. Check each batch with torch.isfinite(x).all() where it is made, and look "
    "in this sample for a division by zero, a logarithm of zero, or a gap that was read as NaN."
)
_INITIAL = (
    "Check the state that is carried over from one window to the next: where was it last finite? "
    "Begin this window with a state of zeros, and detach it."
)
_OVERFLOW = (
    "The state grows until the number format ends. Bound the state (tanh in place of ReLU), or "
    "make W_hh smaller."
)
_LOSS = (
    "Look at the loss of this step and sample: a logarithm or square root of 0, or 0/0. Take the "
    "form that works on logits (cross_entropy, binary_cross_entropy_with_logits), or put a small "
    "constant inside the root."
)
_UNKNOWN = "Capture the update before this one, and see whether its numbers are still finite."

# A word of the cause, and what to do: the first that fits.
_FORWARD = {
    "input": _INPUT,
    "initial state": _INITIAL,
    "overflow": _OVERFLOW,
    "weight": _WEIGHT,
    "bias": _WEIGHT,
}
_BACKWARD = {"loss": _LOSS, "overflow": _CLIP, "weight": _WEIGHT}
_KINDS = {
    "between calls": _BETWEEN,
    "model": _MODEL,
    "padding": _PADDING,
    "not known": _UNKNOWN_CAUSE,
}
_TOLD = ("preactivation", "parameter", "dtype", "largest_number", "product", "bounded_state")


def _place(found: Finding, diagnosis: Diagnosis) -> Place:
    known = found.evidence
    backward, reverse = known.get("pass") == "backward", found.subject.endswith(".reverse")
    return Place(
        found.subject,
        backward,
        backward != reverse,
        _count(known.get("time_step")),
        _count(known.get("steps", diagnosis.run.get("steps"))),
        _count(known.get("sample")),
        _word(known.get("unit")),
        _word(known.get("gate")),
        _word(known.get("cause", known.get("kind"))),  # schema 1 knew it in words alone
        _count(known.get("non_finite_entries")),
        _count(known.get("entries")),
        {key: _word(known[key]) for key in _TOLD if known.get(key)},
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _word(value: object) -> str:
    return "" if value is None else wording.clean(value)


def _of(number: int | None, whole: int | None = None) -> str:
    if number is None:
        return ""
    if whole is None:
        return f"{number:,}"
    return say("{number} of {whole}", number=f"{number:,}", whole=f"{whole:,}")
