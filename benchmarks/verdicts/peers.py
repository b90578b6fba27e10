"""The rules that other tools apply, re-implemented from their published description.

They look at the gradients of the parameters, after one backward pass. Where a description leaves a
choice, it is made in the rule's favour: one tensor that looks ill is enough.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SILENT = "silent"
Gradients = Mapping[str, Mapping[str, Tensor]]
"""By the name of the layer, first layer first, and of the parameter."""


def gradients_of(model: torch.nn.Module) -> dict[str, dict[str, Tensor]]:
    """What the last backward pass left, by layer and parameter."""
    return {
        layer: {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
        for layer, module in model.named_children()
    }


def mean_absolute(gradients: Gradients) -> str:
    """SageMaker Debugger, VanishingGradient: the mean of the absolute values is below 1e-7."""
    tensors = [gradient for layer in gradients.values() for gradient in layer.values()]
    return "vanishing" if any(g.abs().mean() < 1e-7 for g in tensors) else SILENT


def layer_ratio(gradients: Gradients) -> str:
    """AutoTrainer (ICSE 2021): the first layer's norm against the last one's.

    Vanishing: ratio below 1e-3, and the first below 1e-4. Exploding: ratio above 70, or a gradient
    that is not finite. The norm is over the weight matrices of the layer.
    """
    norms = [
        torch.cat([g.double().flatten() for g in layer.values() if g.dim() > 1]).norm()
        for layer in gradients.values()
    ]
    first, last = norms[0], norms[-1]
    if not all(norm.isfinite() for norm in norms) or first > 70 * last:
        return "exploding"
    return "vanishing" if first < 1e-3 * last and first < 1e-4 else SILENT


def fixed_audit(gradients: Gradients) -> str:
    """TorchLens: a gradient norm below 1e-7 vanishes, one above 1e4 explodes."""
    norms = [g.double().norm() for layer in gradients.values() for g in layer.values()]
    if any(not norm <= 1e4 for norm in norms):
        return "exploding"
    return "vanishing" if any(norm < 1e-7 for norm in norms) else SILENT


RULES = {
    "SageMaker Debugger": mean_absolute,
    "AutoTrainer": layer_ratio,
    "TorchLens": fixed_audit,
}
