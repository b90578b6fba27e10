"""Which remedies, ranked by what each does to a copy of the user's own model."""

from throughtime.prescription.answer import Option, Prescription, Reading, Refused
from throughtime.prescription.fitting import fitting
from throughtime.prescription.pair import from_pair
from throughtime.prescription.prescribe import prescribe
from throughtime.prescription.treated import TREATMENTS, canonical, treated
from throughtime.prescription.treatment import Treatment

__all__ = [
    "TREATMENTS",
    "Option",
    "Prescription",
    "Reading",
    "Refused",
    "Treatment",
    "canonical",
    "fitting",
    "from_pair",
    "prescribe",
    "treated",
]
