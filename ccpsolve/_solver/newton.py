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

*Refinement* is one such step at a solution, with a residual that someone evaluated in twice the
working precision: the rounding of G, which an ill-conditioned β magnifies in X, is then gone.

The last step corrects X by less than the eigenvalues of Z, from a residual whose convergence is
known from the step before: X + dX is the answer, without the projection and the residual that would
confirm it. Where a factor of the right rank is at hand that step costs two triangular solves.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._lapack import cholesky_solve
from ccpsolve._linking import exported
from ccpsolve._numba import inline
from ccpsolve._solver.dual_system import factor_beta
from ccpsolve._solver.pair_system import (
    DIRECT_ORDER,
    MATRIX_FREE_ORDER,
    boundary_trial,
    factor_and_solve,
    old_factor_trial,
)
from ccpsolve._solver.spectrum import split
from ccpsolve._solver.svec_kernels import copy, norm, slack
from ccpsolve._solver.workspace import (
    BEST,
    BETA,
    FACTOR,
    FACTOR_RANK,
    IMAGE,
    MATRIX_FREE,
    NORM_ALPHA,
    NORM_BETA,
    PIVOT_RATIO,
    SLACK,
    STEP,
    STEPS,
    SYMMETRIC,
    SYSTEM,
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
from ccpsolve._view import view

__all__ = ["ROUNDING", "newton", "refine"]

Array = NDArray[np.float64]

ROUNDING = 2e-15
"""Residual, per √n, that rounding allows: iterations stop there."""

_GOAL = 1e-15  # residual that the last step aims at
_FORESEEN = 0.01 * _GOAL  # and that its extrapolated convergence must promise
_ROUGH, _SMOOTH = 10.0, 100.0  # times the last step may fit between the eigenvalues of Z and zero
_STAGNATED = 1e-13  # below this a residual that no longer halves is at its rounding level
_SMALLEST_PART = 0.05  # of ‖α‖ for S and of ‖α‖/‖β‖ for X, in the choice of γ

_INEXACT, _INEXACT_STEPS = 0.01, 8
_REFINEMENT = 0.01  # accuracy of the system of a refinement
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
    trial = ws.vectors[TRIAL]
    copy(ws.vectors[TARGET], trial)
    if ws.scalars[SYMMETRIC] != 0.0:
        solved = factor_beta(ws)
        if solved:
            cholesky_solve(view(ws.operators[FACTOR], beta.shape), trial)
    else:
        copy(ws.operators[BETA], ws.operators[SYSTEM])
        solved = factor_and_solve(view(ws.operators[SYSTEM], beta.shape), trial, ws)
    ws.scalars[FACTOR_RANK] = ws.spectra.shape[1] if solved else 0.0
    return solved


@inline
def _is_smooth(r: int, margin: float, ws: Workspace) -> bool:
    """Tell whether Z keeps its rank, and X + dX is as good as its projection, over TRIAL − X."""
    values, x, trial = ws.spectra[VALUES], ws.vectors[X], ws.vectors[TRIAL]
    k = values.shape[0]
    change = 0.0
    for i in range(x.shape[0]):
        change += (trial[i] - x[i]) ** 2
    gap = values[r - 1] if r == k else min(values[r - 1], -values[r])
    return gap > margin * math.sqrt(change)


@inline
def _finish(beta: Array, r: int, gamma: float, residual: float, rate: float, ws: Workspace) -> bool:
    """Take the last step where its outcome is foreseen: to BEST, without another projection.

    A step multiplies the residual by ``rate`` again if it uses the old factor, by its square else.
    """
    k = ws.spectra.shape[1]
    at_rounding = residual < ROUNDING * math.sqrt(beta.shape[0])
    direct = k <= DIRECT_ORDER
    matrix_free = k > MATRIX_FREE_ORDER and ws.scalars[MATRIX_FREE] != 0.0
    cheap = matrix_free or ws.scalars[PIVOT_RATIO] > 0.0
    if ws.scalars[FACTOR_RANK] == r and (at_rounding or (direct and residual * rate < _FORESEEN)):
        old_factor_trial(beta, r, gamma, ws)
    elif r < k and (cheap if at_rounding else residual * rate * rate < _FORESEEN):
        if not boundary_trial(beta, r, gamma, _GOAL / residual, ws):
            return False
    else:
        return False
    if not _is_smooth(r, _ROUGH if at_rounding else _SMOOTH, ws):
        return False
    copy(ws.vectors[TRIAL], ws.vectors[BEST])
    ws.scalars[STEPS] += 1.0
    return True


@inline
def _take_residual(ws: Workspace) -> float:
    """Make TRIAL the current X and BEST, and IMAGE its residual; return the relative size."""
    trial, step = ws.vectors[TRIAL], ws.vectors[STEP]
    copy(trial, ws.vectors[X])
    copy(trial, ws.vectors[BEST])
    copy(ws.vectors[IMAGE], step)
    return norm(step) / (ws.scalars[NORM_BETA] * norm(trial) + ws.scalars[NORM_ALPHA])


@exported(types.float64(types.int64, types.int64, *WORKSPACE))
def _newton(limit: int, refines: int, buffer: Any, integers: Any, k: int) -> float:
    ws = open_workspace(buffer, integers, k)
    n = ws.vectors.shape[1]
    beta, trial = view(ws.operators[BETA], (n, n)), ws.vectors[TRIAL]
    goal = ROUNDING * math.sqrt(n)
    smallest, last, last_rank = np.inf, np.inf, -1
    iterations = 0
    while True:
        r, gamma = _split_trial(ws)
        if refines != 0:
            smallest, accuracy = _take_residual(ws), _REFINEMENT
        else:
            residual = _residual(beta, ws)
            if residual < smallest:
                smallest = residual
                copy(ws.vectors[X], ws.vectors[BEST])
            stagnated = smallest < _STAGNATED and residual > 0.5 * last
            if smallest < _GOAL or stagnated or iterations == limit or not residual < np.inf:
                return smallest
            same_face = r == last_rank and r > 0 and residual == smallest
            if same_face and _finish(beta, r, gamma, residual, residual / last, ws):
                return min(residual, _GOAL)
            if smallest < goal:
                return smallest
            last, last_rank = residual, r
            accuracy = min(_INEXACT, math.sqrt(residual)) if iterations < _INEXACT_STEPS else 0.0
        if r == k:
            solved = _interior_trial(beta, ws)
            if solved and refines != 0:
                old_factor_trial(beta, r, gamma, ws)
        elif r > 0:
            solved = boundary_trial(beta, r, gamma, accuracy, ws)
        else:
            solved = refines == 0
            for i in range(n):
                trial[i] = 0.0
        if not solved:
            return smallest
        if refines != 0:
            copy(trial, ws.vectors[BEST])
            return smallest
        slack(beta, trial, ws.vectors[TARGET], ws.vectors[TRIAL_SLACK])
        iterations += 1
        ws.scalars[STEPS] += 1.0


@inline
def newton(limit: int, ws: Workspace) -> float:
    """Iterate from TRIAL and TRIAL_SLACK, at most ``limit`` times; the best X met is left in BEST.

    Returns the smallest residual ‖G‖/(‖β‖‖X‖ + ‖α‖) met, inf if there was none.
    """
    return _newton(limit, 0, ws.buffer.ctypes, ws.integers.ctypes, ws.spectra.shape[1])


@inline
def refine(ws: Workspace) -> float:
    """Take one step from the solution in TRIAL with the residual in IMAGE; leave it in BEST.

    Returns the residual's size relative to the data.
    """
    return _newton(0, 1, ws.buffer.ctypes, ws.integers.ctypes, ws.spectra.shape[1])
