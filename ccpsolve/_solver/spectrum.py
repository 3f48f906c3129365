"""Spectral decompositions inside compiled code, and the split of Z into X − γS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._lapack import eigh_rows
from ccpsolve._linking import exported
from ccpsolve._numba import inline
from ccpsolve._solver.svec_kernels import add_dyad, unpack
from ccpsolve._solver.workspace import ROWS, VALUES, WORKSPACE, Workspace, open_workspace
from ccpsolve._view import view

__all__ = ["count_positive", "decompose", "split"]

Array = NDArray[np.float64]

_DOUBLES = types.CPointer(types.float64)


@inline
def decompose(z: Array, ws: Workspace) -> None:
    """Find eigenvalues (VALUES, descending; NaN on failure) and eigenvectors (ROWS) of Z."""
    values, rows = ws.spectra[VALUES], ws.squares[ROWS]
    k = values.shape[0]
    unpack(z, rows)
    for i in range(k):
        for j in range(k):
            rows[i, j] = -rows[i, j]  # eigenvalues come in ascending order
    found = eigh_rows(rows, values, ws.lapack, ws.integers)
    for i in range(k):
        values[i] = -values[i] if found else np.nan


@inline
def count_positive(values: Array) -> int:
    """Count the positive entries of a descending sequence."""
    r = 0
    while r < values.shape[0] and values[r] > 0.0:
        r += 1
    return r


@exported(types.int64(_DOUBLES, types.float64, _DOUBLES, _DOUBLES, *WORKSPACE))
def _split(
    z_data: Any, gamma: float, x_data: Any, s_data: Any, buffer: Any, integers: Any, k: int
) -> int:
    ws = open_workspace(buffer, integers, k)
    n = ws.vectors.shape[1]
    z, x, s = view(z_data, (n,)), view(x_data, (n,)), view(s_data, (n,))
    decompose(z, ws)
    values, rows = ws.spectra[VALUES], ws.squares[ROWS]
    r = count_positive(values)
    # only the part of smaller rank is summed from eigenvectors, the other is a difference
    if 2 * r <= k:
        for i in range(n):
            x[i] = 0.0
        for i in range(r):
            add_dyad(values[i], rows[i], x)
        for i in range(n):
            s[i] = (x[i] - z[i]) / gamma
    else:
        for i in range(n):
            s[i] = 0.0
        for i in range(r, k):
            add_dyad(-values[i], rows[i], s)
        for i in range(n):
            x[i] = z[i] + s[i]
            s[i] /= gamma
    return r


@inline
def split(z: Array, gamma: float, x: Array, s: Array, ws: Workspace) -> int:
    """Split Z = X − γS into x ← Π(Z) and s ← Π(−Z)/γ; return the rank of X."""
    data = (z.ctypes, gamma, x.ctypes, s.ctypes)
    return _split(*data, ws.buffer.ctypes, ws.integers.ctypes, ws.spectra.shape[1])
