"""Problems whose answer is known, for tests, benchmarks and bug reports.

`known_problem` builds a problem from a solution of given ranks, scale and conditioning; `FAMILIES`
holds the named kinds our own tests and benchmarks use; `known_problems` and `symmetric_matrices`
are Hypothesis strategies; `unbounded_problem` and `unattained_problem` have no solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccpsolve._errors import MissingBackendError
from ccpsolve._known_problems import KnownProblem, known_problem, orthogonal_matrix
from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._problem_families import FAMILIES, family_problem

__all__ = [
    "FAMILIES",
    "KnownProblem",
    "family_problem",
    "known_problem",
    "known_problems",
    "orthogonal_matrix",
    "symmetric_matrices",
    "unattained_problem",
    "unbounded_problem",
]

Array = NDArray[np.float64]


def unbounded_problem() -> tuple[ConeComplementarityProblem, Array]:
    """Return a problem without solution, and the direction that proves it.

    Returns
    -------
    problem : ConeComplementarityProblem
        With k = 2 and a singular β.
    ray : ndarray, shape (2, 2)
        D ⪰ 0 with β[D] = 0 and ⟨α, D⟩ > 0, along which the objective falls without bound.

    Examples
    --------
    >>> import numpy as np
    >>> from ccpsolve.testing import unbounded_problem
    >>> problem, ray = unbounded_problem()
    >>> float(np.vdot(problem.alpha, ray)), float(abs(problem.apply(ray)).max())
    (1.0, 0.0)
    """
    problem = ConeComplementarityProblem(np.diag([1.0, 1.0]), np.diag([1.0, 1.0, 0.0]))
    return problem, np.diag([0.0, 1.0])


def unattained_problem() -> tuple[ConeComplementarityProblem, Callable[[float], Array]]:
    r"""Return a problem whose infimum is finite and not attained, and a minimising sequence.

    .. math:: q(X) = ½X_{11}^2 + ½(X_{12} − 1)^2 − ½, \qquad \inf q = −½

    Returns
    -------
    problem : ConeComplementarityProblem
        With k = 2 and a singular β.
    point : callable
        ``point(t)`` for t > 0 is feasible with ``q = −½ + 1/(2t²)``, and grows like t.

    Examples
    --------
    >>> from ccpsolve.testing import unattained_problem
    >>> problem, point = unattained_problem()
    >>> point(10.0)
    array([[ 0.1,  1. ],
           [ 1. , 10. ]])
    """
    # ½(X₁₂ − 1)² = ¼y² − y/√2 + ½ with y = √2 X₁₂, so β_yy = ½ and α = ½ off the diagonal
    problem = ConeComplementarityProblem([[0.0, 0.5], [0.5, 0.0]], np.diag([1.0, 0.5, 0.0]))
    return problem, lambda t: np.array([[1.0 / t, 1.0], [1.0, t]])


def known_problems(families: Sequence[str] | None = None, *, min_k: int = 1, max_k: int = 6) -> Any:
    """Return a Hypothesis strategy for problems with known solutions.

    Parameters
    ----------
    families : sequence of str, optional
        Keys of `FAMILIES`; all by default.
    min_k, max_k : int
        Range of the order.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of `KnownProblem`; shrinks towards small orders and the first family.

    Raises
    ------
    MissingBackendError
        If Hypothesis is not installed.

    Examples
    --------
    >>> from hypothesis import given
    >>> from ccpsolve.testing import known_problems
    >>> @given(known_problems(["interior"], max_k=3))
    ... def test_slack_vanishes(known):
    ...     assert not known.S.any()
    >>> test_slack_vanishes()
    """
    strategies = _hypothesis_strategies()
    return strategies.builds(
        family_problem,
        strategies.sampled_from(list(FAMILIES if families is None else families)),
        strategies.integers(min_k, max_k),
        strategies.integers(0, 2**32 - 1),
    )


def symmetric_matrices(k: int, *, magnitude: float = 10.0) -> Any:
    """Return a Hypothesis strategy for symmetric k×k matrices.

    Parameters
    ----------
    k : int
        Order.
    magnitude : float
        Largest absolute value of an entry.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of arrays of shape (k, k); entries shrink towards 0.

    Raises
    ------
    MissingBackendError
        If Hypothesis is not installed.

    Examples
    --------
    >>> from hypothesis import given
    >>> from ccpsolve.testing import symmetric_matrices
    >>> @given(symmetric_matrices(3))
    ... def test_symmetric(X):
    ...     assert (X == X.T).all()
    >>> test_symmetric()
    """
    strategies = _hypothesis_strategies()
    entries = strategies.floats(-magnitude, magnitude, allow_subnormal=False)
    n = k * (k + 1) // 2

    def assemble(values: list[float]) -> Array:
        X = np.zeros((k, k))
        X[np.triu_indices(k)] = values
        return X + np.triu(X, 1).T

    return strategies.lists(entries, min_size=n, max_size=n).map(assemble)


def _hypothesis_strategies() -> Any:
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise MissingBackendError(
            "hypothesis is not installed; it comes with: pip install 'ccpsolve[test]'"
        ) from error
    return strategies
