"""Proximal-point loop around the Newton method: slower, and it gets through where Newton cycles.

Each outer step solves the better conditioned problem CCP(α + εX⁻, β + εI), X⁻ the last solution, by
Newton's method started at X⁻; ε falls from step to step. For monotone β the iterates converge to a
solution if there is one (Rockafellar, doi:10.1137/0314056), singular β included; if there is none,
‖X‖ grows without bound, and how fast tells which case it is (`ccpsolve._solver.attainment`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import inline, jit
from ccpsolve._solver.newton import newton
from ccpsolve._solver.svec_kernels import copy, slack
from ccpsolve._solver.workspace import (
    ALPHA,
    BEST,
    BETA,
    CENTER,
    DIAGONAL,
    NORM_BETA,
    TARGET,
    TRIAL,
    TRIAL_SLACK,
    Workspace,
)

__all__ = ["proximal", "proximal_step", "set_shift"]

Array = NDArray[np.float64]

_FIRST_SHIFT = 0.03  # of ‖β‖
_SHRINK = 1.0 / 30.0
_GROW = 10.0
_LARGEST_SHIFT = 1.0
_SMALLEST_SHIFT = 1e-14
_OUTER_STEPS = 60
_INNER_STEPS = 8
_LAST_STEPS = 4  # of Newton's method on the problem itself, tried after each outer step
_INNER_ACCURACY = 1e-9
_SOLVED = 1e-13


@inline
def set_shift(shift: float, ws: Workspace) -> None:
    """Make the problem of the workspace CCP(α + shift·CENTER, β + shift·I)."""
    n = ws.vectors.shape[1]
    for i in range(n):
        ws.operators[BETA, i * n + i] = ws.vectors[DIAGONAL, i] + shift
        ws.vectors[TARGET, i] = ws.vectors[ALPHA, i] + shift * ws.vectors[CENTER, i]


@inline
def _newton_from_best(limit: int, ws: Workspace) -> float:
    """Start Newton's method at the point in BEST."""
    n = ws.vectors.shape[1]
    beta, trial = ws.operators[BETA].reshape(n, n), ws.vectors[TRIAL]
    copy(ws.vectors[BEST], trial)
    slack(beta, trial, ws.vectors[TARGET], ws.vectors[TRIAL_SLACK])
    return newton(limit, ws)


@inline
def proximal_step(shift: float, ws: Workspace) -> float:
    """Solve CCP(α + shift·CENTER, β + shift·I) from CENTER to BEST; return the residual."""
    set_shift(shift, ws)
    copy(ws.vectors[CENTER], ws.vectors[BEST])
    return _newton_from_best(_INNER_STEPS, ws)


@jit(internal=True)
def proximal(ws: Workspace) -> float:
    """Run the loop from X = 0; the best X is left in BEST, its residual is returned."""
    center, best = ws.vectors[CENTER], ws.vectors[BEST]
    for i in range(center.shape[0]):
        center[i] = 0.0
    shift, smallest = _FIRST_SHIFT, np.inf
    for _ in range(_OUTER_STEPS):
        residual = proximal_step(shift * ws.scalars[NORM_BETA], ws)
        if not residual < _INNER_ACCURACY:
            if shift == _LARGEST_SHIFT:
                break
            shift = min(_GROW * shift, _LARGEST_SHIFT)
            continue
        copy(best, center)
        set_shift(0.0, ws)
        smallest = _newton_from_best(_LAST_STEPS, ws)
        if smallest < _SOLVED:
            break
        shift = max(_SHRINK * shift, _SMALLEST_SHIFT)
    set_shift(0.0, ws)
    return smallest
