"""The public solve functions: validation, the compiled solver, the certificate, the verdict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ccpsolve._arguments import require_count, require_fraction
from ccpsolve._certificate import Certificate, certify_problem
from ccpsolve._errors import InvalidProblemError, SolveError
from ccpsolve._problem import ConeComplementarityProblem, symmetric_matrix
from ccpsolve._solution import Solution
from ccpsolve._solver import many
from ccpsolve._solver.many import Answer, Buffers
from ccpsolve._status import Status
from ccpsolve._verdict import AT_ROUNDING, verdict

__all__ = ["CCPSolver", "judged", "solve_ccp", "solve_problem"]

Array = NDArray[np.float64]

_verdict = verdict  # the name under which `ccpsolve._solver.conic` finds it

_OURS = ("auto", "newton", "interior_point")
_CONIC = ("scs", "clarabel", "cvxpy")


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
        algorithms of ours, the second good for a natural residual of about 1e-8; the others call
        an external solver (extra ``ccpsolve[conic]``).
    throw : bool
        Raise where there is no certified solution; otherwise look at ``status``.

    Returns
    -------
    Solution
        X, S, status, certificate, iterations, method; ``ray`` where the problem is unbounded,
        ``sequence`` where its infimum is not attained.

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
    X = _start(problem, x0)
    if problem.k == 0:
        return Solution(problem, X, X, Status.SOLVED, certify_problem(problem, X), 0, "closed form")
    if method == "interior_point":
        certificate, iterations, used = _interior_point(problem, X)
    else:
        certificate, iterations, used = _newton(problem, X, x0 is not None, method)
    return judged(problem, X, certificate, iterations, used, tol)


def judged(
    problem: ConeComplementarityProblem,
    X: Array,
    certificate: Certificate,
    iterations: int,
    method: str,
    tol: float,
) -> Solution:
    """Put a certified candidate together with its status.

    Where β is not proved positive definite the candidate may solve the problem to any tolerance
    although there is no solution, so that is asked separately.
    """
    status, ray, sequence = verdict(problem, certificate, tol), None, None
    if status is not Status.NOT_MONOTONE and certificate.min_eig_beta <= 0.0:
        from ccpsolve._solver.attainment import judge_attainment

        attainment = judge_attainment(problem)
        if attainment.status is not Status.SOLVED:
            status, ray = attainment.status, attainment.ray
            sequence = attainment.points if status is Status.UNATTAINED else None
            X = attainment.points[-1]
            certificate = certify_problem(problem, X)
    S = problem.apply(X) - problem.alpha
    return Solution(problem, X, S, status, certificate, iterations, method, ray, sequence)


def _check_options(tol: float, method: str) -> None:
    if method not in _OURS + _CONIC:
        allowed = ", ".join(repr(name) for name in _OURS + _CONIC)
        raise InvalidProblemError(f"method is {method!r}; allowed are {allowed}")
    require_fraction(tol=tol)


def _start(problem: ConeComplementarityProblem, x0: ArrayLike | None) -> Array:
    """Return the array that takes the solution, holding the starting point."""
    if x0 is None:
        return np.zeros((problem.k, problem.k))
    X = symmetric_matrix(x0, "x0")
    if X.shape != problem.alpha.shape:
        raise InvalidProblemError(f"x0 has shape {X.shape}; alpha has {problem.alpha.shape}")
    return X


def _newton(
    problem: ConeComplementarityProblem, X: Array, warm: bool, method: str
) -> tuple[Certificate, int, str]:
    """Run the compiled solver from X and, for "auto", what helps where it fails.

    The answer is left in X.
    """
    buffers = many.Buffers.allocate(problem.k)
    certificate, steps, used = _compiled_solve(problem, warm, many.Answer.allocate(X), buffers)
    if method == "auto" and not certificate.natural_residual < AT_ROUNDING:
        from ccpsolve._solver.rescue import rescue

        certificate, more, used = rescue(problem, X, certificate, used)
        steps += more
    return certificate, steps, used


def _compiled_solve(
    problem: ConeComplementarityProblem, warm: bool, answer: Answer, buffers: Buffers
) -> tuple[Certificate, int, str]:
    """Solve and certify in one compiled call, from the point in the answer if ``warm``."""
    data = problem.alpha, problem.beta, problem.symmetric
    many.solve_and_certify_one(*data, warm, answer, buffers)
    steps, route = answer.report.tolist()
    return Certificate(*answer.certificate.tolist()), steps, many.ROUTES[route]


def _interior_point(problem: ConeComplementarityProblem, X: Array) -> tuple[Certificate, int, str]:
    """Run the interior-point method; the answer is left in X."""
    from ccpsolve._solver.driver import allocate
    from ccpsolve._solver.interior_point import interior_point

    data = (problem.alpha, problem.beta, problem.symmetric)
    _, iterations = interior_point(*data, X, 0, *allocate(problem.k))
    return certify_problem(problem, X), iterations, "interior point"


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
        require_count(0, k=k)
        self.k = k
        self._buffers: Buffers | None = None

    def solve(self, alpha: ArrayLike, beta: ArrayLike, x0: ArrayLike | None = None) -> Solution:
        """Solve CCP(α, β); see `solve_ccp`. The status is returned, not raised.

        One thread may use a solver at a time.
        """
        problem = self._problem(alpha, beta)
        if self.k == 0:
            return solve_problem(problem, x0=x0)
        if self._buffers is None:
            self._buffers = many.Buffers.allocate(self.k)
        answer = many.Answer.allocate(_start(problem, x0))
        certificate, steps, used = _compiled_solve(problem, x0 is not None, answer, self._buffers)
        if certificate.min_eig_beta > 0.0 and certificate.natural_residual < AT_ROUNDING:
            return Solution(problem, answer.X, answer.S, Status.SOLVED, certificate, steps, used)
        return solve_problem(problem, x0=x0)

    def _problem(self, alpha: ArrayLike, beta: ArrayLike) -> ConeComplementarityProblem:
        """Validate by compiled code what needs no conversion."""
        n = self.k * (self.k + 1) // 2
        if _is_plain(alpha, self.k) and _is_plain(beta, n):
            matrix, operator = np.array(alpha, order="C"), np.array(beta, order="C")
            kind = many.symmetrise_data(matrix, operator)
            if kind != many.INVALID:
                return ConeComplementarityProblem._validated(matrix, operator, kind == 1)
        problem = ConeComplementarityProblem(alpha, beta)
        if problem.k != self.k:
            raise InvalidProblemError(f"alpha has order {problem.k}; this solver is for {self.k}")
        return problem


def _is_plain(value: object, size: int) -> bool:
    return type(value) is np.ndarray and value.dtype == np.float64 and value.shape == (size, size)
