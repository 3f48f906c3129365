"""Proximal-point loop around the Newton method: it gets through where Newton's method cycles.

Each outer step solves the better conditioned problem CCP(α + εX⁻, β + εI), X⁻ the last solution, by
Newton's method started at X⁻; ε falls from step to step. For monotone β the iterates converge to a
solution if there is one, from anywhere (Rockafellar, doi:10.1137/0314056), singular β included; a
start near a solution, with a small ε, makes it fast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import inline, jit
from ccpsolve._solver.newton import newton
from ccpsolve._solver.scaling import prepare, scale_start, unscale
from ccpsolve._solver.svec_kernels import copy, slack
from ccpsolve._solver.workspace import (
    ALPHA,
    BEST,
    BETA,
    CENTER,
    DIAGONAL,
    NORM_BETA,
    PIVOT_RATIO,
    SCALE,
    STEPS,
    TARGET,
    TRIAL,
    TRIAL_SLACK,
    Workspace,
    make_workspace,
)
from ccpsolve._view import view

__all__ = ["proximal"]

Array = NDArray[np.float64]

_SHRINK = 1.0 / 30.0
_GROW = 10.0
_LARGEST_SHIFT = 1.0  # of ‖β‖
_SMALLEST_SHIFT = 1e-14
_INNER_STEPS = 8
_LAST_STEPS = 4  # of Newton's method on the problem itself, tried after each outer step
_INNER_ACCURACY = 1e-9
_SOLVED = 1e-13


@inline
def _set_shift(shift: float, ws: Workspace) -> None:
    """Make the problem of the workspace CCP(α + shift·CENTER, β + shift·I)."""
    n = ws.vectors.shape[1]
    ws.scalars[PIVOT_RATIO] = -1.0
    for i in range(n):
        ws.operators[BETA, i * n + i] = ws.vectors[DIAGONAL, i] + shift
        ws.vectors[TARGET, i] = ws.vectors[ALPHA, i] + shift * ws.vectors[CENTER, i]


@inline
def _newton_from_best(limit: int, ws: Workspace) -> float:
    """Start Newton's method at the point in BEST."""
    n = ws.vectors.shape[1]
    beta, trial = view(ws.operators[BETA], (n, n)), ws.vectors[TRIAL]
    copy(ws.vectors[BEST], trial)
    slack(beta, trial, ws.vectors[TARGET], ws.vectors[TRIAL_SLACK])
    return newton(limit, ws)


@inline
def _proximal_step(shift: float, ws: Workspace) -> float:
    """Solve CCP(α + shift·CENTER, β + shift·I) from CENTER to BEST; return the residual."""
    _set_shift(shift, ws)
    copy(ws.vectors[CENTER], ws.vectors[BEST])
    return _newton_from_best(_INNER_STEPS, ws)


@inline
def _loop(first_shift: float, limit: int, ws: Workspace) -> float:
    """Go from CENTER to BEST, in about ``limit`` Newton steps at most; return the residual."""
    center, best = ws.vectors[CENTER], ws.vectors[BEST]
    shift = first_shift
    for _ in range(limit):  # a step may fail, and then is not counted
        if ws.scalars[STEPS] >= limit:
            break
        residual = _proximal_step(shift * ws.scalars[NORM_BETA], ws)
        _set_shift(0.0, ws)
        if residual < _INNER_ACCURACY:
            residual = _newton_from_best(_LAST_STEPS, ws)
            copy(best, center)
            if residual < _SOLVED:
                return residual
            shift = max(_SHRINK * shift, _SMALLEST_SHIFT)
        elif shift == _LARGEST_SHIFT:
            break
        else:
            shift = min(_GROW * shift, _LARGEST_SHIFT)
    copy(center, best)
    return _newton_from_best(0, ws)


@jit
def proximal(
    alpha: Array,
    beta: Array,
    symmetric: bool,
    X: Array,
    first_shift: float,
    limit: int,
    congruence: int,
    buffer: Array,
    integers: NDArray[np.int32],
) -> tuple[float, int]:
    """Run the loop from X, k ≥ 1, with the caller's buffers; the answer is left in X.

    ``first_shift`` is the first ε/‖β‖, ``limit`` the number of Newton steps after which no other ε
    is tried. Returns the residual in the equilibrated problem and the number of steps.
    """
    ws = make_workspace(buffer, integers, alpha.shape[0])
    unit = prepare(alpha, beta, int(symmetric), congruence, ws)
    scale_start(X, unit, ws)
    copy(ws.vectors[TRIAL], ws.vectors[CENTER])
    residual = _loop(first_shift, limit, ws)
    unscale(ws.vectors[BEST], unit, ws.spectra[SCALE], X)
    return residual, int(ws.scalars[STEPS])
