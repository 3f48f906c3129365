r"""Cross-checks with general conic solvers: SCS and Clarabel called directly, and cvxpy.

For symmetric β the problem is ``min ½⟨X, β[X]⟩ − ⟨α, X⟩`` over X ⪰ 0. For a monotone β that is not
symmetric it is the convex program ``min ⟨X, β[X] − α⟩`` over X ⪰ 0, β[X] − α ⪰ 0, whose minimum is
0 where the problem has a solution. Data are scaled to ‖α‖ = ‖β‖ = 1 first, because the solvers stop
on absolute residuals; their answers are certified like any other candidate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ccpsolve._certificate import certify_problem
from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._solution import Solution
from ccpsolve._solver.cvxpy_model import cvxpy_problem, require
from ccpsolve._symmetric import smat, svec

__all__ = [
    "BACKENDS",
    "ConicProgram",
    "conic_program",
    "cvxpy_problem",
    "normalised",
    "solve_conic",
]

Array = NDArray[np.float64]

_TIGHTEST = 1e-13
"""Smallest tolerance handed to an external solver; below it they stall."""

_SAFETY = 1e-3
"""Factor of the tolerance handed over: their residuals are not our natural residual."""

_ITERATIONS = 100_000


class ConicProgram(NamedTuple):
    """``min ½xᵀPx + qᵀx`` subject to ``b − Ax`` in a product of ``cones`` PSD cones of order k.

    Vectors are in svec coordinates, which are also those of SCS.
    """

    P: sparse.csc_matrix
    q: Array
    A: sparse.csc_matrix
    b: Array
    cones: int


Answer: TypeAlias = tuple[Array | None, int]
"""X, or None where the solver found nothing, and its iterations."""


def conic_program(problem: ConeComplementarityProblem) -> ConicProgram:
    """Write the problem in the standard form of SCS and Clarabel.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        With a monotone β, k ≥ 1.

    Returns
    -------
    ConicProgram
        Whose minimiser is svec of the solution.

    Examples
    --------
    >>> import ccpsolve
    >>> from ccpsolve._solver.conic import conic_program
    >>> program = conic_program(ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]]))
    >>> float(program.P[0, 0]), float(program.q[0]), program.cones
    (2.0, -3.0, 1)
    """
    alpha, n = svec(problem.alpha), problem.n
    if problem.symmetric:
        return ConicProgram(
            sparse.csc_matrix(problem.beta),
            -alpha,
            -sparse.identity(n, format="csc"),
            np.zeros(n),
            1,
        )
    return ConicProgram(
        sparse.csc_matrix(problem.beta + problem.beta.T),
        -alpha,
        sparse.vstack([-sparse.identity(n), sparse.csc_matrix(-problem.beta)], format="csc"),
        np.concatenate([np.zeros(n), -alpha]),
        2,
    )


def solve_conic(problem: ConeComplementarityProblem, method: str, tol: float) -> Solution:
    """Solve with an external solver and certify its answer.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data.
    method : {"scs", "clarabel", "cvxpy"}
        The solver; "cvxpy" takes cvxpy's default for the problem.
    tol : float
        Largest natural residual of an answer that is SOLVED.

    Returns
    -------
    Solution
        Never raises for a problem without solution: look at ``status``.

    Raises
    ------
    MissingBackendError
        If the solver is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> solution = ccpsolve.solve_ccp(np.diag([2.0, -1.0]), np.eye(3), method="scs")
    >>> np.allclose(solution.X, np.diag([2.0, 0.0]), atol=1e-9), solution.method
    (True, 'scs')
    """
    from ccpsolve._solve import judged

    X, iterations = np.zeros_like(problem.alpha), 0
    if problem.k:
        scaled, unit = normalised(problem)
        found, iterations = BACKENDS[method](scaled, max(_SAFETY * tol, _TIGHTEST))
        X = X if found is None else unit * found
    return judged(problem, X, certify_problem(problem, X), iterations, method, tol)


def normalised(
    problem: ConeComplementarityProblem,
) -> tuple[ConeComplementarityProblem, float]:
    """Return the problem scaled to ‖α‖ = ‖β‖ = 1, and the unit of its solution."""
    alpha_scale = float(np.linalg.norm(problem.alpha)) or 1.0
    beta_scale = float(np.linalg.norm(problem.beta)) or 1.0
    scaled = ConeComplementarityProblem(problem.alpha / alpha_scale, problem.beta / beta_scale)
    return scaled, alpha_scale / beta_scale


def _solve_scs(problem: ConeComplementarityProblem, tol: float) -> Answer:
    scs = require("scs")
    program = conic_program(problem)
    solver = scs.SCS(
        {"P": sparse.triu(program.P, format="csc"), "A": program.A, "b": program.b, "c": program.q},
        {"s": [problem.k] * program.cones},
        eps_abs=tol,
        eps_rel=tol,
        max_iters=_ITERATIONS,
        verbose=False,
    )
    found = solver.solve()
    info = found["info"]
    solved = info["status"].startswith("solved")
    return (smat(found["x"]) if solved else None), info["iter"]


def _solve_clarabel(problem: ConeComplementarityProblem, tol: float) -> Answer:
    clarabel = require("clarabel")
    program = conic_program(problem)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
    order = _by_columns(problem.k)
    rows = np.concatenate([order + problem.n * cone for cone in range(program.cones)])
    solver = clarabel.DefaultSolver(
        sparse.triu(program.P, format="csc"),
        program.q,
        program.A[rows],
        program.b[rows],
        [clarabel.PSDTriangleConeT(problem.k)] * program.cones,
        settings,
    )
    found = solver.solve()
    infeasible = (clarabel.SolverStatus.PrimalInfeasible, clarabel.SolverStatus.DualInfeasible)
    x = np.array(found.x)
    useful = found.status not in infeasible and np.isfinite(x).all()
    return (smat(x) if useful else None), found.iterations


def _by_columns(k: int) -> NDArray[np.intp]:
    """Return the positions in our svec of the upper triangle read column by column (Clarabel)."""
    position = np.zeros((k, k), dtype=np.intp)
    position[np.triu_indices(k)] = np.arange(k * (k + 1) // 2)
    columns, rows = np.tril_indices(k)
    return position[rows, columns]


def _solve_cvxpy(problem: ConeComplementarityProblem, tol: float) -> Answer:
    """Let cvxpy choose the solver, at that solver's own tolerances."""
    cvxpy = require("cvxpy")
    program = cvxpy_problem(problem)
    try:
        program.solve()
    except cvxpy.error.SolverError:
        return None, 0
    X = program.variables()[0].value
    iterations = getattr(program.solver_stats, "num_iters", None) or 0
    finite = X is not None and np.isfinite(X).all()
    return (0.5 * (X + X.T) if finite else None), int(iterations)


BACKENDS: dict[str, Callable[[ConeComplementarityProblem, float], Answer]] = {
    "scs": _solve_scs,
    "clarabel": _solve_clarabel,
    "cvxpy": _solve_cvxpy,
}
"""The external solvers by name: of a normalised problem and a tolerance, not certified."""
