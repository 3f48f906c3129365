"""Proximal-point loop around the Newton method: slower, and it gets through where Newton cycles.

Each outer step solves the better conditioned problem CCP(α + εX⁻, β + εI), X⁻ the last solution, by
Newton's method started at X⁻; ε falls from step to step. For monotone β the iterates converge to a
solution if there is one (Rockafellar, doi:10.1137/0314056), singular β included; if there is none,
‖X‖ grows without bound, and how fast tells which case it is (`ccpsolve._solver.attainment`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import jit
from ccpsolve._solver.newton import newton
from ccpsolve._solver.svec_kernels import copy, norm, slack
from ccpsolve._solver.workspace import (
    ALPHA,
    BEST,
    BETA,
    CENTER,
    DIAGONAL,
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


@jit
def set_shift(shift: float, ws: Workspace) -> None:
    """Make the problem of the workspace CCP(α + shift·CENTER, β + shift·I)."""
    n = ws.vectors.shape[1]
    for i in range(n):
        ws.operators[BETA, i * n + i] = ws.vectors[DIAGONAL, i] + shift
        ws.vectors[TARGET, i] = ws.vectors[ALPHA, i] + shift * ws.vectors[CENTER, i]


@jit
def _newton_from_best(
    norm_beta: float, norm_alpha: float, symmetric: bool, limit: int, ws: Workspace
) -> tuple[float, int]:
    """Start Newton's method at the point in BEST."""
    n = ws.vectors.shape[1]
    beta, trial = ws.operators[BETA].reshape(n, n), ws.vectors[TRIAL]
    copy(ws.vectors[BEST], trial)
    slack(beta, trial, ws.vectors[TARGET], ws.vectors[TRIAL_SLACK])
    return newton(norm_beta, norm_alpha, symmetric, limit, ws)


@jit
def proximal_step(
    shift: float, norm_beta: float, norm_alpha: float, symmetric: bool, ws: Workspace
) -> tuple[float, int]:
    """Solve CCP(α + shift·CENTER, β + shift·I) from CENTER to BEST; return residual and count."""
    set_shift(shift, ws)
    copy(ws.vectors[CENTER], ws.vectors[BEST])
    size = norm_alpha + shift * norm(ws.vectors[CENTER])
    return _newton_from_best(norm_beta + shift, size, symmetric, _INNER_STEPS, ws)


@jit
def proximal(
    norm_beta: float, norm_alpha: float, symmetric: bool, ws: Workspace
) -> tuple[float, int]:
    """Run the loop from X = 0; the best X is left in BEST.

    Returns its residual and the number of linear systems solved.
    """
    center, best = ws.vectors[CENTER], ws.vectors[BEST]
    for i in range(center.shape[0]):
        center[i] = 0.0
    shift, smallest, total = _FIRST_SHIFT, np.inf, 0
    for _ in range(_OUTER_STEPS):
        residual, count = proximal_step(shift * norm_beta, norm_beta, norm_alpha, symmetric, ws)
        total += count
        if not residual < _INNER_ACCURACY:
            shift = min(_GROW * shift, _LARGEST_SHIFT)
            if shift == _LARGEST_SHIFT and not residual < np.inf:
                break
            continue
        copy(best, center)
        set_shift(0.0, ws)
        smallest, count = _newton_from_best(norm_beta, norm_alpha, symmetric, _LAST_STEPS, ws)
        total += count
        if smallest < _SOLVED:
            break
        shift = max(_SHRINK * shift, _SMALLEST_SHIFT)
    set_shift(0.0, ws)
    return smallest, total
