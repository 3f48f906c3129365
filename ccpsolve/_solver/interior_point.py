"""Interior-point method with Nesterov–Todd scaling: slow, and independent of the Newton method.

X ≻ 0 and S ≻ 0 approach ``XS = μI`` for falling μ. With G such that ``G⁻¹XG⁻ᵀ = GᵀSG = Λ`` is
diagonal, a step solves, in the scaled coordinates ``dX = G dx Gᵀ``, ``ds = Gᵀ dS G``,

    dx + ds = H,    ds = WβWᵀ dx + W(β[X] − α − S),    (WβWᵀ + I) dx = H − W(β[X] − α − S),

where H aims at σμI (predictor σ = 0, then Mehrotra's corrector). It needs β monotone, symmetric or
not, and gets close to a solution in some fifteen steps from anywhere, but not to rounding level.

References
----------
Todd, Toh, Tütüncü, doi:10.1137/S105262349630060X (the direction); Kojima, Shindoh, Hara,
doi:10.1137/S1052623494269035 (monotone complementarity problems).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._lapack import cholesky_factor, cholesky_solve, gemm, lu_factor, lu_solve
from ccpsolve._linking import exported
from ccpsolve._numba import inline, jit
from ccpsolve._solver.congruence import congruence, to_basis, to_original
from ccpsolve._solver.newton import newton
from ccpsolve._solver.scaling import prepare, unscale
from ccpsolve._solver.spectrum import decompose
from ccpsolve._solver.svec_kernels import apply, dot, norm, pack, slack, unpack
from ccpsolve._solver.workspace import (
    BEST,
    BETA,
    CENTER,
    FRAME,
    LEFT,
    MIDDLE,
    NORM_ALPHA,
    NORM_BETA,
    RIGHT,
    ROOTS,
    ROWS,
    SCALE,
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
    make_workspace,
    open_workspace,
)
from ccpsolve._view import view

__all__ = ["interior_point"]

Array = NDArray[np.float64]

_STEPS = 60
_FRACTION = 0.99  # of the way to the boundary of the cone
_GOAL = 1e-16  # μ and ‖β[X] − α − S‖, relative to the data: nothing is left to gain
_SHORTEST = 1e-8  # a step this short says that rounding has taken over


@inline
def _set_frame(ws: Workspace) -> bool:
    """Put the rows of Gᵀ into FRAME and √Λ into ROOTS; False where X has left the cone."""
    k = ws.spectra.shape[1]
    factor, left, product = ws.squares[MIDDLE], ws.squares[LEFT], ws.squares[RIGHT]
    unpack(ws.vectors[X], factor)
    if not cholesky_factor(factor):
        return False
    for i in range(k):
        for j in range(i + 1, k):
            factor[i, j] = 0.0
    unpack(ws.vectors[S], left)
    gemm(True, False, 1.0, factor, left, 0.0, product)
    gemm(False, False, 1.0, product, factor, 0.0, left)
    pack(left, ws.vectors[STEP])
    decompose(ws.vectors[STEP], ws)
    values, frame = ws.spectra[VALUES], ws.squares[FRAME]
    if not values[k - 1] > 0.0:
        return False
    gemm(False, True, 1.0, ws.squares[ROWS], factor, 0.0, frame)
    for i in range(k):
        root = math.sqrt(math.sqrt(values[i]))
        ws.spectra[ROOTS, i] = root
        for j in range(k):
            frame[i, j] /= root
    return True


@inline
def _factor_system(ws: Workspace) -> bool:
    """Form and factorise WβWᵀ + I."""
    n = ws.vectors.shape[1]
    beta = view(ws.operators[BETA], (n, n))
    system = congruence(beta, ws.squares[FRAME], ws.spectra.shape[1], ws)
    for i in range(n):
        system[i, i] += 1.0
    ws.scalars[STEPS] += 1.0
    if ws.scalars[SYMMETRIC] != 0.0:
        return cholesky_factor(system)
    return lu_factor(system, ws.pivots)


@jit(internal=True)
def _direction(goal: float, correct: bool, ws: Workspace) -> None:
    """Solve for dx (TRIAL) and ds (TRIAL_SLACK) aiming at μ = goal.

    The residual in the frame is in CENTER. With ``correct`` the product of the dx and ds that are
    there is compensated.
    """
    n, k = ws.vectors.shape[1], ws.spectra.shape[1]
    system = view(ws.operators[SYSTEM], (n, n))
    dx, ds, h, roots = (
        ws.vectors[TRIAL],
        ws.vectors[TRIAL_SLACK],
        ws.vectors[STEP],
        ws.spectra[ROOTS],
    )
    for i in range(n):
        h[i] = 0.0
    if correct:
        left, right, product = ws.squares[LEFT], ws.squares[MIDDLE], ws.squares[RIGHT]
        unpack(dx, left)
        unpack(ds, right)
        gemm(False, False, -1.0, left, right, 0.0, product)
        pack(product, h)
    index = 0
    for i in range(k):
        h[index] += goal - roots[i] ** 4
        for j in range(i, k):
            h[index] *= 2.0 / (roots[i] ** 2 + roots[j] ** 2)
            index += 1
    for i in range(n):
        dx[i] = h[i] - ws.vectors[CENTER, i]
    if ws.scalars[SYMMETRIC] != 0.0:
        cholesky_solve(system, dx)
    else:
        lu_solve(system, ws.pivots, dx)
    for i in range(n):
        ds[i] = h[i] - dx[i]


@jit(internal=True)
def _longest_step(direction: Array, ws: Workspace) -> float:
    """Return the largest t with Λ + t·direction ⪰ 0, at most 1e30."""
    roots, scaled = ws.spectra[ROOTS], ws.vectors[STEP]
    index = 0
    for i in range(roots.shape[0]):
        for j in range(i, roots.shape[0]):
            scaled[index] = direction[index] / (roots[i] * roots[j])
            index += 1
    decompose(scaled, ws)
    return 1.0 / max(-ws.spectra[VALUES, roots.shape[0] - 1], 1e-30)


@inline
def _centering(mu: float, ws: Workspace) -> float:
    """Mehrotra's σ, from the gap that the predictor step would leave."""
    dx, ds, roots = ws.vectors[TRIAL], ws.vectors[TRIAL_SLACK], ws.spectra[ROOTS]
    k = roots.shape[0]
    length = min(1.0, min(_longest_step(dx, ws), _longest_step(ds, ws)))
    gap = length * length * dot(dx, ds)
    index = 0
    for i in range(k):
        gap += roots[i] ** 4 + length * roots[i] ** 2 * (dx[index] + ds[index])
        index += k - i
    return min(1.0, max(0.0, gap / (k * mu)) ** 3)


@inline
def _start(ws: Workspace) -> None:
    """X = ξI and S = ηI, of the size of the data."""
    k = ws.spectra.shape[1]
    x, s = ws.vectors[X], ws.vectors[S]
    for i in range(x.shape[0]):
        x[i] = s[i] = 0.0
    index = 0
    for i in range(k):
        x[index] = 1.0 + ws.scalars[NORM_ALPHA] / ws.scalars[NORM_BETA]
        s[index] = ws.scalars[NORM_ALPHA] + ws.scalars[NORM_BETA]
        index += k - i


@inline
def _move(length: float, ws: Workspace) -> None:
    """X ← X + t·dX and S ← S + t·(β[dX] + residual)."""
    n, k = ws.vectors.shape[1], ws.spectra.shape[1]
    change, image = ws.vectors[STEP], ws.vectors[CENTER]
    to_original(ws.vectors[TRIAL], ws.squares[FRAME], k, ws, change)
    apply(view(ws.operators[BETA], (n, n)), change, image)
    for i in range(n):
        ws.vectors[X, i] += length * change[i]
        ws.vectors[S, i] += length * (image[i] + ws.vectors[SLACK, i])


@exported(types.void(types.int64, *WORKSPACE))
def _interior_point(limit: int, buffer: Any, integers: Any, k: int) -> None:
    ws = open_workspace(buffer, integers, k)
    n = ws.vectors.shape[1]
    beta, x, residual = view(ws.operators[BETA], (n, n)), ws.vectors[X], ws.vectors[SLACK]
    _start(ws)
    for _ in range(limit):
        slack(beta, x, ws.vectors[TARGET], residual)
        for i in range(n):
            residual[i] -= ws.vectors[S, i]
        scale = ws.scalars[NORM_BETA] * norm(x) + ws.scalars[NORM_ALPHA]
        mu = dot(x, ws.vectors[S]) / k
        if norm(residual) <= _GOAL * scale and mu <= _GOAL * scale * norm(x):
            break
        if not _set_frame(ws) or not _factor_system(ws):
            break
        to_basis(residual, ws.squares[FRAME], k, ws, ws.vectors[CENTER])
        _direction(0.0, False, ws)
        _direction(_centering(mu, ws) * mu, True, ws)
        dx, ds = ws.vectors[TRIAL], ws.vectors[TRIAL_SLACK]
        length = min(1.0, _FRACTION * min(_longest_step(dx, ws), _longest_step(ds, ws)))
        if not length > _SHORTEST:
            break
        _move(length, ws)
    for i in range(n):
        ws.vectors[TRIAL, i] = x[i]
    slack(beta, x, ws.vectors[TARGET], ws.vectors[TRIAL_SLACK])


@jit
def interior_point(
    alpha: Array,
    beta: Array,
    symmetric: bool,
    X: Array,
    newton_steps: int,
    buffer: Array,
    integers: NDArray[np.int32],
) -> tuple[float, int]:
    """Solve one problem, k ≥ 1, with a workspace cut from the caller's buffers; the answer is in X.

    At most ``newton_steps`` steps of Newton's method polish it. Returns the residual in the
    equilibrated problem and the number of steps.
    """
    k = alpha.shape[0]
    ws = make_workspace(buffer, integers, k)
    unit = prepare(alpha, beta, int(symmetric), 1, ws)
    _interior_point(_STEPS, ws.buffer.ctypes, ws.integers.ctypes, k)
    residual = newton(newton_steps, ws)
    unscale(ws.vectors[BEST], unit, ws.spectra[SCALE], X)
    return residual, int(ws.scalars[STEPS])
