"""Parametrisations of W_hh that training cannot leave: orthogonal, or with a margin around that.

Each gate of a stacked weight (G·H H) has its own block, a square matrix. It is computed from a
parameter of the same shape, ``parametrizations.weight_hh_l0.original``: the very one that
``weight_hh_l0`` was, so that an optimizer made before goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from throughtime.cells.parametrised import parametrise
from throughtime.errors import InputError
from throughtime.remedies.weights import square_blocks

Module = TypeVar("Module", bound=nn.Module)

# Of the margin: singular values beyond start in its middle, since at the edge they could not move.
_EDGE = 0.99


def orthogonal_weights_(module: Module) -> Module:
    """Keep every recurrent block orthogonal while it is trained (Helfrich, Willmott & Ye 2018).

    A block is ``Q (I − A/2)⁻¹ (I + A/2)`` with a skew-symmetric A that starts at 0: the paper's
    Cayley map, around a Q of its own as in Lezcano-Casado (2019). Q is the orthogonal matrix
    nearest to what the block was, its polar factor. Draw it first, by ``orthogonal_``, to start
    from a random one. ``torch.nn.utils.parametrize.remove_parametrizations(layer, name)`` makes an
    ordinary weight of it again.

    Helps an Elman network with ReLU, or with tanh and a small input: no direction of the state
    fades or grows by its matrix, whatever the optimizer does. tanh still shrinks the gradient,
    more so under a strong input, and nothing can make up for it: ``spectral_margin_`` leaves some
    room. In a gated cell the paths through the gates cannot explode any more, but how long the
    state is kept is up to the forget gate. A should learn at a tenth of the other parameters'
    rate, and have no weight decay, which would pull it back to its start. Where a start is all that
    is lacking, ``orthogonal_`` alone costs nothing and may learn faster.

    Args:
        module: a recurrent layer or cell, or a model that holds some: all of them are changed.

    Returns:
        The module, whose ``state_dict`` has the names of the parametrisation.

    Raises:
        InputError: no recurrent layer in it, or one whose blocks are no square matrices, or are
            parametrised already.
    """
    return _parametrised(module, "an orthogonal weight", Orthogonal)


def spectral_margin_(module: Module, margin: float = 0.1) -> Module:
    """Keep all singular values of W_hh within ``1 ± margin``, per gate (Vorontsov et al. 2017).

    A block is ``U diag(s) Vᵀ`` with orthogonal U and V, and ``s = 1 + margin (2σ(p) − 1)``, the
    paper's factors; U and V turn by Cayley maps. It starts as what it was, but for singular values
    outside of the margin: they start at 1. An ordinary weight can be made of it again, as
    ``orthogonal_weights_`` says.

    Helps where a strictly orthogonal matrix learns slowly or, under tanh, still loses its gradient:
    the paper finds that a hard constraint can be slower and worse. Over k steps the matrix changes
    a gradient by no more than ``(1 ± margin)^k``: choose it with the span in mind. Does not help a
    gated cell whose forget gate closes. As for the learning rate, see ``orthogonal_weights_``.

    Args:
        module: a recurrent layer or cell, or a model that holds some: all of them are changed.
        margin: how far a singular value may be from 1, above 0 and at most 1.

    Returns:
        The module, whose ``state_dict`` has the names of the parametrisation.

    Raises:
        InputError: a margin that is none; else as ``orthogonal_weights_``.
    """
    if not 0 < margin <= 1:
        raise InputError(
            f"spectral_margin_ takes a margin above 0 and at most 1, not {margin!r}: for 0 there "
            "is orthogonal_weights_"
        )
    return _parametrised(module, "a spectral margin", lambda: SpectralMargin(margin))


class Orthogonal(nn.Module):
    """``Q C(A)`` for every block (H H), C the Cayley map: the original's lower triangle holds A."""

    base: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("base", None)

    def forward(self, original: Tensor) -> Tensor:
        """The weight (G·H H), from the original of the same shape."""
        with torch.autocast(original.device.type, enabled=False):  # half would not be orthogonal
            return (self.base @ _rotation(_square(original))).flatten(0, 1)

    @torch.no_grad()
    def right_inverse(self, weight: Tensor) -> Tensor:
        """The original that gives the orthogonal matrices nearest to the blocks of ``weight``."""
        left, _, right = torch.linalg.svd(_square(weight))
        self.base = left @ right
        return torch.zeros_like(weight)


class SpectralMargin(nn.Module):
    """``U C(A) diag(s) C(B)ᵀ Vᵀ`` for every block (H H), C the Cayley map.

    The lower triangle of the original holds A, the upper one B, the diagonal p.
    """

    left: Tensor
    right: Tensor

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin
        self.register_buffer("left", None)
        self.register_buffer("right", None)

    def forward(self, original: Tensor) -> Tensor:
        """The weight (G·H H), from the original of the same shape."""
        blocks = _square(original)
        deviation = 2 * torch.sigmoid(blocks.diagonal(dim1=-2, dim2=-1)) - 1
        singular = 1 + self.margin * deviation.unsqueeze(-2)
        with torch.autocast(original.device.type, enabled=False):
            left, right = self.left @ _rotation(blocks), self.right @ _rotation(blocks.mT)
            return (left * singular @ right.mT).flatten(0, 1)

    @torch.no_grad()
    def right_inverse(self, weight: Tensor) -> Tensor:
        """The original that gives ``weight``, its singular values outside of the margin as 1."""
        self.left, singular, right = torch.linalg.svd(_square(weight))
        self.right = right.mT.contiguous()
        deviation = (singular - 1) / self.margin
        deviation = torch.where(deviation.abs() < _EDGE, deviation, 0)
        return torch.diag_embed(((1 + deviation) / 2).logit()).flatten(0, 1)

    def extra_repr(self) -> str:
        return f"margin={self.margin:g}"


def _parametrised(module: Module, what: str, make: Callable[[], nn.Module]) -> Module:
    for weights, _ in square_blocks(module, what):
        parametrise(weights.module, f"weight_hh{weights.suffix}", make())
    return module


def _square(weight: Tensor) -> Tensor:
    """(G·H H) as (G H H)."""
    blocks: Tensor = weight.unflatten(0, (-1, weight.shape[1]))
    return blocks


def _rotation(blocks: Tensor) -> Tensor:
    """The Cayley map of A, whose lower triangles are those of the blocks (G H H)."""
    lower = blocks.tril(-1)
    half = (lower - lower.mT) / 2
    one = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    rotation: Tensor = torch.linalg.solve(one - half, one + half)
    return rotation
