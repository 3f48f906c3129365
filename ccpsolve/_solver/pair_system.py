"""The linear system (M + D) d = b of a Newton step, by factorisation or by conjugate gradients.

The unknown has one entry for each pair (i, j), i ≤ j, i < r. Forming ``M = WβWᵀ`` costs far more
than its factorisation where k is large, so there the product with M is applied (two changes of
basis and one product with β) in conjugate gradients, preconditioned by the factor from an earlier
step if X had the same rank then, by a diagonal else. A step that needs too many products is left,
and the system is factorised: the work wasted is at most half of that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ccpsolve._lapack import cholesky_factor, cholesky_solve, lu_factor, lu_solve
from ccpsolve._linking import exported
from ccpsolve._numba import inline, jit
from ccpsolve._solver.congruence import congruence, pairs_below, to_basis, to_original
from ccpsolve._solver.dual_system import dual_pays, dual_trial
from ccpsolve._solver.svec_kernels import apply, copy, dot, norm
from ccpsolve._solver.workspace import (
    BETA,
    DIRECTION,
    FACTOR,
    FACTOR_RANK,
    FIRST,
    FRAME,
    IMAGE,
    MATRIX_FREE,
    MEAN_DIAGONAL,
    MIXED,
    PRECONDITIONED,
    REMAINDER,
    ROWS,
    SLACK,
    STEP,
    SYMMETRIC,
    SYSTEM,
    TRIAL,
    TRIAL_SLACK,
    VALUES,
    WORKSPACE,
    Workspace,
    X,
    open_workspace,
)
from ccpsolve._view import view

__all__ = [
    "DIRECT_ORDER",
    "MATRIX_FREE_ORDER",
    "boundary_trial",
    "factor_and_solve",
    "old_factor_trial",
]

Array = NDArray[np.float64]

DIRECT_ORDER = 11  # up to this order a factorisation costs less than a few products
MATRIX_FREE_ORDER = 15


@inline
def _budget(k: int, preconditioned: bool) -> int:
    """Choose the number of steps that cost half as much as forming and factorising M.

    A step preconditioned by an old factor takes two solves and four changes of basis more.
    """
    return k * k * k // (900 if preconditioned else 300)


@jit(internal=True)
def _solve_factored(system: Array, right: Array, ws: Workspace) -> None:
    """Overwrite ``right`` by the solution, given what `factor_and_solve` left in ``system``."""
    if ws.scalars[SYMMETRIC] != 0.0:
        cholesky_solve(system, right)
    else:
        lu_solve(system, ws.pivots, right)


@jit(internal=True)
def factor_and_solve(system: Array, right: Array, ws: Workspace) -> bool:
    """Overwrite ``right`` by the solution; False where the system is singular."""
    if ws.scalars[SYMMETRIC] != 0.0:
        factored = cholesky_factor(system)
    else:
        factored = lu_factor(system, ws.pivots)
    if factored:
        _solve_factored(system, right, ws)
    return factored


@inline
def _set_mixed_terms(r: int, gamma: float, ws: Workspace) -> None:
    """Write D: s_j/x_i with x_i = values_i, s_j = −values_j/γ on pairs i < r ≤ j, 0 else."""
    values, mixed = ws.spectra[VALUES], ws.vectors[MIXED]
    k = values.shape[0]
    index = 0
    for i in range(r):
        for j in range(i, k):
            mixed[index] = -values[j] / (gamma * values[i]) if j >= r else 0.0
            index += 1


@inline
def _solve_directly(beta: Array, pairs: Array, r: int, ws: Workspace) -> bool:
    """Overwrite ``pairs`` by the solution; the factor is kept for later steps."""
    system = congruence(beta, ws.squares[ROWS], r, ws)
    for i in range(pairs.shape[0]):
        system[i, i] += ws.vectors[MIXED, i]
    ws.scalars[FACTOR_RANK] = 0.0
    if not factor_and_solve(system, pairs, ws):
        return False
    ws.scalars[FACTOR_RANK] = r
    for i in range(ws.spectra.shape[1]):
        copy(ws.squares[ROWS, i], ws.squares[FRAME, i])
    return True


@inline
def _product(beta: Array, p: Array, r: int, ws: Workspace, out: Array) -> None:
    """Apply the system: out ← (M + D) p."""
    rows, mixed = ws.squares[ROWS], ws.vectors[MIXED]
    to_original(p, rows, r, ws, ws.vectors[SLACK])
    apply(beta, ws.vectors[SLACK], ws.vectors[TRIAL_SLACK])
    to_basis(ws.vectors[TRIAL_SLACK], rows, r, ws, out)
    for i in range(p.shape[0]):
        out[i] += mixed[i] * p[i]


@inline
def _precondition(remainder: Array, r: int, ws: Workspace, out: Array) -> None:
    """Solve with the factor from an earlier step in its own basis, or with a diagonal."""
    m = remainder.shape[0]
    if ws.scalars[FACTOR_RANK] != r:
        for i in range(m):
            out[i] = remainder[i] / (ws.scalars[MEAN_DIAGONAL] + ws.vectors[MIXED, i])
        return
    factor = view(ws.operators[SYSTEM][: m * m], (m, m))
    to_original(remainder, ws.squares[ROWS], r, ws, ws.vectors[SLACK])
    to_basis(ws.vectors[SLACK], ws.squares[FRAME], r, ws, out)
    _solve_factored(factor, out, ws)
    to_original(out, ws.squares[FRAME], r, ws, ws.vectors[SLACK])
    to_basis(ws.vectors[SLACK], ws.squares[ROWS], r, ws, out)


@exported(types.int64(types.int64, types.float64, types.int64, *WORKSPACE))
def _solve_by_products(
    r: int, accuracy: float, budget: int, buffer: Any, integers: Any, k: int
) -> int:
    ws = open_workspace(buffer, integers, k)
    n, m = ws.vectors.shape[1], pairs_below(r, k)
    beta, right = view(ws.operators[BETA], (n, n)), ws.operators[FIRST][:m]
    solution, remainder = ws.vectors[TRIAL][:m], ws.vectors[REMAINDER][:m]
    direction, image = ws.vectors[DIRECTION][:m], ws.vectors[IMAGE][:m]
    preconditioned = ws.vectors[PRECONDITIONED][:m]
    copy(right, remainder)
    for i in range(m):
        solution[i] = direction[i] = 0.0
    start, last = norm(right), 1.0
    goal = accuracy * start
    for iteration in range(budget):
        _precondition(remainder, r, ws, preconditioned)
        product = dot(remainder, preconditioned)
        if not product > 0.0:
            return 0
        for i in range(m):
            direction[i] = preconditioned[i] + product / last * direction[i]
        last = product
        _product(beta, direction, r, ws, image)
        curvature = dot(direction, image)
        if not curvature > 0.0:
            return 0
        length = product / curvature
        for i in range(m):
            solution[i] += length * direction[i]
            remainder[i] -= length * image[i]
        size = norm(remainder)
        if size <= goal:
            return 1
        behind = iteration - 1  # by more than two steps, on the way to the goal
        if behind >= 1 and size > start * accuracy ** (behind / budget):
            return 0
    return 0


@inline
def _conjugate_gradients(r: int, accuracy: float, budget: int, ws: Workspace) -> bool:
    """Solve for the right-hand side in FIRST, to the relative accuracy, into TRIAL.

    False where that takes more than ``budget`` products.
    """
    k = ws.spectra.shape[1]
    solved = _solve_by_products(r, accuracy, budget, ws.buffer.ctypes, ws.integers.ctypes, k)
    return solved != 0


@jit(internal=True)
def boundary_trial(beta: Array, r: int, gamma: float, accuracy: float, ws: Workspace) -> bool:
    """Set the trial point to X + dX for 0 < r < k; False where the linear system is singular.

    An accuracy of 0 asks for a factorisation.
    """
    rows, x, trial = ws.squares[ROWS], ws.vectors[X], ws.vectors[TRIAL]
    k = rows.shape[0]
    pairs = ws.operators[FIRST][: pairs_below(r, k)]
    _set_mixed_terms(r, gamma, ws)
    solved = False
    old_factor = ws.scalars[FACTOR_RANK] == r
    order = DIRECT_ORDER if old_factor else MATRIX_FREE_ORDER
    worthwhile = ws.scalars[MATRIX_FREE] != 0.0 or old_factor
    if accuracy > 0.0 and worthwhile and k > order and ws.scalars[SYMMETRIC] != 0.0:
        to_basis(ws.vectors[STEP], rows, r, ws, pairs)
        solved = _conjugate_gradients(r, accuracy, _budget(k, old_factor), ws)
        if not solved and not old_factor:
            ws.scalars[MATRIX_FREE] = 0.0
    if not solved:
        if dual_pays(r, ws) and dual_trial(r, gamma, ws):
            return True
        to_basis(ws.vectors[STEP], rows, r, ws, trial)
        solved = _solve_directly(beta, trial[: pairs.shape[0]], r, ws)
    copy(trial[: pairs.shape[0]], pairs)
    to_original(pairs, rows, r, ws, trial)
    for i in range(x.shape[0]):
        trial[i] = x[i] - trial[i]
    return solved


@jit(internal=True)
def old_factor_trial(beta: Array, r: int, gamma: float, ws: Workspace) -> None:
    """Set the trial point to X + dX by the factor from an earlier step with the same r > 0."""
    n, rows = beta.shape[0], ws.squares[ROWS]
    step, x, trial = ws.vectors[STEP], ws.vectors[X], ws.vectors[TRIAL]
    if r == rows.shape[0]:
        copy(step, trial)
        position = FACTOR if ws.scalars[SYMMETRIC] != 0.0 else SYSTEM
        _solve_factored(view(ws.operators[position], (n, n)), trial, ws)
    else:
        m = pairs_below(r, rows.shape[0])
        factor = view(ws.operators[SYSTEM][: m * m], (m, m))
        to_basis(step, ws.squares[FRAME], r, ws, trial)
        _solve_factored(factor, trial[:m], ws)
        to_original(trial[:m], ws.squares[FRAME], r, ws, trial)
    for i in range(n):
        trial[i] = x[i] - trial[i]
