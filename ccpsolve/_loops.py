"""Dense linear algebra as plain loops: faster than LAPACK when small, and its fallback.

Matrices are C-contiguous; "lower" means the lower triangle of the row-major array. Inner loops run
along rows. Nothing is allocated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import jit

__all__ = [
    "cholesky_factor_loops",
    "cholesky_solve_loops",
    "eigh_rows_jacobi",
    "eigh_rows_loops",
    "eigh_rows_ql",
    "gemm_loops",
    "lu_factor_loops",
    "lu_solve_loops",
    "sort_descending",
    "triangular_solve_loops",
]

Array = NDArray[np.float64]
_SWEEPS = 40  # Jacobi needs 4 to 8 sweeps, QL 1 or 2 for each eigenvalue; the cap only stops NaN
_EPSILON = 2.0**-53
_SQUARE_UNDERFLOWS = 1e-140  # entries of a matrix below that
_JACOBI_ORDER = 3  # up to this order Jacobi rotations are faster than QL


@jit(internal=True)
def cholesky_factor_loops(a: Array) -> bool:
    """Overwrite the lower triangle of ``a`` by L, A = L Lᵀ; False unless A is positive definite."""
    n = a.shape[0]
    for i in range(n):
        for j in range(i):
            total = a[i, j]
            for m in range(j):
                total -= a[i, m] * a[j, m]
            a[i, j] = total / a[j, j]
        pivot = a[i, i]
        for m in range(i):
            pivot -= a[i, m] * a[i, m]
        if not pivot > 0.0:
            return False
        a[i, i] = np.sqrt(pivot)
    return True


@jit(internal=True)
def triangular_solve_loops(transposed: bool, factor: Array, b: Array) -> None:
    """Overwrite ``b`` by L⁻¹ b, or L⁻ᵀ b, for the L of :func:`cholesky_factor_loops`."""
    n = factor.shape[0]
    if transposed:
        for i in range(n - 1, -1, -1):
            value = b[i] / factor[i, i]
            b[i] = value
            for m in range(i):
                b[m] -= value * factor[i, m]
        return
    for i in range(n):
        total = b[i]
        for m in range(i):
            total -= factor[i, m] * b[m]
        b[i] = total / factor[i, i]


@jit(internal=True)
def cholesky_solve_loops(factor: Array, b: Array) -> None:
    """Overwrite the vector ``b`` by A⁻¹ b, given the factor of :func:`cholesky_factor_loops`."""
    triangular_solve_loops(False, factor, b)
    triangular_solve_loops(True, factor, b)


@jit(internal=True)
def lu_factor_loops(a: Array, pivots: NDArray[np.int32]) -> bool:
    """Overwrite ``a`` by its LU factors with partial pivoting; False where a pivot vanishes."""
    n = a.shape[0]
    for j in range(n):
        p = j
        for i in range(j + 1, n):
            if abs(a[i, j]) > abs(a[p, j]):
                p = i
        pivots[j] = p
        if not abs(a[p, j]) > 0.0:
            return False
        if p != j:
            for m in range(n):
                a[j, m], a[p, m] = a[p, m], a[j, m]
        for i in range(j + 1, n):
            factor = a[i, j] / a[j, j]
            a[i, j] = factor
            for m in range(j + 1, n):
                a[i, m] -= factor * a[j, m]
    return True


@jit(internal=True)
def lu_solve_loops(factor: Array, pivots: NDArray[np.int32], b: Array) -> None:
    """Overwrite the vector ``b`` by A⁻¹ b, given the factors of :func:`lu_factor_loops`."""
    n = factor.shape[0]
    for i in range(n):
        p = pivots[i]
        b[i], b[p] = b[p], b[i]
    for i in range(n):
        total = b[i]
        for m in range(i):
            total -= factor[i, m] * b[m]
        b[i] = total
    for i in range(n - 1, -1, -1):
        total = b[i]
        for m in range(i + 1, n):
            total -= factor[i, m] * b[m]
        b[i] = total / factor[i, i]


@jit(internal=True)
def gemm_loops(
    transpose_a: bool, transpose_b: bool, scale: float, a: Array, b: Array, keep: float, c: Array
) -> None:
    """C ← scale·op(A)·op(B) + keep·C."""
    rows, columns = c.shape
    inner = a.shape[0] if transpose_a else a.shape[1]
    for i in range(rows):
        for j in range(columns):
            c[i, j] = 0.0 if keep == 0.0 else keep * c[i, j]
        if transpose_b:
            for j in range(columns):
                total = 0.0
                for m in range(inner):
                    total += (a[m, i] if transpose_a else a[i, m]) * b[j, m]
                c[i, j] += scale * total
        else:
            for m in range(inner):
                value = scale * (a[m, i] if transpose_a else a[i, m])
                for j in range(columns):
                    c[i, j] += value * b[m, j]


@jit(internal=True)
def eigh_rows_jacobi(a: Array, rows: Array) -> None:
    """Diagonalise the symmetric ``a`` in place by cyclic Jacobi rotations, carrying the rows along.

    On return the diagonal of ``a`` holds the eigenvalues (unordered) and ``rows`` has been
    multiplied from the left by the transposed eigenvectors: started at the identity its rows are
    the eigenvectors; started at an orthogonal basis in which ``a`` is expressed, they are the
    eigenvectors in the original basis. A nearly diagonal matrix needs one or two sweeps.
    """
    k = a.shape[0]
    for _ in range(_SWEEPS):
        rotated = False
        for p in range(k - 1):
            for q in range(p + 1, k):
                apq = a[p, q]
                # relative to the two diagonal entries: graded matrices keep their small eigenvalues
                if not abs(apq) > 1e-17 * (abs(a[p, p]) + abs(a[q, q])):
                    continue
                rotated = True
                difference = a[q, q] - a[p, p]
                if abs(difference) > 1e15 * abs(apq):
                    t = apq / difference
                elif abs(apq) > _SQUARE_UNDERFLOWS:
                    root = np.sqrt(difference * difference + 4.0 * apq * apq)
                    t = 2.0 * apq / (difference + (root if difference >= 0.0 else -root))
                else:
                    theta = 0.5 * difference / apq
                    t = 1.0 / (abs(theta) + np.sqrt(1.0 + theta * theta))
                    if theta < 0.0:
                        t = -t
                c = 1.0 / np.sqrt(1.0 + t * t)
                s = t * c
                a[p, p] -= t * apq
                a[q, q] += t * apq
                a[p, q] = 0.0
                a[q, p] = 0.0
                for m in range(k):
                    if m != p and m != q:
                        x, y = a[m, p], a[m, q]
                        a[m, p] = a[p, m] = c * x - s * y
                        a[m, q] = a[q, m] = s * x + c * y
                for m in range(rows.shape[1]):
                    x, y = rows[p, m], rows[q, m]
                    rows[p, m] = c * x - s * y
                    rows[q, m] = s * x + c * y
        if not rotated:
            return


@jit(internal=True)
def _tridiagonalise(a: Array, diagonal: Array, beside: Array) -> None:
    """Reduce the symmetric ``a`` to tridiagonal form by Householder reflections H_j = I − t v vᵀ.

    Row j of ``a`` keeps t in its diagonal entry and v to the right of it.
    """
    k = a.shape[0]
    for j in range(k - 2):
        tail = 0.0
        for i in range(j + 2, k):
            tail += a[j, i] * a[j, i]
        diagonal[j], head = a[j, j], a[j, j + 1]
        beside[j], a[j, j] = head, 0.0
        if tail == 0.0:
            continue
        size = np.sqrt(head * head + tail)
        beside[j] = -size if head > 0.0 else size
        v, w = a[j], diagonal  # the entries of the diagonal below j are free until they are known
        v[j + 1] = head - beside[j]
        t = 2.0 / (v[j + 1] * v[j + 1] + tail)
        product = 0.0
        for i in range(j + 1, k):
            total = 0.0
            for m in range(j + 1, k):
                total += a[i, m] * v[m]
            w[i] = t * total
            product += w[i] * v[i]
        for i in range(j + 1, k):
            w[i] -= 0.5 * t * product * v[i]
        for i in range(j + 1, k):
            for m in range(j + 1, k):
                a[i, m] -= v[i] * w[m] + w[i] * v[m]
        a[j, j] = t
    if k > 1:
        diagonal[k - 2], beside[k - 2] = a[k - 2, k - 2], a[k - 2, k - 1]
    diagonal[k - 1], beside[k - 1] = a[k - 1, k - 1], 0.0


@jit(internal=True)
def _accumulate_reflections(a: Array, rows: Array) -> None:
    """Write the transposed product of the reflections that `_tridiagonalise` left in ``a``."""
    k = a.shape[0]
    for i in range(k):
        for m in range(k):
            rows[i, m] = 1.0 if i == m else 0.0
    for j in range(k - 3, -1, -1):
        t, v = a[j, j], a[j]
        if t == 0.0:
            continue
        for i in range(j + 1, k):
            total = 0.0
            for m in range(j + 1, k):
                total += rows[i, m] * v[m]
            for m in range(j + 1, k):
                rows[i, m] -= t * total * v[m]


@jit(internal=True)
def _ql_sweep(first: int, last: int, d: Array, e: Array, rows: Array) -> None:
    """Chase one implicitly shifted QL rotation through the block first … last."""
    g = (d[first + 1] - d[first]) / (2.0 * e[first])
    r = np.sqrt(g * g + 1.0)
    g = d[last] - d[first] + e[first] / (g + (r if g >= 0.0 else -r))
    s, c, p = 1.0, 1.0, 0.0
    for i in range(last - 1, first - 1, -1):
        f, b = s * e[i], c * e[i]
        r = np.sqrt(f * f + g * g)
        e[i + 1] = r
        if r == 0.0:  # the block has split
            d[i + 1] -= p
            e[last] = 0.0
            return
        s, c = f / r, g / r
        g = d[i + 1] - p
        r = (d[i] - g) * s + 2.0 * c * b
        p = s * r
        d[i + 1] = g + p
        g = c * r - b
        for m in range(rows.shape[1]):
            x, y = rows[i, m], rows[i + 1, m]
            rows[i + 1, m] = s * x + c * y
            rows[i, m] = c * x - s * y
    d[first] -= p
    e[first] = g
    e[last] = 0.0


@jit(internal=True)
def eigh_rows_ql(a: Array, values: Array, rows: Array, beside: Array) -> bool:
    """Eigenvalues (unordered) and eigenvectors (rows) by tridiagonal reduction and QL iteration.

    ``a`` is overwritten; ``beside`` is scratch of length k. Returns False where the iteration does
    not converge (NaN). Up to order 25 or so it is faster than LAPACK, which has more to decide.

    References
    ----------
    Golub and Van Loan, Matrix Computations, 4th edition, sections 8.3.1 and 8.3.3.
    """
    k = a.shape[0]
    _tridiagonalise(a, values, beside)
    _accumulate_reflections(a, rows)
    for first in range(k):
        for _ in range(_SWEEPS):
            last = first
            while last < k - 1:
                if abs(beside[last]) <= _EPSILON * (abs(values[last]) + abs(values[last + 1])):
                    break
                last += 1
            if last == first:
                break
            _ql_sweep(first, last, values, beside, rows)
        if last != first:
            return False
    return True


@jit(internal=True)
def eigh_rows_loops(a: Array, values: Array, rows: Array, beside: Array) -> bool:
    """Eigenvalues in ascending order; the rows of ``a`` become their eigenvectors."""
    k = a.shape[0]
    found = True
    if k <= _JACOBI_ORDER:
        for i in range(k):
            for j in range(k):
                rows[i, j] = 1.0 if i == j else 0.0
        eigh_rows_jacobi(a, rows)
        for i in range(k):
            values[i] = a[i, i]
    else:
        found = eigh_rows_ql(a, values, rows, beside)
    sort_descending(values, rows)
    for i in range(k // 2):
        values[i], values[k - 1 - i] = values[k - 1 - i], values[i]
    for i in range(k):
        for j in range(k):
            a[i, j] = rows[k - 1 - i, j]
    return found


@jit(internal=True)
def sort_descending(values: Array, rows: Array) -> None:
    """Order the values from large to small, and the rows with them (insertion sort)."""
    for i in range(1, values.shape[0]):
        j = i
        while j > 0 and values[j] > values[j - 1]:
            values[j], values[j - 1] = values[j - 1], values[j]
            for m in range(rows.shape[1]):
                rows[j, m], rows[j - 1, m] = rows[j - 1, m], rows[j, m]
            j -= 1
