"""Equilibration: the congruence and the units in which a problem is solved.

With C a positive diagonal matrix and a, b positive numbers, Y solves the problem with data
``CαC/a`` and ``C⊗C β C⊗C/b`` exactly when ``X = (a/b) C Y C`` solves CCP(α, β). All factors are
powers of two: nothing is rounded, and scaling the data by powers of two changes no bit of Y.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import inline, jit
from ccpsolve._solver.svec_kernels import dot, norm
from ccpsolve._solver.workspace import (
    ALPHA,
    BEST,
    BETA,
    DIAGONAL,
    NORM_ALPHA,
    NORM_BETA,
    SCALE,
    STEP,
    SYMMETRIC,
    SYSTEMS,
    TARGET,
    TRIAL,
    Workspace,
)

__all__ = ["prepare", "scale_start", "unscale"]

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
def _set_congruence(beta: Array, scale: Array) -> None:
    """Set C_i near β_iiii^(−1/4), up to a factor, so that all entries (ii, ii) become similar.

    Only ratios of entries enter: a change of the unit of β does not change C.
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


@jit(internal=True)
def _divide(values: Array) -> float:
    """Divide by the power of two next below the largest magnitude, and return it."""
    largest = 0.0
    for i in range(values.shape[0]):
        largest = max(largest, abs(values[i]))
    unit = _power_of_two(largest)
    for i in range(values.shape[0]):
        values[i] /= unit
    return unit


@inline
def _equilibrate(alpha: Array, beta: Array, ws: Workspace) -> float:
    """Write the equilibrated problem to the workspace; return a/b, the unit of X."""
    scale = ws.spectra[SCALE]
    k, n = scale.shape[0], beta.shape[0]
    _set_congruence(beta, scale)
    vectors, scaled = ws.vectors, ws.operators[BETA].reshape(n, n)
    target, pair = vectors[TARGET], vectors[STEP]
    index = 0
    for i in range(k):
        for j in range(i, k):
            pair[index] = scale[i] * scale[j]
            target[index] = alpha[i, j] * pair[index] * (1.0 if i == j else _SQRT2)
            index += 1
    for i in range(n):
        for j in range(n):
            scaled[i, j] = beta[i, j] * pair[i] * pair[j]
    unit = _divide(target) / _divide(ws.operators[BETA])
    for i in range(n):
        vectors[ALPHA, i] = target[i]
        vectors[DIAGONAL, i] = scaled[i, i]
    return unit


@inline
def _row_norm(beta: Array) -> float:
    """Largest row norm of β, a lower bound of its spectral norm; 1 for β = 0."""
    largest = 0.0
    for i in range(beta.shape[0]):
        largest = max(largest, dot(beta[i], beta[i]))
    return math.sqrt(largest) if largest > 0.0 else 1.0


@inline
def prepare(alpha: Array, beta: Array, symmetric: int, ws: Workspace) -> float:
    """Fill the workspace with the equilibrated problem; return the unit of X.

    ``symmetric`` is 1 or 0.
    """
    n = ws.vectors.shape[1]
    unit = _equilibrate(alpha, beta, ws)
    ws.scalars[NORM_BETA] = _row_norm(ws.operators[BETA].reshape(n, n))
    ws.scalars[NORM_ALPHA] = norm(ws.vectors[TARGET])
    ws.scalars[SYMMETRIC] = symmetric
    ws.scalars[SYSTEMS] = 0.0
    for i in range(n):
        ws.vectors[BEST, i] = 0.0
    return unit


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
def unscale(y: Array, unit: float, scale: Array, X: Array) -> None:
    """Write the solution in the caller's units, ``X = unit · C Y C``."""
    index = 0
    for i in range(scale.shape[0]):
        for j in range(i, scale.shape[0]):
            value = y[index] if i == j else y[index] * _SQRT_HALF
            X[i, j] = X[j, i] = value * (scale[i] * scale[j]) * unit
            index += 1
