"""The named families of problems with known solutions that tests and benchmarks draw from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ccpsolve._known_problems import (
    KnownProblem,
    complementary_pair,
    known_problem,
    problem_with_solution,
)

__all__ = ["FAMILIES", "family_problem"]


def _ranks(rng: np.random.Generator, k: int) -> int:
    """Draw a rank strictly between 0 and k where there is one."""
    return int(rng.integers(1, k)) if k > 1 else int(rng.integers(0, 2))


def _degenerate(rng: np.random.Generator, k: int) -> KnownProblem:
    rank_X = int(rng.integers(0, k))
    rank_S = int(rng.integers(0, k - rank_X))
    return known_problem(rng, k, rank_X, rank_S)


def _rank_deficient(rng: np.random.Generator, k: int) -> KnownProblem:
    n = k * (k + 1) // 2
    return known_problem(rng, k, _ranks(rng, k), beta_rank=int(rng.integers(n // 2, n)))


def _scaled(rng: np.random.Generator, k: int) -> KnownProblem:
    alpha_scale, beta_scale = 10.0 ** rng.uniform(-12.0, 12.0, 2)
    return known_problem(
        rng, k, _ranks(rng, k), alpha_scale=float(alpha_scale), beta_scale=float(beta_scale)
    )


def _extreme_scales(rng: np.random.Generator, k: int) -> KnownProblem:
    alpha_scale, beta_scale = 10.0 ** rng.uniform(-60.0, 60.0, 2)
    return known_problem(
        rng, k, _ranks(rng, k), alpha_scale=float(alpha_scale), beta_scale=float(beta_scale)
    )


def _few_weights(rng: np.random.Generator, k: int) -> KnownProblem:
    """Draw β = ½JJᵀ with J of d < n columns, as of a network with fewer weights than pairs."""
    n = k * (k + 1) // 2
    J = rng.standard_normal((n, int(rng.integers(1, n)) if n > 1 else 0))
    rank_X = _ranks(rng, k)
    X, S = complementary_pair(rng, k, rank_X, k - rank_X)
    return problem_with_solution(0.5 * (J @ J.T), X, S, np.inf)


def _indefinite_by_rounding(rng: np.random.Generator, k: int) -> KnownProblem:
    n = k * (k + 1) // 2
    rank = int(rng.integers(n // 2, n)) if n > 1 else 1
    return known_problem(rng, k, _ranks(rng, k), beta_rank=rank, negative=2.0**-53)


def _everything(rng: np.random.Generator, k: int) -> KnownProblem:
    rank_X = int(rng.integers(0, k + 1))
    alpha_scale, beta_scale = 10.0 ** rng.uniform(-12.0, 12.0, 2)
    return known_problem(
        rng,
        k,
        rank_X,
        int(rng.integers(0, k - rank_X + 1)),
        condition=10.0 ** rng.uniform(0.0, 12.0),
        asymmetry=float(rng.choice([0.0, 0.5])),
        alpha_scale=float(alpha_scale),
        beta_scale=float(beta_scale),
        congruence=10.0 ** rng.uniform(0.0, 3.0),
    )


FAMILIES: dict[str, Callable[[np.random.Generator, int], KnownProblem]] = {
    "generic": lambda rng, k: known_problem(rng, k, int(rng.integers(0, k + 1))),
    "interior": lambda rng, k: known_problem(rng, k, k),
    "boundary": lambda rng, k: known_problem(rng, k, _ranks(rng, k)),
    "degenerate": _degenerate,
    "condition_1e4": lambda rng, k: known_problem(rng, k, _ranks(rng, k), condition=1e4),
    "condition_1e8": lambda rng, k: known_problem(rng, k, _ranks(rng, k), condition=1e8),
    "condition_1e12": lambda rng, k: known_problem(rng, k, _ranks(rng, k), condition=1e12),
    "rank_deficient": _rank_deficient,
    "scaled": _scaled,
    "congruence": lambda rng, k: known_problem(rng, k, _ranks(rng, k), congruence=1e3),
    "negative": lambda rng, k: known_problem(rng, k, 0),
    "nonsymmetric": lambda rng, k: known_problem(rng, k, _ranks(rng, k), asymmetry=0.5),
    "extreme_scales": _extreme_scales,
    "few_weights": _few_weights,
    "indefinite_by_rounding": _indefinite_by_rounding,
    "everything": _everything,
}
"""Named kinds of problems, k ≥ 1; ``FAMILIES[name](rng, k)`` draws one.

Twelve usual ones: generic (any rank of X*), interior (S* = 0), boundary (0 < rank X* < k),
degenerate (rank X* + rank S* < k), condition_1e4/1e8/1e12 (of β), rank_deficient (β singular),
scaled (α and β by 1e±12), congruence (coordinates by 1e±3), negative (α ≺ 0, X* = 0), nonsymmetric
(monotone β).

Four more: extreme_scales (α and β by 1e±60), few_weights (β = ½JJᵀ with d < n columns),
indefinite_by_rounding (negative eigenvalues of β about 1e-16), everything (any ranks, condition to
1e12, scales, congruence and asymmetry at once).
"""


def family_problem(name: str, k: int, seed: int) -> KnownProblem:
    """Draw a problem of a named family.

    Parameters
    ----------
    name : str
        A key of `FAMILIES`.
    k : int
        Order, at least 1.
    seed : int
        The same seed gives the same problem.

    Returns
    -------
    KnownProblem
        The problem and its solution.

    Examples
    --------
    >>> from ccpsolve.testing import family_problem
    >>> family_problem("negative", 3, seed=0).X.any()
    np.False_
    """
    return FAMILIES[name](np.random.default_rng(seed), k)
