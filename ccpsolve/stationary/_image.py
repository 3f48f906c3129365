r"""The dual point F = ½P⁻¹HE, and a bound on its value that costs no product.

Where P is the preconditioner that E implies, p_i² = c_i² + ½‖(HE)_i‖², F is dual feasible by
itself, and closer to the optimum than E. ⟨F, HF⟩ would cost one product a column. But F is E and
its residual; only the form of the residual with itself is unknown, and a bound on λ_min(P⁻¹H) is
enough there: the error is of second order.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ccpsolve.stationary._span import Span, row_blocks, weighted_gram

__all__ = ["ASSUMED_LOWEST", "image", "image_form", "image_value"]

Array = NDArray[np.float64]

ASSUMED_LOWEST = -3.0  # guess of λ_min on the complement of a span while it is not bounded
_ROUNDING = 1e-12  # by which 2‖F_i‖² may exceed 1


def image(p: Array, products: Array, C: Array) -> Array:
    """F = ½P⁻¹HE of E = V·C; ‖F_i‖² ≤ ½ where p_i² ≥ ½‖(HE)_i‖²."""
    F: Array = products @ C
    F /= 2 * p[:, None]
    return F


def image_form(p: Array, basis: Array, products: Array, C: Array, lowest: float) -> float:
    """Bound ⟨F, HF⟩ of `image` from below without a product.

    With F = VX + Y, VᵀPY = 0, it is ⟨X, VᵀHV X⟩ + 2⟨HVX, Y⟩ + ⟨Y, HY⟩, and ⟨Y, HY⟩ is at least
    ``lowest``·⟨Y, PY⟩ where ``lowest`` bounds the complement from below. Y is the residual of E, so
    that this costs an error of second order.
    """
    if not C.shape[1]:
        return 0.0
    A = basis.T @ products
    X = scipy.linalg.solve(weighted_gram(basis, p), 0.5 * (A @ C), assume_a="pos")
    cross = norm = 0.0
    for rows in row_blocks(len(p)):
        Y = image(p[rows], products[rows], C) - basis[rows] @ X
        cross += float(np.vdot(products[rows] @ X, Y))
        norm += float(np.vdot(p[rows, None] * Y, Y))
    return float(np.vdot(X, A @ X)) + 2 * cross + lowest * norm


def image_value(span: Span, p: Array, lowest: float = ASSUMED_LOWEST) -> float:
    """Dual value of F for the E of a span, bounded from below; −∞ where F may be infeasible."""
    F = image(p, span.W, span.C)
    if (2 * np.einsum("ij,ij->i", F, F) > 1 + _ROUNDING).any():
        return -np.inf
    return span.problem.dual_value_from(F, image_form(p, span.V, span.W, span.C, lowest))
