"""Work arrays of the certificate kernel, and the small operations its parts share.

Written for a short compilation: entries are set and copied in loops (``target[:] = value`` brings
the formatting of error messages with it), and parts take the arrays they use, not the whole `Work`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve import _lapack, _loops
from ccpsolve._numba import jit
from ccpsolve._view import view

__all__ = [
    "POINTER",
    "UNIT_ROUNDOFF",
    "Work",
    "carve",
    "certificate_work_sizes",
    "combine",
    "eigh",
    "inner",
    "irregular_vector",
    "norm",
    "smallest_eigenvalue",
]

Array = NDArray[np.float64]
Integers = NDArray[np.int32]

UNIT_ROUNDOFF = 2.0**-53
POINTER = types.CPointer(types.float64)
"""Type of an array in a call by name."""

_GOLDEN = 0.6180339887498949
_OPERATORS = 3
_VECTORS = 7
_MATRICES = 6


class Work(NamedTuple):
    """The arrays of one certificate; all are views of the caller's buffer."""

    columns: Array  # (n, n) columns[b] is column b of the scaled β
    factor: Array  # (n, n) L with LLᵀ ⪯ B, the symmetric part of the scaled β
    spare_factor: Array  # (n, n)
    a: Array  # (k, k) scaled α
    x: Array  # (k, k) scaled candidate
    s: Array  # (k, k) scaled slack
    spare: Array  # (k, k)
    turned: Array  # (k, k)
    rows: Array  # (k, k) eigenvectors, then the vectors u and w of the certified pair
    values: Array  # (k,) eigenvalues, then 1 for each u and −1 for each w
    congruence: Array  # (k,) the powers of two C_i of the equilibration
    vectors: Array  # (7, n) svec coordinates
    none: Array  # (k, 0) in place of eigenvectors where only eigenvalues are wanted
    scratch: Array  # for LAPACK


@jit(internal=True)
def buffer_size(k: int, scratch: int) -> int:
    """Length of the float64 buffer of one certificate, ``scratch`` of it for LAPACK."""
    n = k * (k + 1) // 2
    return _OPERATORS * n * n + _MATRICES * k * k + _VECTORS * n + 2 * k + scratch


def certificate_work_sizes(k: int) -> tuple[int, int]:
    """Lengths of the float64 and int32 buffers of one certificate of order k."""
    scratch, integers = _lapack.eigh_workspace_sizes.py_func(k)
    size: int = buffer_size.py_func(k, scratch)
    return size, integers


@jit(internal=True)
def carve(k: int, buffer: Array) -> Work:
    """Divide the buffer into the arrays of a `Work`."""
    n = k * (k + 1) // 2
    vectors = _VECTORS * n
    matrices = vectors + _OPERATORS * n * n
    rest = matrices + _MATRICES * k * k
    operators = view(buffer[vectors:matrices], (_OPERATORS, n, n))
    square = view(buffer[matrices:rest], (_MATRICES, k, k))
    return Work(
        operators[0],
        operators[1],
        operators[2],
        square[0],
        square[1],
        square[2],
        square[3],
        square[4],
        square[5],
        buffer[rest : rest + k],
        buffer[rest + k : rest + 2 * k],
        view(buffer[:vectors], (_VECTORS, n)),
        view(buffer[:0], (k, 0)),
        buffer[rest + 2 * k :],
    )


@jit(internal=True)
def combine(target: Array, source: Array, scale: float, direction: Array) -> None:
    """Write ``source + scale·direction`` to the matrix ``target``."""
    for i in range(target.shape[0]):
        for j in range(target.shape[1]):
            target[i, j] = source[i, j] + scale * direction[i, j]


@jit(internal=True)
def inner(first: Array, second: Array) -> float:
    """Return ``⟨first, second⟩`` of two matrices."""
    total = 0.0
    for i in range(first.shape[0]):
        for j in range(first.shape[1]):
            total += first[i, j] * second[i, j]
    return total


@jit(internal=True)
def norm(vector: Array) -> float:
    """Return the Euclidean norm."""
    total = 0.0
    for i in range(vector.shape[0]):
        total += vector[i] * vector[i]
    return math.sqrt(total)


@jit(internal=True)
def irregular_vector(vector: Array) -> None:
    """Fill in a start for power iterations that is in no special position to structured data."""
    value = 0.3
    for i in range(vector.shape[0]):
        vector[i] = value
        value += _GOLDEN if value < 0.0 else _GOLDEN - 1.0


@jit(internal=True)
def eigh(m: Array, rows: Array, values: Array, scratch: Array, integers: Integers) -> None:
    """Diagonalise the symmetric ``m``: eigenvectors to rows, eigenvalues to values."""
    combine(rows, m, 0.0, m)
    _lapack.eigh_rows(rows, values, scratch, integers)


@jit(internal=True)
def smallest_eigenvalue(m: Array, rows: Array, turned: Array, spare: Array, none: Array) -> float:
    """Return the smallest eigenvalue of the symmetric ``m``, which is kept.

    ``rows`` is an orthogonal basis in which m is nearly diagonal, if there is one at hand: near a
    solution X, S and X − τS have the same eigenvectors. Rotations then have little left to do.
    """
    k = m.shape[0]
    for p in range(k):
        for i in range(k):
            total = 0.0
            for j in range(k):
                total += m[i, j] * rows[p, j]
            turned[p, i] = total
        for q in range(p + 1):
            total = 0.0
            for i in range(k):
                total += turned[p, i] * rows[q, i]
            spare[p, q] = spare[q, p] = total
    _loops.eigh_rows_jacobi(spare, none)
    smallest = spare[0, 0]
    for i in range(1, k):
        smallest = min(smallest, spare[i, i])
    return smallest
