r"""A proof, in floating point, that a symmetric matrix is positive definite.

With ``B − sI = LLᵀ + E`` and ``‖E‖₂ ≤ ε ≤ s``, both ``B ⪰ LLᵀ`` and ``B ⪰ (s − ε)I`` hold: the
shift s pays for the rounding of the Cholesky factorisation. Its defect obeys
``|E| ≤ γ_{n+1}|L||Lᵀ|`` (Higham, Accuracy and Stability of Numerical Algorithms, 2002, theorem
10.3), so that ``‖E‖₂ ≤ γ_{n+1}‖L‖²_F``; where that is too coarse, E itself is evaluated in twice
the working precision. Two factorisations are made: one with the smallest shift that pays for
itself, whose L is close to that of B, and one with a shift close to λ_min, for its bound.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve import _lapack, _loops
from ccpsolve._certificate_work import POINTER, UNIT_ROUNDOFF, inner, irregular_vector, norm
from ccpsolve._compensated import two_product, two_sum
from ccpsolve._linking import exported
from ccpsolve._numba import jit
from ccpsolve._view import view

__all__ = ["prove_definite"]

Array = NDArray[np.float64]

_SHIFT = 0.7  # of the estimated smallest eigenvalue
_SAFE_SHIFT = 0.5  # the same where it also has to pay for the rounding of a bad factorisation
_RETRY = 0.5  # how much smaller the next shift is where the factorisation broke down
_ATTEMPTS = 4
_INVERSE_STEPS = 10
_INVERSE_TOLERANCE = 0.2  # change of the estimate that ends the iteration; the shift leaves room
_LARGE, _LARGE_TOLERANCE = 32, 0.08  # where a step costs little beside another factorisation


@jit(internal=True)
def _prove_by_measured_defect(
    columns: Array, symmetric: int, averaging: float, factor: Array, vectors: Array
) -> float:
    """Do the same for a B too badly conditioned for the a-priori bound: slower, to about 1e14."""
    _shifted_symmetric_part(columns, symmetric, 0.0, factor)
    if not _lapack.cholesky_factor(factor):
        return 0.0
    shift = _SAFE_SHIFT * _smallest_eigenvalue(factor, vectors[0])
    for _ in range(_ATTEMPTS):
        _shifted_symmetric_part(columns, symmetric, shift, factor)
        if _lapack.cholesky_factor(factor):
            defect = _defect_measured(columns, shift, factor, vectors[0], vectors[1]) + averaging
            return max(shift - 1.001 * defect, 0.0)
        shift *= _RETRY
    return 0.0


@jit(internal=True)
def _shifted_symmetric_part(columns: Array, symmetric: int, shift: float, factor: Array) -> None:
    """Write the lower triangle of ``½(β + βᵀ) − shift·I``."""
    for i in range(columns.shape[0]):
        for j in range(i):
            entry = columns[i, j]
            factor[i, j] = entry if symmetric else 0.5 * (entry + columns[j, i])
        factor[i, i] = columns[i, i] - shift


@jit(internal=True)
def _smallest_eigenvalue(factor: Array, v: Array) -> float:
    """Estimate λ_min (from above) of LLᵀ by inverse iteration."""
    n = v.shape[0]
    tolerance = _INVERSE_TOLERANCE if n < _LARGE else _LARGE_TOLERANCE
    irregular_vector(v)
    estimate = np.inf
    for _ in range(_INVERSE_STEPS):
        length = norm(v)
        for a in range(n):
            v[a] /= length
        _loops.cholesky_solve_loops(factor, v)  # LAPACK is slower for one right-hand side
        previous, estimate = estimate, 1.0 / norm(v)
        if estimate >= previous * (1.0 - tolerance):
            return min(estimate, previous)
    return estimate


@jit(internal=True)
def _defect_a_priori(columns: Array) -> float:
    """Bound ``‖B − sI − LLᵀ‖₂`` for any s in [0, λ_min], with the rounding of ``B − sI``.

    Theorem 10.3 with ``‖|L||Lᵀ|‖₂ ≤ ‖L‖²_F ≤ tr(B − sI)/(1 − γ)``.
    """
    n = columns.shape[0]
    trace = largest = 0.0
    for i in range(n):
        trace += abs(columns[i, i])
        largest = max(largest, abs(columns[i, i]))
    return 1.01 * UNIT_ROUNDOFF * ((n + 2) * trace + largest)


@jit(fast=False, internal=True)
def _defect_measured(columns: Array, shift: float, factor: Array, high: Array, low: Array) -> float:
    """Bound ``‖B − sI − LLᵀ‖_F`` by evaluating it in twice the working precision.

    The factor is mirrored to its upper triangle, so that the inner loop runs along rows.
    """
    n = factor.shape[0]
    for i in range(n):
        for j in range(i):
            factor[j, i] = factor[i, j]
    total = 0.0
    size = 0.0
    for i in range(n):
        for j in range(i, n):
            high[j] = -0.5 * (columns[i, j] + columns[j, i])
            low[j] = 0.0
        high[i], low[i] = two_sum(-columns[i, i], shift)
        for m in range(i + 1):
            left = factor[m, i]
            for j in range(i, n):
                p, e = two_product(left, factor[m, j])
                high[j], f = two_sum(high[j], p)
                low[j] += e + f
        for j in range(i, n):
            entry = high[j] + low[j]
            total += (1.0 if i == j else 2.0) * entry * entry
            size += factor[i, j] * factor[i, j]
    rounding = (n + 4) * UNIT_ROUNDOFF
    return 1.001 * (math.sqrt(total) + 4.0 * rounding * rounding * (size + 1.0) * n)


@exported(types.float64(POINTER, types.int64, POINTER, POINTER, POINTER, types.int64))
def _prove_definite(
    columns_at: Any, symmetric: int, factor_at: Any, spare_at: Any, vectors_at: Any, n: int
) -> float:
    columns, factor = view(columns_at, (n, n)), view(factor_at, (n, n))
    spare, vectors = view(spare_at, (n, n)), view(vectors_at, (2, n))
    averaging = 0.0
    if not symmetric:
        averaging = UNIT_ROUNDOFF * math.sqrt(inner(columns, columns))
    smallest_shift = _defect_a_priori(columns) + averaging
    _shifted_symmetric_part(columns, symmetric, smallest_shift, factor)
    if not _lapack.cholesky_factor(factor):
        return _prove_by_measured_defect(columns, symmetric, averaging, factor, vectors)
    shift = _SHIFT * (_smallest_eigenvalue(factor, vectors[0]) + smallest_shift)
    for _ in range(_ATTEMPTS):
        _shifted_symmetric_part(columns, symmetric, shift, spare)
        if _lapack.cholesky_factor(spare):
            return max(shift - 1.001 * smallest_shift, 0.0)
        shift *= _RETRY
    return 0.0


@jit(internal=True)
def prove_definite(
    columns: Array, symmetric: bool, factor: Array, spare: Array, vectors: Array
) -> float:
    """Return a proved lower bound of λ_min of the symmetric part B, 0 where nothing is proved.

    Parameters
    ----------
    columns : ndarray, shape (n, n)
        β or its transpose (the symmetric part is the same), entries not much above 1.
    symmetric : bool
        Whether β is exactly symmetric.
    factor : ndarray, shape (n, n)
        Overwritten; where the result is positive its lower triangle is L with ``LLᵀ ⪯ B``, and
        nearly equal.
    spare : ndarray, shape (n, n)
        Work space.
    vectors : ndarray, shape (at least 2, n)
        Work space.

    Returns
    -------
    float
        ``s − ε`` for a shift s as large as possible, rounded in the safe direction.
    """
    n = columns.shape[0]
    pointers = (factor.ctypes, spare.ctypes, vectors.ctypes)
    return _prove_definite(columns.ctypes, int(symmetric), *pointers, n)
