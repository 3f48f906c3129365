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

from ccpsolve._linking import exported
from ccpsolve._numba import inline
from ccpsolve._solver.pair_system import boundary_trial, factor_and_solve
from ccpsolve._solver.spectrum import split
from ccpsolve._solver.svec_kernels import copy, norm, slack
from ccpsolve._solver.workspace import (
    BEST,
    BETA,
    FACTOR_RANK,
    NORM_ALPHA,
    NORM_BETA,
    SLACK,
    STEP,
    STEPS,
    SYSTEM,
    TARGET,
    TRIAL,
    TRIAL_SLACK,
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

_INEXACT, _INEXACT_STEPS = 0.01, 8
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
def _interior_trial(beta: Array, ws: Workspace) -> bool:
    """Set the trial point to β⁻¹[α], the Newton point where Z is positive definite."""
    system = ws.operators[SYSTEM]
    copy(ws.operators[BETA], system)
    copy(ws.vectors[TARGET], ws.vectors[TRIAL])
    ws.scalars[FACTOR_RANK] = 0.0
    return factor_and_solve(system.reshape(beta.shape), ws.vectors[TRIAL], ws)


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
            accuracy = min(_INEXACT, residual**0.5) if iterations < _INEXACT_STEPS else 0.0
            solved = boundary_trial(beta, r, gamma, accuracy, ws)
        else:
            solved = True
            for i in range(n):
                trial[i] = 0.0
        if not solved:
            return smallest
        slack(beta, trial, ws.vectors[TARGET], ws.vectors[TRIAL_SLACK])
        iterations += 1
        ws.scalars[STEPS] += 1.0


@inline
def newton(limit: int, ws: Workspace) -> float:
    """Iterate from TRIAL and TRIAL_SLACK, at most ``limit`` times; the best X met is left in BEST.

    Returns the smallest residual ‖G‖/(‖β‖‖X‖ + ‖α‖) met, inf if there was none.
    """
    return _newton(limit, ws.buffer.ctypes, ws.integers.ctypes, ws.spectra.shape[1])
