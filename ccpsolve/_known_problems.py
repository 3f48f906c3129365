"""Problems built from their solution, to order.

A complementary pair X* ⪰ 0, S* ⪰ 0, ⟨X*, S*⟩ = 0 and any operator β give the problem
``CCP(β[X*] − S*, β)``, which X* solves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._symmetric import smat, svec

__all__ = [
    "KnownProblem",
    "complementary_pair",
    "known_problem",
    "orthogonal_matrix",
    "problem_with_solution",
]

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
    negative: float = 0.0,
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
    negative : float
        Eigenvalues between 0 and −negative take the place of the zeros of a β of lower rank, as
        rounding does; β is then not quite monotone.
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
    X, S = complementary_pair(rng, k, rank_X, rank_S)
    beta, norm, lowest = _operator(rng, k, condition, beta_rank, negative, asymmetry)
    D = 2.0 ** np.round(rng.uniform(-1.0, 1.0, k) * np.log2(congruence))
    stretch = np.outer(D, D)
    defect = 2.0**-51 * (norm * np.linalg.norm(X) + np.linalg.norm(S))
    rounding = defect * stretch.max() / lowest if lowest > 0.0 else np.inf
    weight = stretch[np.triu_indices(k)]
    X, S, beta = X * stretch, S / stretch, beta / np.outer(weight, weight)
    X, S = X * (alpha_scale / beta_scale), S * alpha_scale
    return problem_with_solution(
        beta * beta_scale, X, S, float(rounding * (alpha_scale / beta_scale))
    )


def problem_with_solution(beta: Array, X: Array, S: Array, rounding: float) -> KnownProblem:
    """Return the problem with this β that the pair (X, S) solves."""
    return KnownProblem(ConeComplementarityProblem(_image(beta, X) - S, beta), X, S, rounding)


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


def complementary_pair(
    rng: np.random.Generator, k: int, rank_X: int, rank_S: int
) -> tuple[Array, Array]:
    """Draw X and S with ⟨X, S⟩ = 0, of the given ranks (together k at most)."""
    V = orthogonal_matrix(rng, k)
    X = _from_spectrum(V[:, :rank_X], rng.uniform(0.5, 2.0, rank_X))
    return X, _from_spectrum(V[:, k - rank_S :], rng.uniform(0.5, 2.0, rank_S))


def _from_spectrum(vectors: Array, values: Array) -> Array:
    half = vectors * np.sqrt(values)
    return half @ half.T


def _operator(
    rng: np.random.Generator,
    k: int,
    condition: float,
    rank: int | None,
    negative: float,
    asymmetry: float,
) -> tuple[Array, float, float]:
    """Return the svec matrix of β, its norm, and the smallest eigenvalue of its symmetric part."""
    n = k * (k + 1) // 2
    rank = n if rank is None else min(rank, n)
    values = condition ** -rng.uniform(0.0, 1.0, rank)
    if rank > 1:
        values[0], values[-1] = 1.0, 1.0 / condition
    Q = orthogonal_matrix(rng, n)
    beta = (Q[:, :rank] * values) @ Q[:, :rank].T
    if negative:
        beta -= (Q[:, rank:] * rng.uniform(0.0, negative, n - rank)) @ Q[:, rank:].T
    beta = 0.5 * (beta + beta.T)
    norm = float(values.max(initial=0.0))
    if asymmetry:
        skew = rng.standard_normal((n, n))
        skew -= skew.T
        size = np.linalg.norm(skew)
        beta = beta + asymmetry * np.linalg.norm(beta) / (size if size else 1.0) * skew
        norm = float(np.linalg.norm(beta, 2))
    return beta, norm, float(values.min(initial=1.0)) if rank == n else 0.0


def _image(beta: Array, X: Array) -> Array:
    """Return β[X] with the rounding of a long accumulator (where the platform has one)."""
    exact = beta.astype(np.longdouble) @ svec(X).astype(np.longdouble)
    return smat(exact.astype(np.float64))
