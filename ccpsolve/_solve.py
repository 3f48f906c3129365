"""The public solve functions: validation, the compiled solver, the certificate, the verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ccpsolve._certificate import Certificate, certify_problem
from ccpsolve._errors import InvalidProblemError, SolveError
from ccpsolve._problem import ConeComplementarityProblem, symmetric_matrix
from ccpsolve._solution import Solution
from ccpsolve._status import Status

__all__ = ["CCPSolver", "solve_ccp", "solve_problem"]

Array = NDArray[np.float64]

_logger = logging.getLogger(__name__)

_OURS = ("auto", "newton", "interior_point")
_CONIC = ("scs", "clarabel", "cvxpy")

_ALMOST = 1e-6
"""Natural residual up to which an answer less accurate than asked for is ALMOST_SOLVED."""

_ROUNDING_OF_EIGENVALUES = 4e-16
"""Per n, relative to ‖B‖: how negative rounding alone can make the smallest eigenvalue of B ⪰ 0."""


def solve_ccp(
    alpha: ArrayLike,
    beta: ArrayLike | Callable[[Array], ArrayLike],
    *,
    x0: ArrayLike | None = None,
    tol: float = 1e-10,
    method: str = "auto",
    throw: bool = True,
) -> Solution:
    r"""Solve the cone complementarity problem CCP(α, β), and certify the answer.

    Find X with

    .. math:: X ⪰ 0, \qquad S := β[X] − α ⪰ 0, \qquad ⟨X, S⟩ = 0.

    For symmetric β ⪰ 0 this is ``min_{X ⪰ 0} ½⟨X, β[X]⟩ − ⟨α, X⟩``.

    Parameters
    ----------
    alpha : array_like, shape (k, k)
        Symmetric matrix α.
    beta : array_like, shape (n, n) or (k, k, k, k), or callable
        The operator β on Sym_k, as for `ConeComplementarityProblem`; n = k(k+1)/2.
    x0 : array_like, shape (k, k), optional
        A symmetric matrix near the solution, such as the solution for nearby data.
    tol : float
        Largest natural residual (see `Certificate`) of an answer that is SOLVED. The solver goes
        on to rounding level where that costs little.
    method : {"auto", "newton", "interior_point", "scs", "clarabel", "cvxpy"}
        "auto" is Newton's method with its fallbacks; "newton" and "interior_point" are single
        algorithms of ours; the others call an external solver (extra ``ccpsolve[conic]``).
    throw : bool
        Raise where there is no certified solution; otherwise look at ``status``.

    Returns
    -------
    Solution
        X, S, status, certificate, iterations, method; ``ray`` where the problem is unbounded.

    Raises
    ------
    InvalidProblemError
        If an argument is not valid; the message names it.
    SolveError
        If the status is not SOLVED or ALMOST_SOLVED and ``throw`` is set; its ``solution`` holds
        what was found.

    References
    ----------
    Cohen, Damian, Talwalkar, Kolter, Lee, arXiv:2410.24206, Definition 8 and Lemma 5.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> solution = ccpsolve.solve_ccp(np.diag([2.0, -1.0]), np.eye(3))
    >>> solution.X
    array([[2., 0.],
           [0., 0.]])
    >>> solution.status.name, solution.certificate.error_bound < 1e-12
    ('SOLVED', True)
    """
    _check_options(tol, method)
    problem = ConeComplementarityProblem(alpha, beta)
    solution = solve_problem(problem, x0=x0, tol=tol, method=method)
    if throw and not solution.status.ok:
        raise SolveError(_failure(solution), solution)
    return solution


def solve_problem(
    problem: ConeComplementarityProblem,
    *,
    x0: ArrayLike | None = None,
    tol: float = 1e-10,
    method: str = "auto",
) -> Solution:
    """Solve validated data; never raises for a problem without solution. See `solve_ccp`."""
    if method in _CONIC:
        from ccpsolve._solver.conic import solve_conic

        return solve_conic(problem, method, tol)
    if problem.k == 0:
        nothing = np.zeros((0, 0))
        certificate = certify_problem(problem, nothing)
        return Solution(problem, nothing, nothing, Status.SOLVED, certificate, 0, "closed form")
    X = _start(problem, x0)
    X, iterations, used = _run(problem, X, x0 is not None)
    certificate = certify_problem(problem, X)
    status = _verdict(problem, certificate, tol)
    return Solution(
        problem, X, problem.apply(X) - problem.alpha, status, certificate, iterations, used
    )


def _check_options(tol: float, method: str) -> None:
    if method not in _OURS + _CONIC:
        allowed = ", ".join(repr(name) for name in _OURS + _CONIC)
        raise InvalidProblemError(f"method is {method!r}; allowed are {allowed}")
    if not 0.0 < tol < 1.0:
        raise InvalidProblemError(f"tol is {tol!r}; a number between 0 and 1 is needed")


def _start(problem: ConeComplementarityProblem, x0: ArrayLike | None) -> Array:
    """Return the array that takes the solution, holding the starting point."""
    if x0 is None:
        return np.zeros_like(problem.alpha)
    X = symmetric_matrix(x0, "x0")
    if X.shape != problem.alpha.shape:
        raise InvalidProblemError(f"x0 has shape {X.shape}; alpha has {problem.alpha.shape}")
    return X


def _run(problem: ConeComplementarityProblem, X: Array, warm: bool) -> tuple[Array, int, str]:
    """Call the compiled solver; return X, the number of linear systems solved, and the method."""
    from ccpsolve._solver.driver import ROUTES, allocate, solve_with_buffers

    buffer, integers = allocate(problem.k)
    _, iterations, route = solve_with_buffers(
        problem.alpha, problem.beta, problem.symmetric, warm, X, buffer, integers
    )
    return X, iterations, ROUTES[route]


def _verdict(problem: ConeComplementarityProblem, certificate: Certificate, tol: float) -> Status:
    """Judge an answer by its certificate."""
    if certificate.min_eig_beta <= 0.0 and not _is_monotone(problem):
        return Status.NOT_MONOTONE
    if certificate.natural_residual <= tol:
        return Status.SOLVED
    if certificate.natural_residual <= _ALMOST:
        return Status.ALMOST_SOLVED
    return Status.NUMERICAL_ERROR


def _is_monotone(problem: ConeComplementarityProblem) -> bool:
    """Whether the symmetric part of β is positive semidefinite to rounding."""
    beta = problem.beta / np.abs(problem.beta).max(initial=np.finfo(float).tiny)
    eigenvalues = np.linalg.eigvalsh(0.5 * (beta + beta.T))
    rounding = _ROUNDING_OF_EIGENVALUES * problem.n * np.abs(eigenvalues).max()
    if eigenvalues[0] < -rounding:
        return False
    if eigenvalues[0] < 0.0:
        _logger.info(
            "beta has the eigenvalue %.1e relative to its norm, which is rounding: taken as 0",
            eigenvalues[0] / np.abs(eigenvalues).max(),
        )
    return True


def _failure(solution: Solution) -> str:
    residual = solution.certificate.natural_residual
    return f"{solution.status.name}: {solution.status.message} (natural residual {residual:.1e})"


class CCPSolver:
    """Solve many problems of the same order with one set of work arrays.

    Parameters
    ----------
    k : int
        Order of the matrices.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> solver = ccpsolve.CCPSolver(2)
    >>> solver.solve(np.diag([2.0, -1.0]), np.eye(3)).X
    array([[2., 0.],
           [0., 0.]])
    """

    def __init__(self, k: int) -> None:
        if k < 0:
            raise InvalidProblemError(f"k is {k}; a non-negative integer is needed")
        self.k = k

    def solve(self, alpha: ArrayLike, beta: ArrayLike, x0: ArrayLike | None = None) -> Solution:
        """Solve CCP(α, β); see `solve_ccp`. The status is returned, not raised."""
        problem = ConeComplementarityProblem(alpha, beta)
        if problem.k != self.k:
            raise InvalidProblemError(f"alpha has order {problem.k}; this solver is for {self.k}")
        return solve_problem(problem, x0=x0)
