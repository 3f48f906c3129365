"""The operator β in another basis: M = W β Wᵀ, the costly part of a Newton step.

Row (i, j), i ≤ j, of W is the svec of the symmetric part of ``u_i u_jᵀ`` (times √2 off the
diagonal), where u_i are the given rows; for orthonormal rows W is orthogonal. Only the leading
pairs, those with i < r, are formed: they come first in the order of svec.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._lapack import gemm
from ccpsolve._linking import exported
from ccpsolve._numba import inline, jit
from ccpsolve._solver.svec_kernels import pack, unpack
from ccpsolve._solver.workspace import (
    FIRST,
    LEFT,
    MIDDLE,
    RIGHT,
    SECOND,
    SQUARES,
    SYMMETRIC,
    SYSTEM,
    Workspace,
)
from ccpsolve._view import view

__all__ = ["congruence", "fill_pairs", "pairs_below", "to_basis", "to_original"]

Array = NDArray[np.float64]

_DOUBLES = types.CPointer(types.float64)
# of a change of basis called by name: given, rows, r, result, ws.squares, k
_CHANGE = types.void(_DOUBLES, _DOUBLES, types.int64, _DOUBLES, _DOUBLES, types.int64)
_SQRT2 = math.sqrt(2.0)
_SQRT_HALF = math.sqrt(0.5)
_SMALLEST_ORDER = 4  # up to this order loops beat both products with W
_LOOPS_ORDER = 6  # up to this order loops beat the calls to BLAS
_BASIS_ORDER = 15  # up to this order two products with W are faster than n small congruences


@jit(internal=True)
def pairs_below(r: int, k: int) -> int:
    """Return the number of pairs i ≤ j < k with i < r."""
    return r * k - r * (r - 1) // 2


@exported(_CHANGE)
def _to_basis(
    vector_data: Any, rows_data: Any, r: int, out_data: Any, squares_data: Any, k: int
) -> None:
    vector, rows = view(vector_data, (k * (k + 1) // 2,)), view(rows_data, (k, k))
    out, squares = view(out_data, (pairs_below(r, k),)), view(squares_data, (SQUARES, k, k))
    matrix, half = squares[LEFT], squares[MIDDLE]
    unpack(vector, matrix)
    if k > _LOOPS_ORDER:
        gemm(False, False, 1.0, rows[:r], matrix, 0.0, half[:r])
        gemm(False, True, 1.0, half[:r], rows, 0.0, matrix[:r])
        index = 0
        for i in range(r):
            out[index] = matrix[i, i]
            index += 1
            for j in range(i + 1, k):
                out[index] = _SQRT2 * matrix[i, j]
                index += 1
        return
    index = 0
    for i in range(r):
        for q in range(k):
            half[0, q] = 0.0
        for p in range(k):
            for q in range(k):
                half[0, q] += rows[i, p] * matrix[p, q]
        for j in range(i, k):
            total = 0.0
            for q in range(k):
                total += half[0, q] * rows[j, q]
            out[index] = total if i == j else _SQRT2 * total
            index += 1


@inline
def to_basis(vector: Array, rows: Array, r: int, ws: Workspace, out: Array) -> None:
    """Coordinates in the new basis: the leading pairs of the svec of U X Uᵀ."""
    squares = ws.squares
    _to_basis(vector.ctypes, rows.ctypes, r, out.ctypes, squares.ctypes, squares.shape[1])


@inline
def _product_by_loops(matrix: Array, rows: Array, r: int, half: Array, full: Array) -> None:
    """Form the sum over i < r of ``u_i (Σ_j m_ij u_j)ᵀ``, m upper triangular."""
    k = rows.shape[0]
    for p in range(k):
        for q in range(k):
            full[p, q] = 0.0
    for i in range(r):
        for q in range(k):
            half[0, q] = 0.0
        for j in range(i, k):
            for q in range(k):
                half[0, q] += matrix[i, j] * rows[j, q]
        for p in range(k):
            for q in range(k):
                full[p, q] += rows[i, p] * half[0, q]


@exported(_CHANGE)
def _to_original(
    pairs_data: Any, rows_data: Any, r: int, out_data: Any, squares_data: Any, k: int
) -> None:
    pairs, rows = view(pairs_data, (pairs_below(r, k),)), view(rows_data, (k, k))
    out, squares = view(out_data, (k * (k + 1) // 2,)), view(squares_data, (SQUARES, k, k))
    matrix, half, full = squares[LEFT], squares[MIDDLE], squares[RIGHT]
    # the upper triangle carries the off-diagonal pairs once; the symmetric part restores both
    index = 0
    for i in range(r):
        for j in range(i):
            matrix[i, j] = 0.0
        matrix[i, i] = pairs[index]
        index += 1
        for j in range(i + 1, k):
            matrix[i, j] = _SQRT2 * pairs[index]
            index += 1
    if k > _LOOPS_ORDER:
        gemm(False, False, 1.0, matrix[:r], rows, 0.0, half[:r])
        gemm(True, False, 1.0, rows[:r], half[:r], 0.0, full)
    else:
        _product_by_loops(matrix, rows, r, half, full)
    pack(full, out)


@inline
def to_original(pairs: Array, rows: Array, r: int, ws: Workspace, out: Array) -> None:
    """Undo `to_basis` for a matrix that has only leading pairs: out ← Wᵀ pairs."""
    squares = ws.squares
    _to_original(pairs.ctypes, rows.ctypes, r, out.ctypes, squares.ctypes, squares.shape[1])


@jit(internal=True)
def _fill_pair(u: Array, v: Array, weight: float, out: Array) -> None:
    """Write the row of W that belongs to the vectors u and v, times ``weight``."""
    k = u.shape[0]
    index = 0
    for p in range(k):
        out[index] = weight * _SQRT2 * u[p] * v[p]
        index -= p
        for q in range(p + 1, k):
            out[index + q] = weight * (u[p] * v[q] + u[q] * v[p])
        index += k


@inline
def _fill_basis(rows: Array, r: int, basis: Array) -> None:
    """Write the leading rows of W."""
    row = 0
    for i in range(r):
        for j in range(i, rows.shape[0]):
            # the pair (i, i) would be counted twice by the symmetric form
            _fill_pair(rows[i], rows[j], _SQRT_HALF if i == j else 1.0, basis[row])
            row += 1


@jit(internal=True)
def fill_pairs(rows: Array, r: int, out: Array) -> None:
    """Write the rows of W of the pairs i < r ≤ j, then those of the pairs r ≤ i ≤ j."""
    row = 0
    for i in range(rows.shape[0]):
        for j in range(max(i, r), rows.shape[0]):
            _fill_pair(rows[i], rows[j], _SQRT_HALF if i == j else 1.0, out[row])
            row += 1


@jit(internal=True)
def _rows_to_basis(source: Array, rows: Array, r: int, ws: Workspace, out: Array) -> None:
    """Multiply every row of ``source`` (n, n) by Wᵀ: out (n, pairs)."""
    for a in range(source.shape[0]):
        to_basis(source[a], rows, r, ws, out[a])


@jit(internal=True)
def _pairs_to_basis(
    source: Array, rows: Array, r: int, symmetric: bool, ws: Workspace, out: Array
) -> None:
    """Multiply the row of every pair by Wᵀ: out (pairs, pairs), or its lower triangle."""
    row = 0
    for i in range(r):
        for _ in range(i, rows.shape[0]):
            # the leading pairs of order i + 1 reach beyond the diagonal
            to_basis(source[row], rows, i + 1 if symmetric else r, ws, out[row])
            row += 1


@inline
def _transpose_square(matrix: Array) -> None:
    for i in range(matrix.shape[0]):
        for j in range(i):
            matrix[i, j], matrix[j, i] = matrix[j, i], matrix[i, j]


@inline
def _small_congruence(
    basis: Array, beta: Array, symmetric: bool, first: Array, system: Array
) -> None:
    """Form W β Wᵀ, or its lower triangle, by loops."""
    m, n = basis.shape
    for i in range(m):
        for j in range(n):
            first[i, j] = 0.0
        for p in range(n):
            weight = basis[i, p]
            for j in range(n):
                first[i, j] += weight * beta[p, j]
        for j in range(i + 1 if symmetric else m):
            total = 0.0
            for p in range(n):
                total += first[i, p] * basis[j, p]
            system[i, j] = total


@inline
def congruence(beta: Array, rows: Array, r: int, ws: Workspace) -> Array:
    """Write the leading pairs of W β Wᵀ to SYSTEM, and return them as a square matrix.

    Where β is symmetric its lower triangle may be all that is written.
    """
    k, n = rows.shape[0], beta.shape[0]
    m = pairs_below(r, k)
    system = view(ws.operators[SYSTEM][: m * m], (m, m))
    first = view(ws.operators[FIRST][: m * n], (m, n))
    if k <= _BASIS_ORDER:
        basis = view(ws.operators[SECOND][: m * n], (m, n))
        _fill_basis(rows, r, basis)
        if k <= _SMALLEST_ORDER:
            _small_congruence(basis, beta, ws.scalars[SYMMETRIC] != 0.0, first, system)
            return system
        gemm(False, False, 1.0, basis, beta, 0.0, first)
        gemm(False, True, 1.0, first, basis, 0.0, system)
        return system
    half = view(ws.operators[SECOND][: n * m], (n, m))
    _rows_to_basis(beta, rows, r, ws, half)
    for i in range(m):
        for j in range(n):
            first[i, j] = half[j, i]
    symmetric = ws.scalars[SYMMETRIC] != 0.0
    _pairs_to_basis(first, rows, r, symmetric, ws, system)
    if not symmetric:  # the two passes have left W βᵀ Wᵀ
        _transpose_square(system)
    return system
