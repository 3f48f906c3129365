"""Semismooth Newton method on the normal map.

The unknown is ``Z = X − γS``; from it ``X = Π(Z)`` and ``S = Π(−Z)/γ`` are positive semidefinite
and exactly complementary, so the only residual is ``G = β[X] − α − S``. In the eigenbasis of Z,
with r positive eigenvalues, an element of the generalised Jacobian gives, on the pairs (i, j) with
i < r,

    (M + D) dX = −G,    M = W β Wᵀ,    D = s_j/x_i on pairs i < r ≤ j, and 0 on pairs i, j < r,

which is positive definite when β is. The next Z is formed from ``X + dX`` and *its* slack, so G is
evaluated afresh in every iteration and rounding does not accumulate. Convergence is quadratic near
a solution, strictly complementary or not (the projection on the cone is strongly semismooth: Sun
and Sun, doi:10.1287/moor.27.1.150.342); far away nothing is proved and the caller falls back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._lapack import cholesky_factor, cholesky_solve, lu_factor, lu_solve
from ccpsolve._linking import exported
from ccpsolve._numba import inline, jit
from ccpsolve._solver.congruence import congruence, pairs_below, to_basis, to_original
from ccpsolve._solver.spectrum import split
from ccpsolve._solver.svec_kernels import copy, norm, slack
from ccpsolve._solver.workspace import (
    BEST,
    BETA,
    FIRST,
    NORM_ALPHA,
    NORM_BETA,
    ROWS,
    SLACK,
    STEP,
    SYMMETRIC,
    SYSTEM,
    SYSTEMS,
    TARGET,
    TRIAL,
    TRIAL_SLACK,
    VALUES,
    WORKSPACE,
    S,
    Workspace,
    X,
    open_workspace,
)

__all__ = ["ROUNDING", "newton"]

Array = NDArray[np.float64]

ROUNDING = 2e-15
"""Residual, per √n, that rounding allows: iterations stop there."""

_STAGNATED = 1e-13  # below this a residual that no longer halves is at its rounding level
_SMALLEST_PART = 0.05  # of ‖α‖ for S and of ‖α‖/‖β‖ for X, in the choice of γ

_LARGEST_GAMMA = 10.0  # times 1/‖β‖; Z takes γ times the rounding of the slack, eps·‖β‖‖X‖


@inline
def _split_trial(ws: Workspace) -> tuple[int, float]:
    """Split Z = TRIAL − γ·TRIAL_SLACK into X and S; return the rank of X and γ.

    γ gives the two terms the same size, unless that would blow the rounding of the slack up.
    """
    trial, trial_slack, z = ws.vectors[TRIAL], ws.vectors[TRIAL_SLACK], ws.vectors[SLACK]
    unit = _SMALLEST_PART * ws.scalars[NORM_ALPHA]
    gamma = max(norm(trial), unit / ws.scalars[NORM_BETA]) / max(norm(trial_slack), unit)
    gamma = min(gamma, _LARGEST_GAMMA / ws.scalars[NORM_BETA])
    for i in range(z.shape[0]):
        z[i] = trial[i] - gamma * trial_slack[i]
    return split(z, gamma, ws.vectors[X], ws.vectors[S], ws), gamma


@inline
def _residual(beta: Array, ws: Workspace) -> float:
    """Evaluate G = β[X] − α − S into STEP, and return its size relative to the data."""
    x, s, g = ws.vectors[X], ws.vectors[S], ws.vectors[STEP]
    slack(beta, x, ws.vectors[TARGET], g)
    for i in range(x.shape[0]):
        g[i] -= s[i]
    return norm(g) / (ws.scalars[NORM_BETA] * norm(x) + ws.scalars[NORM_ALPHA])


@inline
def _add_mixed_terms(system: Array, values: Array, r: int, gamma: float) -> None:
    """Add D, s_j/x_i with x_i = values_i and s_j = −values_j/γ, to the pairs i < r ≤ j."""
    k = values.shape[0]
    index = 0
    for i in range(r):
        index += r - i
        for j in range(r, k):
            system[index, index] -= values[j] / (gamma * values[i])
            index += 1


@jit(internal=True)
def _solve(system: Array, right: Array, ws: Workspace) -> bool:
    """Overwrite ``right`` by the solution; False where the system is singular."""
    ws.scalars[SYSTEMS] += 1.0
    if ws.scalars[SYMMETRIC] != 0.0:
        if not cholesky_factor(system):
            return False
        cholesky_solve(system, right)
        return True
    if not lu_factor(system, ws.pivots):
        return False
    lu_solve(system, ws.pivots, right)
    return True


@inline
def _boundary_trial(beta: Array, r: int, gamma: float, ws: Workspace) -> bool:
    """Set the trial point to X + dX; False where the linear system is singular."""
    rows, values = ws.squares[ROWS], ws.spectra[VALUES]
    x, trial = ws.vectors[X], ws.vectors[TRIAL]
    m = pairs_below(r, values.shape[0])
    system = congruence(beta, rows, r, ws)
    _add_mixed_terms(system, values, r, gamma)
    pairs = ws.operators[FIRST][:m]
    to_basis(ws.vectors[STEP], rows, r, ws, pairs)
    if not _solve(system, pairs, ws):
        return False
    to_original(pairs, rows, r, ws, trial)
    for i in range(x.shape[0]):
        trial[i] = x[i] - trial[i]
    return True


@inline
def _interior_trial(beta: Array, ws: Workspace) -> bool:
    """Set the trial point to β⁻¹[α], the Newton point where Z is positive definite."""
    system = ws.operators[SYSTEM]
    copy(ws.operators[BETA], system)
    copy(ws.vectors[TARGET], ws.vectors[TRIAL])
    return _solve(system.reshape(beta.shape), ws.vectors[TRIAL], ws)


@exported(types.float64(types.int64, *WORKSPACE))
def _newton(limit: int, buffer: Any, integers: Any, k: int) -> float:
    ws = open_workspace(buffer, integers, k)
    n = ws.vectors.shape[1]
    beta, trial = ws.operators[BETA].reshape(n, n), ws.vectors[TRIAL]
    goal = ROUNDING * math.sqrt(n)
    smallest, last = np.inf, np.inf
    iterations = 0
    while True:
        r, gamma = _split_trial(ws)
        residual = _residual(beta, ws)
        if residual < smallest:
            smallest = residual
            copy(ws.vectors[X], ws.vectors[BEST])
        at_rounding = smallest < goal or (smallest < _STAGNATED and residual > 0.5 * last)
        if at_rounding or iterations == limit or not residual < np.inf:
            return smallest
        last = residual
        if r == k:
            solved = _interior_trial(beta, ws)
        elif r > 0:
            solved = _boundary_trial(beta, r, gamma, ws)
        else:
            solved = True
            for i in range(n):
                trial[i] = 0.0
        if not solved:
            return smallest
        slack(beta, trial, ws.vectors[TARGET], ws.vectors[TRIAL_SLACK])
        iterations += 1


@inline
def newton(limit: int, ws: Workspace) -> float:
    """Iterate from TRIAL and TRIAL_SLACK, at most ``limit`` times; the best X met is left in BEST.

    Returns the smallest residual ‖G‖/(‖β‖‖X‖ + ‖α‖) met, inf if there was none.
    """
    return _newton(limit, ws.buffer.ctypes, ws.integers.ctypes, ws.spectra.shape[1])
