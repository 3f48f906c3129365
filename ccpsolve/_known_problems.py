"""Problems built from their solution: named families, and one generator to order.

A complementary pair X* ⪰ 0, S* ⪰ 0, ⟨X*, S*⟩ = 0 and any operator β give the problem
``CCP(β[X*] − S*, β)``, which X* solves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._symmetric import smat, svec

__all__ = ["FAMILIES", "KnownProblem", "family_problem", "known_problem", "orthogonal_matrix"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KnownProblem:
    """A problem together with its solution.

    Attributes
    ----------
    problem : ConeComplementarityProblem
        The data.
    X, S : ndarray, shape (k, k)
        The complementary pair it was built from.
    rounding : float
        How far (Frobenius norm) the solution of the float64 data may be from X because α had to be
        rounded: ``2⁻⁵³(‖β‖₂‖X‖_F + ‖S‖_F)/λ_min`` up to a small factor, λ_min the smallest
        eigenvalue of the symmetric part; infinite where that is singular and X only one solution.
    """

    problem: ConeComplementarityProblem
    X: Array
    S: Array
    rounding: float

    def error(self, X: Array) -> float:
        """Return ``‖X − X*‖_F``."""
        return float(np.linalg.norm(X - self.X))


def known_problem(
    rng: np.random.Generator,
    k: int,
    rank_X: int,
    rank_S: int | None = None,
    *,
    condition: float = 10.0,
    beta_rank: int | None = None,
    asymmetry: float = 0.0,
    alpha_scale: float = 1.0,
    beta_scale: float = 1.0,
    congruence: float = 1.0,
) -> KnownProblem:
    r"""Build a problem with a solution of given rank, scale and conditioning.

    .. math:: X^* = V \mathrm{diag}(x, 0) V^T, \quad S^* = V \mathrm{diag}(0, s) V^T, \quad
              α = β[X^*] − S^*

    with Haar-distributed V, x and s uniform in [½, 2], and β with eigenvalues log-uniform between
    1/condition and 1 in a Haar-distributed basis.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    k : int
        Order.
    rank_X, rank_S : int
        Ranks of X* and S*; at most k together, ``k − rank_X`` for S* by default (strict
        complementarity).
    condition : float
        Ratio of the extreme non-zero eigenvalues of the symmetric part of β.
    beta_rank : int, optional
        Rank of the symmetric part of β; n by default.
    asymmetry : float
        Frobenius norm of the skew part added to β, relative to that of the symmetric part; β stays
        monotone.
    alpha_scale, beta_scale : float
        Factors of α and β; X* scales by their ratio.
    congruence : float
        Spread of a diagonal congruence: X*, S* and β pass to the coordinates ``D X D`` with
        ``D_i`` powers of two between 1/congruence and congruence.

    Returns
    -------
    KnownProblem
        The problem and its solution.

    Examples
    --------
    >>> import numpy as np
    >>> from ccpsolve.testing import known_problem
    >>> known = known_problem(np.random.default_rng(0), k=4, rank_X=2)
    >>> int(np.linalg.matrix_rank(known.X)), int(np.linalg.matrix_rank(known.S))
    (2, 2)
    >>> bool(abs(np.vdot(known.X, known.S)) < 1e-14)
    True
    """
    rank_S = k - rank_X if rank_S is None else rank_S
    V = orthogonal_matrix(rng, k)
    X = _from_spectrum(V[:, :rank_X], rng.uniform(0.5, 2.0, rank_X))
    S = _from_spectrum(V[:, k - rank_S :], rng.uniform(0.5, 2.0, rank_S))
    beta, lowest = _operator(rng, k, condition, beta_rank, asymmetry)
    D = 2.0 ** np.round(rng.uniform(-1.0, 1.0, k) * np.log2(congruence))
    stretch = np.outer(D, D)
    defect = 2.0**-51 * (np.linalg.norm(beta, 2) * np.linalg.norm(X) + np.linalg.norm(S))
    rounding = defect * stretch.max() / lowest if lowest > 0.0 else np.inf
    weight = stretch[np.triu_indices(k)]
    X, S, beta = X * stretch, S / stretch, beta / np.outer(weight, weight)
    X, S = X * (alpha_scale / beta_scale), S * alpha_scale
    beta = beta * beta_scale
    problem = ConeComplementarityProblem(_image(beta, X) - S, beta)
    return KnownProblem(problem, X, S, float(rounding * alpha_scale / beta_scale))


def orthogonal_matrix(rng: np.random.Generator, k: int) -> Array:
    """Draw an orthogonal matrix from the Haar measure.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    k : int
        Order.

    Returns
    -------
    ndarray, shape (k, k)
        Uniformly distributed on the orthogonal group.

    Examples
    --------
    >>> import numpy as np
    >>> from ccpsolve.testing import orthogonal_matrix
    >>> Q = orthogonal_matrix(np.random.default_rng(0), 3)
    >>> np.allclose(Q @ Q.T, np.eye(3))
    True
    """
    Q, R = np.linalg.qr(rng.standard_normal((k, k)))
    return Q * np.where(R.diagonal() < 0.0, -1.0, 1.0)


def _from_spectrum(vectors: Array, values: Array) -> Array:
    half = vectors * np.sqrt(values)
    return half @ half.T


def _operator(
    rng: np.random.Generator, k: int, condition: float, rank: int | None, asymmetry: float
) -> tuple[Array, float]:
    """Return the svec matrix of β and the smallest eigenvalue of its symmetric part."""
    n = k * (k + 1) // 2
    rank = n if rank is None else min(rank, n)
    values = condition ** -rng.uniform(0.0, 1.0, rank)
    if rank > 1:
        values[0], values[-1] = 1.0, 1.0 / condition
    Q = orthogonal_matrix(rng, n)[:, :rank]
    beta = (Q * values) @ Q.T
    beta = 0.5 * (beta + beta.T)
    if asymmetry:
        skew = rng.standard_normal((n, n))
        skew -= skew.T
        size = np.linalg.norm(skew)
        beta = beta + asymmetry * np.linalg.norm(beta) / (size if size else 1.0) * skew
    return beta, float(values.min(initial=1.0)) if rank == n else 0.0


def _image(beta: Array, X: Array) -> Array:
    """Return β[X] with the rounding of a long accumulator (where the platform has one)."""
    exact = beta.astype(np.longdouble) @ svec(X).astype(np.longdouble)
    return smat(exact.astype(np.float64))


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
}
"""Named kinds of problems, k ≥ 1; ``FAMILIES[name](rng, k)`` draws one.

generic (any rank of X*), interior (S* = 0), boundary (0 < rank X* < k), degenerate
(rank X* + rank S* < k), condition_1e4/1e8/1e12 (of β), rank_deficient (β singular), scaled (α and
β by 1e±12), congruence (coordinates by 1e±3), negative (α ≺ 0, X* = 0), nonsymmetric (monotone β).
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
