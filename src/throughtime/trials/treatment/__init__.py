"""Paired trials: the same trainings with and without remedies, compared seed by seed.

done = treat(make, steps=2000, folder="treatments/recall")
print(done.verdict)
"""

from throughtime.trials.treatment.patch import Patch
from throughtime.trials.treatment.result import Arm, End, Treated
from throughtime.trials.treatment.table import columns, row
from throughtime.trials.treatment.treat import treat

__all__ = ["Arm", "End", "Patch", "Treated", "columns", "row", "treat"]
