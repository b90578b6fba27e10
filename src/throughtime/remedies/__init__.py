"""What helps, each a verb on a module of yours: in place, with its paper and when it helps.

- clipping: ``clip_grad_norm_``, ``clip_grad_value_``, ``AutoClip``, ``ZClip``, ``AGC``,
  ``suggest_clip``; and inside the recurrence ``clip_states_``;
- initialisation: ``orthogonal_``, ``identity_``, ``chrono_``, ``forget_bias_``, ``uniform_gates_``,
  ``critical_``; of state-space layers, delta rules, linear attention and xLSTM ``step_sizes_``,
  ``state_matrix_``, ``decay_ring_``, ``decay_scales_``, ``forget_ramp_``;
- parametrisation: ``orthogonal_weights_``, ``spectral_margin_``;
- regularisation: ``Omega``, ``Flossing`` (and ``floss_``, before training), ``Reconstruction``;
- replacement: ``replace_``; and the window of truncated backpropagation: ``suggest_window``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator, nn

from throughtime.remedies.clipping import (
    AGC,
    AutoClip,
    ClipSuggestion,
    GradientClipper,
    Lost,
    LostGradientError,
    LostGradientWarning,
    ZClip,
    clip_grad_norm_,
    clip_grad_value_,
    suggest_clip,
    total_norm,
    zero_nonfinite_,
)
from throughtime.remedies.clipping.states import clip_states_, clipped_state, unclip_states_
from throughtime.remedies.initialisation import (
    Critical,
    chrono_,
    critical_,
    decay_ring_,
    decay_scales_,
    forget_bias_,
    forget_ramp_,
    identity_,
    orthogonal_,
    state_matrix_,
    step_sizes_,
    uniform_gates_,
)
from throughtime.remedies.parametrisation import orthogonal_weights_, spectral_margin_
from throughtime.remedies.regularisation import Flossed, Flossing, Omega, Reconstruction, floss_
from throughtime.remedies.replacement import replace_
from throughtime.remedies.window import Window, suggest_window

__all__ = [
    "AGC",
    "INITIALISATIONS",
    "AutoClip",
    "ClipSuggestion",
    "Critical",
    "Flossed",
    "Flossing",
    "GradientClipper",
    "Lost",
    "LostGradientError",
    "LostGradientWarning",
    "Omega",
    "Reconstruction",
    "Window",
    "ZClip",
    "chrono_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_states_",
    "clipped_state",
    "critical_",
    "decay_ring_",
    "decay_scales_",
    "floss_",
    "forget_bias_",
    "forget_ramp_",
    "identity_",
    "orthogonal_",
    "orthogonal_weights_",
    "replace_",
    "spectral_margin_",
    "state_matrix_",
    "step_sizes_",
    "suggest_clip",
    "suggest_window",
    "total_norm",
    "unclip_states_",
    "uniform_gates_",
    "zero_nonfinite_",
]

Initialisation = Callable[[nn.Module, int, Generator], object]

INITIALISATIONS: dict[str, Initialisation] = {
    "default": lambda module, _span, _draw: module,
    "orthogonal": lambda module, _span, draw: orthogonal_(module, generator=draw),
    "identity": lambda module, _span, draw: identity_(module, generator=draw),
    "chrono": lambda module, span, draw: chrono_(module, span, generator=draw),
    "forget-bias": lambda module, _span, _draw: forget_bias_(module),
}
"""By name: ``INITIALISATIONS[name](module, span, generator)``, for a task that looks back ``span``.

Each raises ``InputError`` for a module that it does not fit.
"""
