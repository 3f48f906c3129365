"""The arrays that every solver kernel works in, cut from one allocation.

A workspace is a tuple of a few stacked arrays; its members are found by the constants below, as in
``ws.vectors[TRIAL]``. (One field per member would be simpler to read, but compiled calls pass every
field of every array, and compilation takes twice as long.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._lapack import eigh_workspace_sizes
from ccpsolve._numba import inline, jit
from ccpsolve._view import view

__all__ = ["Workspace", "integer_size", "make_workspace", "workspace_size"]

Array = NDArray[np.float64]

# vectors of length n = k(k+1)/2, in svec coordinates; the problem is the equilibrated one
(
    ALPHA,
    TARGET,  # α, or α + ε·CENTER inside the proximal loop
    DIAGONAL,  # of β, without the shift ε of the proximal loop
    X,  # current X ⪰ 0
    S,  # current S ⪰ 0, with ⟨X, S⟩ = 0
    SLACK,  # β[X] − α
    TRIAL,  # point of a linear model, not yet projected
    TRIAL_SLACK,  # β[TRIAL] − α
    BEST,  # X of the smallest residual so far
    CENTER,  # an earlier X, not in svec coordinates during refinement
    STEP,  # right-hand side of a linear system, then its solution
    MIXED,  # D of a Newton system, on its pairs
    REMAINDER,  # conjugate gradients: residual,
    DIRECTION,  # search direction,
    IMAGE,  # and its image; vectors of pairs
    PRECONDITIONED,
    VECTORS,
) = range(17)

# operators on Sym_k, n² numbers
BETA, SYSTEM, FIRST, SECOND, FACTOR, OPERATORS = range(6)
# FACTOR: of the Cholesky factorisation of β

# k×k matrices
ROWS, FRAME, LEFT, MIDDLE, RIGHT, SQUARES = range(6)
# ROWS: eigenvectors of Z; FRAME: those to which the factor in SYSTEM belongs, or Gᵀ of the
# interior-point method; the others are scratch

# single numbers
(
    NORM_BETA,  # scales of residuals
    NORM_ALPHA,
    SYMMETRIC,  # 1 for symmetric β, 0 else
    STEPS,  # Newton or interior-point steps taken so far
    ROUTE,  # the algorithm that gave the answer
    FACTOR_RANK,  # of the X to which the Cholesky factor in SYSTEM belongs, 0 for none
    MEAN_DIAGONAL,  # trace β / n
    MATRIX_FREE,  # 1 until conjugate gradients without a factor have failed once
    PIVOT_RATIO,  # of FACTOR, smallest over largest; 0 if β is not definite, −1 before it is known
    ALPHA_UNIT,  # a of the equilibration
    SCALARS,
) = range(11)

# vectors of length k
SCALE, VALUES, ROOTS, SPECTRA = range(4)
# SCALE: diagonal of the equilibration; VALUES: eigenvalues of Z, descending; ROOTS: √Λ of the same


class Workspace(NamedTuple):
    """Arrays of a solve of order k."""

    vectors: Array  # (VECTORS, n)
    operators: Array  # (OPERATORS, n*n)
    squares: Array  # (SQUARES, k, k)
    spectra: Array  # (SPECTRA, k)
    scalars: Array  # (SCALARS,)
    lapack: Array  # scratch of the eigenvalue routine
    pivots: NDArray[np.int32]  # (n,) of an LU factorisation
    integers: NDArray[np.int32]  # scratch of the eigenvalue routine in front, then the pivots
    buffer: Array  # the allocation that all but the integers are cut from


@jit(internal=True)
def workspace_size(k: int) -> int:
    """Length of the float64 buffer that :func:`make_workspace` cuts up."""
    n = k * (k + 1) // 2
    fixed = OPERATORS * n * n + VECTORS * n + SQUARES * k * k + SPECTRA * k + SCALARS
    return fixed + eigh_workspace_sizes(k)[0]


@jit(internal=True)
def integer_size(k: int) -> int:
    """Length of the int32 buffer of a workspace: LAPACK's, and the pivots of an n×n matrix."""
    return eigh_workspace_sizes(k)[1] + k * (k + 1) // 2


@jit(internal=True)
def make_workspace(buffer: Array, integers: NDArray[np.int32], k: int) -> Workspace:
    """Cut a buffer of `workspace_size` numbers into the arrays of a workspace."""
    n = k * (k + 1) // 2
    a = OPERATORS * n * n
    b = a + VECTORS * n
    c = b + SQUARES * k * k
    d = c + SPECTRA * k
    e = d + SCALARS
    return Workspace(
        vectors=view(buffer[a:b], (VECTORS, n)),
        operators=view(buffer[:a], (OPERATORS, n * n)),
        squares=view(buffer[b:c], (SQUARES, k, k)),
        spectra=view(buffer[c:d], (SPECTRA, k)),
        scalars=buffer[d:e],
        lapack=buffer[e:],
        pivots=integers[eigh_workspace_sizes(k)[1] :],
        integers=integers,
        buffer=buffer,
    )


WORKSPACE = (types.CPointer(types.float64), types.CPointer(types.int32), types.int64)
"""C types of a workspace in a call by name: ``ws.buffer.ctypes, ws.integers.ctypes, k``."""


@inline
def open_workspace(buffer: Any, integers: Any, k: int) -> Workspace:
    """Rebuild a workspace from what was passed for it in a call by name."""
    floats = view(buffer, (workspace_size(k),))
    return make_workspace(floats, view(integers, (integer_size(k),)), k)
