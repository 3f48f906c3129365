"""Equilibration: the congruence and the units in which a problem is solved.

With C a positive diagonal matrix and a, b positive numbers, Y solves the problem with data
``CαC/a`` and ``C⊗C β C⊗C/b`` exactly when ``X = (a/b) C Y C`` solves CCP(α, β). All factors are
powers of two: nothing is rounded, and scaling the data by powers of two changes no bit of Y.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import inline
from ccpsolve._solver.svec_kernels import norm
from ccpsolve._solver.workspace import (
    ALPHA,
    ALPHA_UNIT,
    BEST,
    BETA,
    DIAGONAL,
    FACTOR_RANK,
    IMAGE,
    MATRIX_FREE,
    MEAN_DIAGONAL,
    NORM_ALPHA,
    NORM_BETA,
    PIVOT_RATIO,
    SCALE,
    STEP,
    STEPS,
    SYMMETRIC,
    TARGET,
    TRIAL,
    Workspace,
)
from ccpsolve._view import view

__all__ = ["prepare", "scale_residual", "scale_start", "unscale"]

Array = NDArray[np.float64]

_SQRT2 = math.sqrt(2.0)
_SQRT_HALF = math.sqrt(0.5)
_NEGLIGIBLE = (
    1e-30  # of the largest entry: a direction on which β vanishes sets no scale of its own
)


@inline
def _power_of_two(value: float) -> float:
    """Return the power of two next below a positive number; 1 for 0."""
    return math.ldexp(1.0, math.frexp(value)[1] - 1) if value > 0.0 else 1.0


@inline
def _set_congruence(beta: Array, scale: Array) -> float:
    """Set C_i near β_iiii^(−1/4), up to a factor, so that all entries (ii, ii) become similar.

    Only ratios of entries enter: a change of the unit of β does not change C. Returns the largest
    diagonal entry, which for β ⪰ 0 is the largest entry before and (nearly) after the congruence.
    """
    k = scale.shape[0]
    largest = 0.0
    for i in range(beta.shape[0]):
        largest = max(largest, abs(beta[i, i]))
    index = 0
    for i in range(k):
        entry = abs(beta[index, index])
        index += k - i
        if entry > _NEGLIGIBLE * largest:
            scale[i] = _power_of_two(math.sqrt(math.sqrt(largest / entry)))
        else:
            scale[i] = 1.0
    return largest


@inline
def _scale_alpha(alpha: Array, ws: Workspace) -> float:
    """Write CαC/a to ALPHA and TARGET, and C_iC_j to STEP; return a."""
    scale, target, pair = ws.spectra[SCALE], ws.vectors[TARGET], ws.vectors[STEP]
    largest, index = 0.0, 0
    for i in range(scale.shape[0]):
        for j in range(i, scale.shape[0]):
            pair[index] = scale[i] * scale[j]
            target[index] = alpha[i, j] * pair[index] * (1.0 if i == j else _SQRT2)
            largest = max(largest, abs(target[index]))
            index += 1
    unit = _power_of_two(largest)
    for i in range(target.shape[0]):
        target[i] /= unit
        ws.vectors[ALPHA, i] = target[i]
    return unit


@inline
def _scale_beta(beta: Array, unit: float, ws: Workspace) -> None:
    """Write C⊗C β C⊗C/unit to BETA, its diagonal, and the scales derived from it."""
    n = beta.shape[0]
    scaled, pair = view(ws.operators[BETA], (n, n)), ws.vectors[STEP]
    largest, trace = 0.0, 0.0
    for i in range(n):
        factor = pair[i] / unit
        total = 0.0
        for j in range(n):
            value = beta[i, j] * (factor * pair[j])
            scaled[i, j] = value
            total += value * value
        largest = max(largest, total)
        trace += scaled[i, i]
        ws.vectors[DIAGONAL, i] = scaled[i, i]
    # the largest row is a lower bound of the spectral norm
    ws.scalars[NORM_BETA] = math.sqrt(largest) if largest > 0.0 else 1.0
    ws.scalars[MEAN_DIAGONAL] = trace / n


@inline
def prepare(alpha: Array, beta: Array, symmetric: int, congruence: int, ws: Workspace) -> float:
    """Fill the workspace with the equilibrated problem; return a/b, the unit of X.

    ``symmetric`` is 1 or 0; without ``congruence`` (0), C is the identity.
    """
    beta_unit = _power_of_two(_set_congruence(beta, ws.spectra[SCALE]))
    if congruence == 0:
        ws.spectra[SCALE, :] = 1.0
    alpha_unit = _scale_alpha(alpha, ws)
    _scale_beta(beta, beta_unit, ws)
    ws.scalars[NORM_ALPHA] = norm(ws.vectors[TARGET])
    ws.scalars[ALPHA_UNIT] = alpha_unit
    ws.scalars[SYMMETRIC] = symmetric
    ws.scalars[STEPS] = 0.0
    ws.scalars[FACTOR_RANK] = 0.0
    ws.scalars[MATRIX_FREE] = 1.0
    ws.scalars[PIVOT_RATIO] = -1.0
    for i in range(ws.vectors.shape[1]):
        ws.vectors[BEST, i] = 0.0
    return alpha_unit / beta_unit


@inline
def scale_start(X: Array, unit: float, ws: Workspace) -> None:
    """Write a starting point, ``C⁻¹XC⁻¹/unit``, to TRIAL."""
    scale, trial = ws.spectra[SCALE], ws.vectors[TRIAL]
    index = 0
    for i in range(scale.shape[0]):
        for j in range(i, scale.shape[0]):
            value = X[i, j] / (scale[i] * scale[j]) / unit
            trial[index] = value if i == j else _SQRT2 * value
            index += 1


@inline
def scale_residual(ws: Workspace) -> None:
    """Change svec(R) in IMAGE, in units of α, to ``CRC/a``."""
    scale, residual = ws.spectra[SCALE], ws.vectors[IMAGE]
    index = 0
    for i in range(scale.shape[0]):
        for j in range(i, scale.shape[0]):
            residual[index] *= scale[i] * scale[j] / ws.scalars[ALPHA_UNIT]
            index += 1


@inline
def unscale(y: Array, unit: float, scale: Array, X: Array) -> None:
    """Write the solution in the caller's units, ``X = unit · C Y C``."""
    index = 0
    for i in range(scale.shape[0]):
        for j in range(i, scale.shape[0]):
            value = y[index] if i == j else y[index] * _SQRT_HALF
            X[i, j] = X[j, i] = value * (scale[i] * scale[j]) * unit
            index += 1
