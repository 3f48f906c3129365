"""Vectors of symmetric matrices inside compiled code: packing, products, norms.

The coordinates are those of :func:`ccpsolve.svec`: the upper triangle row by row, off-diagonal
entries times √2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ccpsolve._lapack import gemv
from ccpsolve._numba import jit

__all__ = ["add_dyad", "apply", "copy", "dot", "norm", "pack", "slack", "unpack"]

Array = NDArray[np.float64]

_SQRT2 = math.sqrt(2.0)
_SQRT_HALF = math.sqrt(0.5)
_LOOPS_GEMV = 24  # below this size a plain loop beats the call to BLAS


@jit(internal=True)
def unpack(vector: Array, matrix: Array) -> None:
    """Write the symmetric matrix of an svec vector."""
    k = matrix.shape[0]
    index = 0
    for i in range(k):
        matrix[i, i] = vector[index]
        index += 1
        for j in range(i + 1, k):
            value = vector[index] * _SQRT_HALF
            matrix[i, j] = value
            matrix[j, i] = value
            index += 1


@jit(internal=True)
def pack(matrix: Array, vector: Array) -> None:
    """Write the svec vector of the symmetric part of a matrix."""
    k = matrix.shape[0]
    index = 0
    for i in range(k):
        vector[index] = matrix[i, i]
        index += 1
        for j in range(i + 1, k):
            vector[index] = _SQRT_HALF * (matrix[i, j] + matrix[j, i])
            index += 1


@jit(internal=True)
def add_dyad(weight: float, u: Array, vector: Array) -> None:
    """Add the svec of weight · u uᵀ."""
    k = u.shape[0]
    index = 0
    for i in range(k):
        factor = weight * u[i]
        vector[index] += factor * u[i]
        factor *= _SQRT2
        index -= i
        for j in range(i + 1, k):
            vector[index + j] += factor * u[j]
        index += k


@jit(internal=True)
def apply(beta: Array, x: Array, out: Array) -> None:
    """Apply the operator: out ← β[X]."""
    n = x.shape[0]
    if n > _LOOPS_GEMV:
        gemv(beta, x, out)
        return
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += beta[i, j] * x[j]
        out[i] = total


@jit(internal=True)
def slack(beta: Array, x: Array, alpha: Array, out: Array) -> None:
    """Slack of X: out ← β[X] − α."""
    apply(beta, x, out)
    for i in range(x.shape[0]):
        out[i] -= alpha[i]


@jit(internal=True)
def copy(source: Array, target: Array) -> None:
    """Copy a vector (slice assignment compiles to far more code)."""
    for i in range(source.shape[0]):
        target[i] = source[i]


@jit(internal=True)
def dot(x: Array, y: Array) -> float:
    """Inner product ⟨X, Y⟩."""
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@jit(internal=True)
def norm(x: Array) -> float:
    """Frobenius norm ‖X‖."""
    return math.sqrt(dot(x, x))
