"""What is tried where Newton's method fails: it takes its start from slower and surer methods.

The interior-point method gets near a solution from anywhere, and Newton's method goes on from
there. Where β is singular or nearly so it may still cycle; the proximal loop with a small shift
then closes the gap. The equilibrating congruence, which all of them use, can spoil an answer where
it spans many orders of magnitude: the loop is also run without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ccpsolve._certificate import Certificate, certify_problem
from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._solver.driver import ROUTES, allocate, solve_with_buffers
from ccpsolve._verdict import AT_ROUNDING

__all__ = ["rescue", "solve_surely"]

Array = NDArray[np.float64]

_NEWTON_STEPS = 40
_PROXIMAL_STEPS = 100
_LOOPS = ((1e-6, 1), (1e-6, 0), (1e-10, 1), (1e-4, 0))
"""First shift relative to ‖β‖, and whether to equilibrate: what solved most comes first."""


def rescue(
    problem: ConeComplementarityProblem, X: Array, certificate: Certificate, used: str
) -> tuple[Certificate, int, str]:
    """Improve on an answer until its natural residual is at rounding level.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data, k ≥ 1.
    X : ndarray, shape (k, k)
        The best known point; overwritten where a better one is found.
    certificate : Certificate
        Of that point.
    used : str
        The method it came from.

    Returns
    -------
    certificate : Certificate
        Of what is left in X.
    steps : int
        Taken here, by all methods.
    used : str
        The method that gave the answer.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> from ccpsolve._certificate import certify_problem
    >>> from ccpsolve._solver.rescue import rescue
    >>> problem, X = ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]]), np.zeros((1, 1))
    >>> certificate, _, _ = rescue(problem, X, certify_problem(problem, X), "nothing")
    >>> certificate.natural_residual < 1e-13, X
    (True, array([[1.5]]))
    """
    steps = 0
    for name, attempt in _attempts(problem):
        if certificate.natural_residual < AT_ROUNDING:
            break
        candidate = X.copy()
        steps += attempt(candidate)
        found = certify_problem(problem, candidate)
        if found.natural_residual < certificate.natural_residual:
            X[:], certificate, used = candidate, found, name
    return certificate, steps, used


def _attempts(problem: ConeComplementarityProblem) -> Iterator[tuple[str, Callable[[Array], int]]]:
    """Yield methods by name: they take a point, leave a better one there, and return the steps."""
    from ccpsolve._solver.interior_point import interior_point
    from ccpsolve._solver.proximal import proximal

    data, work = (problem.alpha, problem.beta, problem.symmetric), allocate(problem.k)

    def loop(shift: float, congruence: int, X: Array) -> int:
        return int(proximal(*data, X, shift, _PROXIMAL_STEPS, congruence, *work)[1])

    yield "interior point", lambda X: int(interior_point(*data, X, _NEWTON_STEPS, *work)[1])
    for options in _LOOPS:
        yield "proximal newton", partial(loop, *options)


def solve_surely(problem: ConeComplementarityProblem, X: Array, warm: bool) -> float:
    """Solve by Newton's method, from X if ``warm``, and by `rescue` where that fails.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data, k ≥ 1.
    X : ndarray, shape (k, k)
        Overwritten with the answer.
    warm : bool
        Whether X holds a starting point.

    Returns
    -------
    float
        ``‖β[X] − α − S‖/(‖β‖‖X‖ + ‖α‖)`` with the S ⪰ 0 that belongs to X, or the natural residual.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> from ccpsolve._solver.rescue import solve_surely
    >>> problem = ccpsolve.ConeComplementarityProblem(np.diag([2.0, -1.0]), np.eye(3))
    >>> X = np.zeros((2, 2))
    >>> solve_surely(problem, X, warm=False) < 1e-13
    True
    """
    data = problem.alpha, problem.beta, problem.symmetric
    residual, _, route = solve_with_buffers(*data, warm, X, *allocate(problem.k))
    if residual < AT_ROUNDING:
        return float(residual)
    certificate = certify_problem(problem, X)
    return rescue(problem, X, certificate, ROUTES[route])[0].natural_residual
