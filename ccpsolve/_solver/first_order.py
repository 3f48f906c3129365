"""Projected-gradient steps with Barzilai–Borwein lengths: a cheap start that finds the rank of X.

``X ← Π(X − t(β[X] − α))`` with t = ⟨ΔX, ΔX⟩/⟨ΔX, β[ΔX]⟩ and ⟨ΔX, β[ΔX]⟩/‖β[ΔX]‖² in turn. A step
costs one eigendecomposition and one product with β, a fraction of a Newton step.

References
----------
Barzilai and Borwein, doi:10.1093/imanum/8.1.141.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._linking import exported
from ccpsolve._numba import inline
from ccpsolve._solver.spectrum import split
from ccpsolve._solver.svec_kernels import apply, copy, dot, slack
from ccpsolve._solver.workspace import (
    BETA,
    CENTER,
    SLACK,
    STEP,
    TARGET,
    TRIAL,
    TRIAL_SLACK,
    WORKSPACE,
    S,
    Workspace,
    X,
    open_workspace,
)
from ccpsolve._view import view

__all__ = ["gradient_start"]

Array = NDArray[np.float64]


@inline
def _barzilai_borwein(short: bool, length: float, dx: Array, dg: Array) -> float:
    """Step length from the change of X and of its slack; the last one where curvature is lost."""
    xg = dot(dx, dg)
    if not xg > 0.0:
        return length
    return xg / dot(dg, dg) if short else dot(dx, dx) / xg


@inline
def _first_step(beta: Array, ws: Workspace) -> float:
    """Go from 0 along Π(α), found in X, to the smallest objective; return the step length."""
    x, image = ws.vectors[X], ws.vectors[SLACK]
    trial, trial_slack, target = ws.vectors[TRIAL], ws.vectors[TRIAL_SLACK], ws.vectors[TARGET]
    apply(beta, x, image)
    curvature = dot(x, image)
    length = dot(x, x) / curvature if curvature > 0.0 else 1.0
    for i in range(x.shape[0]):
        trial[i] = length * x[i]
        trial_slack[i] = length * image[i] - target[i]
    return length


@exported(types.int64(types.int64, *WORKSPACE))
def _gradient_start(steps: int, buffer: Any, integers: Any, k: int) -> int:
    ws = open_workspace(buffer, integers, k)
    n = ws.vectors.shape[1]
    beta, x, target = view(ws.operators[BETA], (n, n)), ws.vectors[X], ws.vectors[TARGET]
    trial, trial_slack = ws.vectors[TRIAL], ws.vectors[TRIAL_SLACK]
    dx, dg, point = ws.vectors[CENTER], ws.vectors[SLACK], ws.vectors[STEP]
    if split(target, 1.0, x, ws.vectors[S], ws) == 0:
        copy(x, trial)
        return 0
    length = _first_step(beta, ws)
    for i in range(n):
        dx[i], dg[i] = trial[i], trial_slack[i] + target[i]
    for step in range(steps):
        length = _barzilai_borwein(step % 2 == 1, length, dx, dg)
        for i in range(n):
            point[i] = trial[i] - length * trial_slack[i]
        split(point, 1.0, x, ws.vectors[S], ws)
        slack(beta, x, target, point)
        for i in range(n):
            dx[i], dg[i] = x[i] - trial[i], point[i] - trial_slack[i]
            trial[i], trial_slack[i] = x[i], point[i]
    return 1


@inline
def gradient_start(steps: int, ws: Workspace) -> bool:
    """Leave a starting point in TRIAL and its slack in TRIAL_SLACK, from X = 0.

    Returns False where α ⪯ 0: then X = 0 is the solution, and it is left in TRIAL.
    """
    return _gradient_start(steps, ws.buffer.ctypes, ws.integers.ctypes, ws.spectra.shape[1]) != 0
