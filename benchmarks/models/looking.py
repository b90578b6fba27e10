"""What the product says of one public model."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import throughtime as tt
from benchmarks.models.model import PublicModel

_JOINTLY = {"stack"}
_INPUTS = "inputs"
_SEVERAL = {"series", _INPUTS, *_JOINTLY}  # rows of a diagnosis that stand for several layers


@dataclass(frozen=True)
class Look:
    """One row of the table.

    Attributes:
        model: which was looked at.
        seen: how many recurrent layers have a trace.
        verified: the largest relative difference of a comparison; None where one was not made.
        verdict: of the whole model.
        verdicts: of its layers, each once.
        horizons: the smallest and the largest horizon.
        joint: what the verdict on several layers stands on: their joint state, the gain at the
            inputs, or the best of them alone; empty for one layer.
        seconds: of the diagnosis.
        said: the message, where nothing could be measured.
    """

    model: PublicModel
    seen: int = 0
    verified: float | None = None
    verdict: str = ""
    verdicts: tuple[str, ...] = ()
    horizons: tuple[int, ...] = ()
    span: int = 0
    joint: str = ""
    seconds: float = 0.0
    said: str = ""

    @classmethod
    def at(cls, model: PublicModel) -> Look:
        """Build the model and diagnose it."""
        net, closure = model.build()
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = tt.diagnose(net, closure)
        except tt.ThroughtimeError as error:
            return cls(model, said=str(error))
        layers = [layer for layer in found.layers if layer.kind not in _SEVERAL]
        differences = [layer.verified for layer in layers]
        known = [one for one in differences if one is not None]
        horizons = [layer.horizon for layer in layers if layer.horizon is not None]
        return cls(
            model,
            len(layers),
            max(known) if known and len(known) == len(layers) else None,
            found.verdict,
            tuple(dict.fromkeys(layer.verdict for layer in layers)),
            (min(horizons), max(horizons)) if horizons else (),
            max((layer.span for layer in layers), default=0),
            _together(found),
            time.perf_counter() - start,
        )


def _together(found: tt.Diagnosis) -> str:
    kinds = {layer.kind for layer in found.layers}
    if kinds & _JOINTLY:
        return "jointly"
    if _INPUTS in kinds:
        return "at the inputs"
    return "the best layer" if "series" in kinds else ""


def row(look: Look) -> tuple[str, ...]:
    """As the table has it."""
    model = look.model
    if not look.seen:
        return (
            model.package,
            model.name,
            f"0 of {model.layers}",
            "",
            "",
            "",
            "",
            model.note or look.said,
        )
    low, high = map(str, look.horizons or ("", ""))
    return (
        model.package,
        model.name,
        f"{look.seen} of {model.layers}",
        "not compared" if look.verified is None else f"{look.verified:.0e}",
        look.joint,
        low if low == high else f"{low} to {high}",
        str(look.span),
        look.verdict + (f"; {model.note}" if model.note else ""),
    )
