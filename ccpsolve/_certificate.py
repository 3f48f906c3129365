"""How good a candidate solution is, proved from the problem data alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ccpsolve._errors import InvalidProblemError
from ccpsolve._problem import ConeComplementarityProblem, symmetric_matrix

__all__ = ["Certificate", "certify_ccp", "certify_problem"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Certificate:
    r"""Residuals and rigorous error bounds of a candidate X for CCP(α, β).

    The residuals measure, the bounds prove: they hold for candidates from any source and include
    the rounding of their own evaluation. With B the symmetric part of β and X* the exact solution
    for the float64 data as stored:

    Attributes
    ----------
    min_eig_X, min_eig_S : float
        Smallest eigenvalues of X and of ``S = β[X] − α`` (units of X and of α).
    complementarity : float
        ``⟨X, S⟩``.
    natural_residual : float
        ``‖X − Π(X − τS)‖_F / x_s`` with ``x_s = max(‖X‖_F, ‖α‖_F/‖β‖₂)`` and
        ``τ = x_s / (‖β‖₂‖X‖_F + ‖α‖_F)``; without units, zero exactly at solutions.
    error_bound : float
        ``‖X − X*‖_F`` is at most this; infinite unless B was proved positive definite.
    error_bound_beta : float
        ``‖X − X*‖_B = √⟨X − X*, B[X − X*]⟩`` is at most this; infinite as above.
    objective : float
        ``q(X) = ½⟨X, β[X]⟩ − ⟨α, X⟩``; NaN for non-symmetric β, which has no objective.
    dual_bound : float
        A lower bound of ``min q``; −inf where B was not proved positive definite, NaN for
        non-symmetric β.
    gap_bound : float
        ``|q(X) − q(X*)|`` is at most this; infinite as above, NaN for non-symmetric β.
    min_eig_beta : float
        A proved lower bound of the smallest eigenvalue of B; 0 where none was proved.
    """

    min_eig_X: float
    min_eig_S: float
    complementarity: float
    natural_residual: float
    error_bound: float
    error_bound_beta: float
    objective: float
    dual_bound: float
    gap_bound: float
    min_eig_beta: float

    @property
    def is_bounded(self) -> bool:
        """Whether the distance to the solution is bounded (B was proved positive definite)."""
        return bool(np.isfinite(self.error_bound))
