"""Which remedies, ranked by what each does to a copy of the user's own model."""

from throughtime.prescription.treated import TREATMENTS, canonical, treated
from throughtime.prescription.treatment import Treatment

__all__ = ["TREATMENTS", "Treatment", "canonical", "treated"]
