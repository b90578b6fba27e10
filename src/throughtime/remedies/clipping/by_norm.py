"""``clip_grad_norm_``: torch's, without its three ways to lose a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.remedies.clipping.nonfinite import tell
from throughtime.remedies.clipping.parts import Parameters, above_zero
from throughtime.remedies.clipping.whole import WholeGradient


def clip_grad_norm_(
    parameters: Parameters,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients of all parameters by one factor, so that their norm is at most max_norm.

    ``g ← g · min(1, c/‖g‖)``, one norm over ALL parameters (Pascanu, Mikolov & Bengio 2013,
    algorithm 1). Arguments and result of ``torch.nn.utils.clip_grad_norm_``, and its numbers
    wherever these are right. They are not where a sum of squares leaves float32 (100 entries of
    1e19: torch's norm is inf and its gradient 0; here 1e20 and clipped), nor where one entry is
    not finite (torch spreads NaN to all; here that entry is set to 0, told in a
    ``LostGradientWarning``, and the rest clipped by the norm of the finite), nor where norms are
    so small that the 1e-6 that torch adds to them matters. A parameter given twice counts once.

    When it helps: gradients that explode now and then. When it does not: gradients that vanish,
    and, with Adam, a clip that bites every step: Adam does not see a constant factor.

    Call it after accumulation, after the reduction over ranks and after ``scaler.unscale_``,
    before ``optimizer.step()``. On a GPU it waits once for the norm.

    Args:
        parameters: one tensor or any iterable of them; those without a gradient are passed over.
        max_norm: the longest norm to let through, above 0; ``inf`` to measure it alone.
        norm_type: the order p of the norm, above 0; ``inf`` for the largest entry.
        error_if_nonfinite: raise instead, and leave the gradients as they were.
        foreach: as torch's: work on many tensors at once; None for where that is possible.

    Returns:
        The norm before clipping, of what was finite: a scalar, float32, or float64 where a
        gradient is or where float32 cannot hold it.

    Raises:
        InputError: ``max_norm`` or ``norm_type`` is not above 0, or something is no parameter.
        LostGradientError: a ``RuntimeError``: an entry is not finite, and
            ``error_if_nonfinite=True``.
    """
    bound = above_zero("max_norm", max_norm)
    with torch.no_grad():
        gradient = WholeGradient.finite_(parameters, norm_type, error_if_nonfinite, foreach)
        gradient.shorten_(bound)
    tell(gradient.lost, stacklevel=2)
    return gradient.norm.tensor
