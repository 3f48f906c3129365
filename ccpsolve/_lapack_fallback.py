"""Loops behind the Fortran interfaces that :mod:`ccpsolve._lapack` calls, for when SciPy has none.

Each function takes the arguments of the routine it replaces, all of them addresses, and serves only
the calls that ``_lapack`` makes (row-major lower triangles, square LU, unit strides). They are
compiled as C callbacks and found under the same symbol names: kernels do not know which they call.
"""

from __future__ import annotations

from typing import Any

from numba import carray  # type: ignore[attr-defined]

from ccpsolve import _loops

__all__ = ["dgemm", "dgemv", "dgetrf", "dgetrs", "dpotrf", "dpotrs", "dsyevd", "dtrsm"]

_TRANSPOSED = ord("T")


def dpotrf(_uplo: Any, n: Any, a: Any, _lda: Any, info: Any) -> None:
    """Cholesky factor of a row-major lower triangle."""
    matrix = carray(a, (n[0], n[0]))
    info[0] = 0 if _loops.cholesky_factor_loops(matrix) else 1


def dpotrs(_uplo: Any, n: Any, _nrhs: Any, a: Any, _lda: Any, b: Any, _ldb: Any, info: Any) -> None:
    """Solve with the Cholesky factor, one right-hand side."""
    _loops.cholesky_solve_loops(carray(a, (n[0], n[0])), carray(b, (n[0],)))
    info[0] = 0


def dgetrf(_m: Any, n: Any, a: Any, _lda: Any, ipiv: Any, info: Any) -> None:
    """LU factors with partial pivoting (of the row-major matrix itself)."""
    found = _loops.lu_factor_loops(carray(a, (n[0], n[0])), carray(ipiv, (n[0],)))
    info[0] = 0 if found else 1


def dgetrs(
    _trans: Any, n: Any, _nrhs: Any, a: Any, _lda: Any, ipiv: Any, b: Any, _ldb: Any, info: Any
) -> None:
    """Solve with the factors of :func:`dgetrf`, one right-hand side."""
    size = n[0]
    _loops.lu_solve_loops(carray(a, (size, size)), carray(ipiv, (size,)), carray(b, (size,)))
    info[0] = 0


def dsyevd(
    _jobz: Any, _uplo: Any, n: Any, a: Any, _lda: Any, w: Any,
    work: Any, _lwork: Any, _iwork: Any, _liwork: Any, info: Any,
) -> None:  # fmt: skip
    """Eigenvalues in ascending order, eigenvectors as rows."""
    size = n[0]
    matrix, values = carray(a, (size, size)), carray(w, (size,))
    scratch = carray(work, (size * size + size,))
    rows = scratch[: size * size].reshape(size, size)
    found = _loops.eigh_rows_loops(matrix, values, rows, scratch[size * size :])
    info[0] = 0 if found else 1


def dgemm(
    transa: Any, transb: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, lda: Any,
    b: Any, ldb: Any, beta: Any, c: Any, _ldc: Any,
) -> None:  # fmt: skip
    """Product of two matrices; the row-major operands arrive exchanged."""
    transpose_left, transpose_right = transb[0] == _TRANSPOSED, transa[0] == _TRANSPOSED
    left = carray(b, (k[0] if transpose_left else n[0], ldb[0]))
    right = carray(a, (m[0] if transpose_right else k[0], lda[0]))
    product = carray(c, (n[0], m[0]))
    _loops.gemm_loops(transpose_left, transpose_right, alpha[0], left, right, beta[0], product)


def dgemv(
    _trans: Any, m: Any, n: Any, _alpha: Any, a: Any, _lda: Any,
    x: Any, _incx: Any, _beta: Any, y: Any, _incy: Any,
) -> None:  # fmt: skip
    """Product of a row-major matrix and a vector."""
    matrix, vector, product = carray(a, (n[0], m[0])), carray(x, (m[0],)), carray(y, (n[0],))
    for i in range(n[0]):
        total = 0.0
        for j in range(m[0]):
            total += matrix[i, j] * vector[j]
        product[i] = total


def dtrsm(
    _side: Any, _uplo: Any, transa: Any, _diag: Any, m: Any, n: Any,
    _alpha: Any, a: Any, _lda: Any, b: Any, _ldb: Any,
) -> None:  # fmt: skip
    """Solve with a row-major lower triangle L, or with Lᵀ, for each row of the right-hand sides."""
    factor, rows = carray(a, (m[0], m[0])), carray(b, (n[0], m[0]))
    for i in range(n[0]):
        # the interface sees Lᵀ
        _loops.triangular_solve_loops(transa[0] != _TRANSPOSED, factor, rows[i])
