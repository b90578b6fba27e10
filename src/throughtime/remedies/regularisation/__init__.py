"""Terms beside the loss that keep a gradient alive through time."""

from throughtime.remedies.regularisation.flossing import Flossed, Flossing, floss_
from throughtime.remedies.regularisation.omega import Omega
from throughtime.remedies.regularisation.reconstruction import Reconstruction

__all__ = ["Flossed", "Flossing", "Omega", "Reconstruction", "floss_"]
