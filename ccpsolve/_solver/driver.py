"""One solve as one compiled function: equilibration, a cheap start, Newton's method."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._linking import exported
from ccpsolve._numba import jit
from ccpsolve._solver.first_order import gradient_start
from ccpsolve._solver.newton import newton, refine
from ccpsolve._solver.scaling import prepare, scale_residual, scale_start, unscale
from ccpsolve._solver.svec_kernels import slack
from ccpsolve._solver.workspace import (
    BEST,
    BETA,
    ROUTE,
    SCALE,
    STEPS,
    TARGET,
    TRIAL,
    TRIAL_SLACK,
    WORKSPACE,
    Workspace,
    integer_size,
    make_workspace,
    open_workspace,
    workspace_size,
)
from ccpsolve._view import view

__all__ = [
    "COLD",
    "NEWTON",
    "REFINED",
    "ROUTES",
    "WARM",
    "allocate",
    "solve_kernel",
    "solve_with_buffers",
]

Array = NDArray[np.float64]

CLOSED_FORM, NEWTON = range(2)
ROUTES = ("closed form", "newton")
"""What can give the answer; kernels return the index."""

COLD, WARM, REFINED = range(3)
"""What X holds: nothing, a starting point, or a solution whose svec(R) is in the vector IMAGE."""

_GRADIENT_STEPS = 1
_NEWTON_STEPS = 40

_DOUBLES = types.CPointer(types.float64)


@exported(types.float64(_DOUBLES, _DOUBLES, types.int64, types.int64, _DOUBLES, *WORKSPACE))
def _solve(
    alpha_data: Any,
    beta_data: Any,
    symmetric: int,
    start: int,
    X_data: Any,
    buffer: Any,
    integers: Any,
    k: int,
) -> float:
    ws = open_workspace(buffer, integers, k)
    n = ws.vectors.shape[1]
    X = view(X_data, (k, k))
    unit = prepare(view(alpha_data, (k, k)), view(beta_data, (n, n)), symmetric, 1, ws)
    if start != COLD:
        scale_start(X, unit, ws)
        beta, trial = view(ws.operators[BETA], (n, n)), ws.vectors[TRIAL]
        slack(beta, trial, ws.vectors[TARGET], ws.vectors[TRIAL_SLACK])
    elif not gradient_start(_GRADIENT_STEPS, ws):
        ws.scalars[ROUTE] = CLOSED_FORM
        unscale(ws.vectors[TRIAL], unit, ws.spectra[SCALE], X)
        return 0.0
    ws.scalars[ROUTE] = NEWTON
    if start == REFINED:
        scale_residual(ws)
        residual = refine(ws)
    else:
        residual = newton(_NEWTON_STEPS, ws)
    unscale(ws.vectors[BEST], unit, ws.spectra[SCALE], X)
    return residual


@jit(internal=True)
def solve_kernel(
    alpha: Array, beta: Array, symmetric: bool, start: int, X: Array, ws: Workspace
) -> float:
    """Solve CCP(α, β), k ≥ 1, from X as ``start`` says; the answer is left there.

    Returns the residual reached in the equilibrated problem; the numbers of steps and of
    the algorithm are left in ``ws.scalars``.
    """
    k = alpha.shape[0]
    data = (alpha.ctypes, beta.ctypes, int(symmetric), start, X.ctypes)
    return _solve(*data, ws.buffer.ctypes, ws.integers.ctypes, k)


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
    """Solve one problem with a workspace cut from the caller's buffers.

    Returns the residual in the equilibrated problem, the number of steps, and the index in `ROUTES`
    of the algorithm.
    """
    ws = make_workspace(buffer, integers, alpha.shape[0])
    residual = solve_kernel(alpha, beta, symmetric, WARM if warm else COLD, X, ws)
    return residual, int(ws.scalars[STEPS]), int(ws.scalars[ROUTE])


def allocate(k: int) -> tuple[Array, NDArray[np.int32]]:
    """Return the two buffers of a workspace of order k."""
    return np.empty(workspace_size.py_func(k)), np.empty(integer_size.py_func(k), np.int32)
