"""Clipping: what explodes is shortened, what is not finite is set to 0 and told.

Functions with torch's signatures, and clippers: objects that are called with the parameters after
``backward`` and before the optimiser's step, and that remember the norms in a ``state_dict``.
"""

from throughtime.remedies.clipping.agc import AGC
from throughtime.remedies.clipping.autoclip import AutoClip
from throughtime.remedies.clipping.by_norm import clip_grad_norm_
from throughtime.remedies.clipping.by_value import clip_grad_value_
from throughtime.remedies.clipping.clipper import GradientClipper
from throughtime.remedies.clipping.nonfinite import (
    Lost,
    LostGradientError,
    LostGradientWarning,
    zero_nonfinite_,
)
from throughtime.remedies.clipping.norm import total_norm
from throughtime.remedies.clipping.suggestion import ClipSuggestion, suggest_clip
from throughtime.remedies.clipping.zclip import ZClip

__all__ = [
    "AGC",
    "AutoClip",
    "ClipSuggestion",
    "GradientClipper",
    "Lost",
    "LostGradientError",
    "LostGradientWarning",
    "ZClip",
    "clip_grad_norm_",
    "clip_grad_value_",
    "suggest_clip",
    "total_norm",
    "zero_nonfinite_",
]
