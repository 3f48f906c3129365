"""The checks of `ConeComplementarityProblem`, compiled: for batches and reused solvers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import jit
from ccpsolve._problem import _ASYMMETRY_OF_MATRICES, _ASYMMETRY_OF_OPERATORS

__all__ = ["INVALID", "symmetrise_data", "symmetrise_many"]

Array = NDArray[np.float64]

INVALID = -1
"""What `symmetrise_data` returns for data that `ConeComplementarityProblem` refuses."""


@jit(internal=True)
def _largest(matrix: Array) -> float:
    """Return the largest magnitude; NaN or inf where there is one."""
    largest, total = 0.0, 0.0
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            largest = max(largest, abs(matrix[i, j]))
            total += 0.0 * matrix[i, j]  # NaN if any entry is NaN or inf
    return largest + total


@jit(internal=True)
def _average(matrix: Array) -> None:
    """Replace a matrix by its symmetric part."""
    for i in range(matrix.shape[0]):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = 0.5 * matrix[i, j] + 0.5 * matrix[j, i]


@jit
def symmetrise_data(alpha: Array, beta: Array) -> int:
    """Check finite entries and symmetry as `ConeComplementarityProblem` does, in place.

    Returns 1 for symmetric β, 0 for another, `INVALID` for data that are refused.
    """
    scale = _largest(alpha)
    if not (math.isfinite(scale) and math.isfinite(_largest(beta))):
        return INVALID
    exact = True
    for i in range(alpha.shape[0]):
        for j in range(i):
            difference = abs(alpha[i, j] - alpha[j, i])
            if difference > _ASYMMETRY_OF_MATRICES * scale:
                return INVALID
            exact = exact and difference == 0.0
    if not exact:
        _average(alpha)
    exact = True
    for i in range(beta.shape[0]):
        for j in range(i):
            difference = abs(beta[i, j] - beta[j, i])
            if difference != 0.0:
                exact = False
                product = math.sqrt(abs(beta[i, i])) * math.sqrt(abs(beta[j, j]))
                if difference > _ASYMMETRY_OF_OPERATORS * product:
                    return 0
    if not exact:
        _average(beta)
    return 1


@jit(allocates=True)
def symmetrise_many(alphas: Array, betas: Array) -> NDArray[np.int64]:
    """Apply `symmetrise_data` to each problem of a batch; return what it returns."""
    kinds = np.empty(alphas.shape[0], np.int64)
    for b in range(alphas.shape[0]):
        kinds[b] = symmetrise_data(alphas[b], betas[b])
    return kinds
