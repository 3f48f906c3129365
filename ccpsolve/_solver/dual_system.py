"""The linear system of a Newton step in the unknowns outside the face: few where rank X is high.

A step dX of a Newton iteration at X of rank r keeps dX on the pairs i, j ≥ r zero, and relates it
to the change λ of S on the mixed pairs by the diagonal D of `ccpsolve._solver.pair_system`. With W₂
the rows of W that belong to the q pairs (i, j) with j ≥ r, and D⁻¹ = 0 where i ≥ r,

    dX = −β⁻¹[G + W₂ᵀλ],    (W₂β⁻¹W₂ᵀ + D⁻¹) λ = −W₂β⁻¹[G].

One Cholesky factor of β serves all steps of a solve, and each then costs n²q + nq² instead of the
n²m + nm² of m = n − (k−r)(k−r+1)/2 unknowns. Errors of the order κ(β)·eps in a step do no harm, as
every iteration starts from a fresh residual; β too ill-conditioned for that is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._lapack import (
    cholesky_factor,
    cholesky_solve,
    gemm,
    gemv,
    triangular_solve_rows,
)
from ccpsolve._linking import exported
from ccpsolve._numba import inline, jit
from ccpsolve._solver.congruence import fill_pairs, pairs_below
from ccpsolve._solver.svec_kernels import copy
from ccpsolve._solver.workspace import (
    BETA,
    FACTOR,
    FACTOR_RANK,
    FIRST,
    PIVOT_RATIO,
    ROWS,
    SECOND,
    STEP,
    SYMMETRIC,
    SYSTEM,
    TRIAL,
    VALUES,
    WORKSPACE,
    Workspace,
    X,
    open_workspace,
)
from ccpsolve._view import view

__all__ = ["dual_pays", "dual_trial", "factor_beta"]

Array = NDArray[np.float64]

_SMALLEST_RATIO = 1e-6  # of pivots of β; the error of λ may grow with its square
_SMALLEST_ORDER = 7  # below it calls to LAPACK cost more than the arithmetic saved
_HANDICAP = 2.5  # triangular solves run slower than products, and no factor is kept for later steps
_LARGEST_TERM = 1e30  # of D⁻¹ times ‖β‖: λ is zero there


@jit(internal=True)
def factor_beta(ws: Workspace) -> bool:
    """Factorise a symmetric β, once for all steps; False where it is not positive definite."""
    if ws.scalars[PIVOT_RATIO] < 0.0:
        n = ws.vectors.shape[1]
        copy(ws.operators[BETA], ws.operators[FACTOR])
        factor = view(ws.operators[FACTOR], (n, n))
        ws.scalars[PIVOT_RATIO] = 0.0
        if cholesky_factor(factor):
            smallest = largest = factor[0, 0]
            for i in range(n):
                smallest, largest = min(smallest, factor[i, i]), max(largest, factor[i, i])
            ws.scalars[PIVOT_RATIO] = (smallest / largest) ** 2
    return ws.scalars[PIVOT_RATIO] > 0.0


@inline
def dual_pays(r: int, ws: Workspace) -> bool:
    """Tell whether the unknowns λ are the cheaper ones, and safe, for 0 < r < k."""
    k, n = ws.spectra.shape[1], ws.vectors.shape[1]
    if k < _SMALLEST_ORDER or ws.scalars[SYMMETRIC] == 0.0:
        return False
    m, q = pairs_below(r, k), n - r * (r + 1) // 2
    direct = m * n * n + m * m * n + m * m * m // 3
    dual = (q + 1) * n * n + q * q * n + q * q * q // 3
    if ws.scalars[PIVOT_RATIO] < 0.0:
        dual += n * n * n // 6  # the factor may serve two steps
    return (
        _HANDICAP * dual < direct and factor_beta(ws) and ws.scalars[PIVOT_RATIO] > _SMALLEST_RATIO
    )


@inline
def _set_system(r: int, gamma: float, halves: Array, system: Array, ws: Workspace) -> None:
    """Write W₂β⁻¹W₂ᵀ + D⁻¹, from W₂L⁻ᵀ; D⁻¹ = x_i/s_j on pairs i < r ≤ j."""
    values, k = ws.spectra[VALUES], ws.spectra.shape[1]
    gemm(False, True, 1.0, halves, halves, 0.0, system)
    index = 0
    for i in range(r):
        for j in range(r, k):
            x = gamma * values[i]
            system[index, index] += x / max(-values[j], x / _LARGEST_TERM)
            index += 1


@exported(types.int64(types.int64, types.float64, *WORKSPACE))
def _dual_trial(r: int, gamma: float, buffer: Any, integers: Any, k: int) -> int:
    ws = open_workspace(buffer, integers, k)
    n = ws.vectors.shape[1]
    q = n - r * (r + 1) // 2
    factor, halves = view(ws.operators[FACTOR], (n, n)), ws.operators[FIRST][: (q + 1) * n]
    halves = view(halves, (q + 1, n))  # rows: L⁻¹ times those of W₂, and G
    fill_pairs(ws.squares[ROWS], r, halves)
    copy(ws.vectors[STEP], halves[q])
    triangular_solve_rows(False, factor, halves)
    system, last = view(ws.operators[SYSTEM][: q * q], (q, q)), halves[q : q + 1]
    ws.scalars[FACTOR_RANK] = 0.0
    _set_system(r, gamma, halves[:q], system, ws)
    if not cholesky_factor(system):
        return 0
    multipliers, x, trial = ws.operators[SECOND][:q], ws.vectors[X], ws.vectors[TRIAL]
    gemv(halves[:q], halves[q], multipliers)
    cholesky_solve(system, multipliers)
    for a in range(q):
        for i in range(n):
            halves[q, i] -= multipliers[a] * halves[a, i]
    triangular_solve_rows(True, factor, last)
    for i in range(n):
        trial[i] = x[i] - halves[q, i]
    return 1


@inline
def dual_trial(r: int, gamma: float, ws: Workspace) -> bool:
    """Set the trial point to X + dX, where `dual_pays`; False if the system is singular."""
    k = ws.spectra.shape[1]
    return _dual_trial(r, gamma, ws.buffer.ctypes, ws.integers.ctypes, k) != 0
