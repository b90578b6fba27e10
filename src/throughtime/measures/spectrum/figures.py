"""What one recurrent matrix is by itself: its eigenvalues, singular values and what they hide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from throughtime.measures.spectrum.lanczos import numerical_radius
from throughtime.measures.spectrum.transient import transient

Floats = NDArray[np.float64]

FIGURES = (
    "spectral radius",
    "largest singular value",
    "smallest singular value",
    "numerical radius",
    "departure from normality",
    "Kreiss bound",
    "largest power",
)


@dataclass(frozen=True, eq=False)
class MatrixFigures:
    """One block of W_hh in numbers; NaN where it has no such number.

    Eigenvalues are those of a matrix within rounding of W (1e-16 of its norm). Far from normal that
    may be far away: of a nilpotent chain of 101 units in a rotated basis they come out at 0.7. The
    largest power, which is multiplied out, and the singular values do not suffer from it.

    Attributes:
        eigenvalues: complex, by falling modulus (n); NaN for a block that is not square.
        singular_values: by falling size (n), n the smaller side of the block.
        summary: one number for each of ``FIGURES``.
    """

    eigenvalues: NDArray[np.complex128]
    singular_values: Floats
    summary: Floats

    @classmethod
    def of(cls, block: Tensor, powers: bool = True) -> MatrixFigures:
        """The figures of a real block (H P); all NaN if an entry is not finite.

        ``powers``: also those that are about the powers of W.
        """
        matrix = block.detach().double().cpu()
        size = min(matrix.shape)
        nothing = np.full(size, np.nan)
        no_eigenvalues = np.full(size, complex(np.nan, np.nan))
        summary = dict.fromkeys(FIGURES, float("nan"))
        if not matrix.isfinite().all():
            return cls(no_eigenvalues, nothing, _row(summary))
        singular = torch.linalg.svdvals(matrix)
        summary["largest singular value"] = float(singular[0])
        summary["smallest singular value"] = float(singular[-1])
        if matrix.shape[0] != matrix.shape[1]:
            return cls(no_eigenvalues, singular.numpy(), _row(summary))
        if not powers:
            eigenvalues = torch.linalg.eigvals(matrix)
        else:
            numerical = numerical_radius(matrix)
            eigenvalues, kreiss, power = transient(matrix, numerical)
            summary["numerical radius"] = max(numerical, float(eigenvalues.abs().max()))
            summary["Kreiss bound"] = kreiss
            summary["largest power"] = max(power, summary["largest singular value"])
        eigenvalues = eigenvalues[eigenvalues.abs().argsort(descending=True)]
        summary["spectral radius"] = float(eigenvalues[0].abs())
        summary["departure from normality"] = departure_from_normality(singular, eigenvalues)
        return cls(eigenvalues.numpy(), singular.numpy(), _row(summary))


def departure_from_normality(singular: Tensor, eigenvalues: Tensor) -> float:
    """``√(‖W‖_F² − Σ|λ|²)``: the norm of what stands above the diagonal of W's Schur form.

    0 exactly when W is normal. ``W = Q T Qᴴ`` keeps the Frobenius norm, and T has the eigenvalues
    on its diagonal, so that no eigenbasis is needed, nor T itself. What rounding leaves of a normal
    W counts as 0. Source: Henrici, Numerische Mathematik 4, 1962.
    """
    whole = float(singular.square().sum())
    above = whole - float(eigenvalues.abs().square().sum())
    rounding = 4 * len(singular) * torch.finfo(torch.float64).eps * whole
    return float(max(above, 0.0) ** 0.5) if above > rounding else 0.0


def _row(summary: dict[str, float]) -> Floats:
    return np.array([summary[name] for name in FIGURES])
