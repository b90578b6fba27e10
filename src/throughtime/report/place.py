"""Where a number first was not finite, out of the evidence of its finding; and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from throughtime.findings import Diagnosis, Finding
from throughtime.report import wording
from throughtime.report.language import say


@dataclass(frozen=True)
class Place:
    """The first number that is not finite; None for what is not known.

    ``step`` counts in the time of the sequence, from 0; ``steps`` is its length. ``backward``: it
    arose on the way back through time. ``to_earlier``: the way it spread, which is also the way in
    which a reverse layer runs forward.
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
    known = _BACKWARD if place.backward else _FORWARD
    return say(next((text for word, text in known.items() if word in place.cause), _UNKNOWN))


_CLIP = (
    "The gradient explodes on its way back. Clip it with torch.nn.utils.clip_grad_norm_ and "
    "error_if_nonfinite=True, start W_hh orthogonal, or shorten the window; in float16 lower the "
    "scale of the loss."
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
    "The state grows until the number format ends. Use bfloat16 or float32 in place of float16 "
    "(whose largest number is 65,504), bound the state (tanh in place of ReLU), or make W_hh "
    "smaller."
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
