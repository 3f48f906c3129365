"""The order in which the algorithms are tried, as one compiled function."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import jit
from ccpsolve._solver.first_order import gradient_start
from ccpsolve._solver.newton import newton
from ccpsolve._solver.proximal import proximal
from ccpsolve._solver.scaling import equilibrate, scale_start, unscale
from ccpsolve._solver.svec_kernels import norm, slack
from ccpsolve._solver.workspace import (
    BEST,
    BETA,
    NORM_ALPHA,
    NORM_BETA,
    SCALE,
    SYMMETRIC,
    SYSTEMS,
    TARGET,
    TRIAL,
    TRIAL_SLACK,
    Workspace,
    integer_size,
    make_workspace,
    workspace_size,
)

__all__ = ["ROUTES", "allocate", "solve_kernel", "solve_with_buffers"]

Array = NDArray[np.float64]

ROUTES = ("closed form", "newton", "proximal newton", "interior point")
"""The algorithms that can give the answer; kernels return the index."""

CLOSED_FORM, NEWTON, PROXIMAL, INTERIOR_POINT = range(4)

_GRADIENT_STEPS = 5
_NEWTON_STEPS = 12
_SOLVED = 1e-13  # residual above which the next algorithm is tried


@jit
def _row_norm(beta: Array) -> float:
    """Largest row norm of β, a lower bound of its spectral norm."""
    largest = 0.0
    for i in range(beta.shape[0]):
        total = 0.0
        for j in range(beta.shape[1]):
            total += beta[i, j] * beta[i, j]
        largest = max(largest, total)
    return math.sqrt(largest)


@jit
def solve_kernel(
    alpha: Array, beta: Array, symmetric: bool, warm: bool, X: Array, ws: Workspace
) -> tuple[float, int, int]:
    """Solve CCP(α, β), k ≥ 1, from the point in X if ``warm``; the answer is left in X.

    Returns the residual reached in the equilibrated problem, the number of linear systems solved,
    and the algorithm.
    """
    n = ws.vectors.shape[1]
    unit = equilibrate(alpha, beta, ws)
    scaled_beta, target = ws.operators[BETA].reshape(n, n), ws.vectors[TARGET]
    ws.scalars[NORM_BETA], ws.scalars[NORM_ALPHA] = _row_norm(scaled_beta), norm(target)
    ws.scalars[SYMMETRIC], ws.scalars[SYSTEMS] = 1.0 if symmetric else 0.0, 0.0
    if warm:
        scale_start(X, unit, ws)
        slack(scaled_beta, ws.vectors[TRIAL], target, ws.vectors[TRIAL_SLACK])
    elif not gradient_start(_GRADIENT_STEPS, ws):
        for i in range(alpha.shape[0]):
            for j in range(alpha.shape[0]):
                X[i, j] = 0.0
        return 0.0, 0, CLOSED_FORM
    route, residual = NEWTON, newton(_NEWTON_STEPS, ws)
    if not residual < _SOLVED:
        route, residual = PROXIMAL, proximal(ws)
    unscale(ws.vectors[BEST], unit, ws.spectra[SCALE], X)
    return residual, int(ws.scalars[SYSTEMS]), route


@jit
def solve_with_buffers(
    alpha: Array,
    beta: Array,
    symmetric: bool,
    warm: bool,
    X: Array,
    buffer: Array,
    integers: NDArray[np.int32],
) -> tuple[float, int, int]:
    """Call `solve_kernel` with a workspace cut from the caller's buffers."""
    ws = make_workspace(buffer, integers, alpha.shape[0])
    return solve_kernel(alpha, beta, symmetric, warm, X, ws)


@jit
def allocate(k: int) -> tuple[Array, NDArray[np.int32]]:
    """Return the two buffers of a workspace of order k."""
    return np.empty(workspace_size(k)), np.empty(integer_size(k), np.int32)
