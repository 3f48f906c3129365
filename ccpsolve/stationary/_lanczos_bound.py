"""Upper bounds on the largest eigenvalue from products only, valid with a stated probability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import scipy.special
from numpy.typing import NDArray

from ccpsolve._arguments import as_generator, require_count, require_fraction

__all__ = ["EigenvalueBound", "deflated_bound", "largest_eigenvalue_bound"]

Array = NDArray[np.float64]

_BREAKDOWN = 1e-13  # a Lanczos residual this small, relative to the spectrum, is an invariant space
_BISECTIONS = 100
_ROUNDING = 1e-14  # of the Lanczos recurrence, relative to the spectrum
_SETTLED = 0.25  # part of the way to ``hopeless`` that is near enough above the target
_BLOCK = 4


@dataclass(frozen=True)
class EigenvalueBound:
    """What a Lanczos run from a random start says about the largest eigenvalue.

    Attributes
    ----------
    value : float
        Upper bound on λ_max, wrong with at most ``failure_probability``.
    lowest : float
        Lower bound on λ_min, wrong with at most ``failure_probability``: another event.
    estimate : float
        The largest Ritz value: a lower bound on λ_max without any doubt.
    vectors, products : ndarray, shape (d, keep)
        Orthonormal Ritz vectors of the largest Ritz values, descending, and A times them.
    steps : int
        Products used.
    failure_probability : float
        ε.
    """

    value: float
    lowest: float
    estimate: float
    vectors: Array
    products: Array
    steps: int
    failure_probability: float

    def without_vectors(self) -> EigenvalueBound:
        """Return the same bound in little memory."""
        return replace(
            self, vectors=self.vectors[:, :0].copy(), products=self.products[:, :0].copy()
        )


def largest_eigenvalue_bound(
    apply: Callable[[Array], Array],
    dimension: int,
    *,
    failure_probability: float = 1e-6,
    rng: np.random.Generator | int | None = None,
    max_steps: int = 20,
    target: float = -np.inf,
    hopeless: float = np.inf,
    deflate: Array | None = None,
    keep: int = 1,
) -> EigenvalueBound:
    r"""Bound λ_max(A) from above by Lanczos steps from a random start.

    After j steps with coefficients β and Ritz values θ, λ_max is below the root x > θ₁ of

    .. math:: \prod_{i=1}^{j} (x - \theta_i)/\beta_i = 1/\delta, \qquad
              \delta^2 = \mathrm{BetaInv}(\varepsilon; \tfrac12, \tfrac{n-1}{2})

    unless the start q has a component γ smaller than δ along the top eigenvector, which happens
    with probability ε: the product is ``|p_j(λ_max)|`` for the Lanczos polynomial with
    ‖p_j(A)q‖ = 1, so that ``|γ|·|p_j(λ_max)| ≤ 1``. The event ``|γ| < δ`` is about q alone and the
    same for every j: outside of it *all* the bounds hold at once. So the smallest is returned,
    and the run may look at each and stop as soon as one is good enough, without sharing ε out
    over the steps.

    Parameters
    ----------
    apply : callable
        ``v ↦ A v`` on vectors (d,), A symmetric.
    dimension : int
        d.
    failure_probability : float
        ε in (0, 1).
    rng : numpy.random.Generator or int, optional
        Source of the start, or its seed; it must be independent of A. Default: fresh entropy.
    max_steps : int
        Products allowed.
    target : float
        Stop as soon as the bound is at most this.
    hopeless : float
        Stop as soon as a Ritz value, hence λ_max, is above this; and, once a Ritz value is above
        ``target``, as soon as the bound is nearer to it than a quarter of the way to this.
    deflate : ndarray, shape (d, k), optional
        Orthonormal columns Q: A is replaced by (I − QQᵀ)A(I − QQᵀ) on the complement of Q.
    keep : int
        Ritz vectors wanted; no more are returned than steps were made.

    Returns
    -------
    EigenvalueBound
        The bound, up to rounding, and the top Ritz pairs.

    Raises
    ------
    InvalidProblemError
        When ``failure_probability`` is not in (0, 1), ``max_steps`` or ``keep`` < 1, or ``rng`` no
        generator and no seed.

    References
    ----------
    van Dorsselaer, Hochstenbach, van der Vorst, SIAM J. Matrix Anal. Appl. 22 (2001) 837-852.

    Examples
    --------
    >>> import numpy as np
    >>> diagonal = np.linspace(-1, 1, 500)
    >>> bound = largest_eigenvalue_bound(
    ...     lambda v: diagonal * v, 500, rng=np.random.default_rng(0), max_steps=60)
    >>> bound.estimate <= 1.0 <= bound.value < 1.05
    True
    """
    require_fraction(failure_probability=failure_probability)
    require_count(max_steps=max_steps, keep=keep)
    rng = as_generator(rng)
    free = dimension - (0 if deflate is None else deflate.shape[1])
    if free <= 0:
        nothing = np.zeros((dimension, 0))
        return EigenvalueBound(-np.inf, np.inf, -np.inf, nothing, nothing, 0, failure_probability)
    log_delta = _log_smallest_component(failure_probability, free)

    basis = _Basis(dimension)
    q = _project(rng.standard_normal(dimension), deflate)
    q /= np.linalg.norm(q)
    diagonal: list[float] = []
    off: list[float] = []
    value = np.inf
    while True:
        steps = len(diagonal) + 1
        basis.append(q)
        w = _project(apply(q), deflate)
        diagonal.append(float(q @ w))
        basis.remove_from(w)
        off.append(float(np.linalg.norm(w)))
        ritz, coefficients = scipy.linalg.eigh_tridiagonal(np.array(diagonal), np.array(off[:-1]))
        invariant = off[-1] <= _BREAKDOWN * np.abs(ritz).max() or steps == free
        bound = ritz[-1] + off[-1] if invariant else _root(ritz, np.array(off), log_delta)
        value = min(value, bound + _ROUNDING * np.abs(ritz).max())
        if invariant or value <= target or ritz[-1] > hopeless or steps == max_steps:
            break
        room = hopeless - ritz[-1]
        if ritz[-1] > target and np.isfinite(room) and value - ritz[-1] <= _SETTLED * room:
            break
        q = w / off[-1]
    rounding = _ROUNDING * np.abs(ritz).max()
    below = -ritz[0] + off[-1] if invariant else _root(-ritz[::-1], np.array(off), log_delta)
    top = slice(None, -min(keep, steps) - 1, -1)
    vectors = basis.combine(coefficients[:, top])
    # A V = V T + w e_mᵀ, so products of Ritz vectors are known without another application
    products = vectors * ritz[top]
    products += np.multiply.outer(w, coefficients[-1, top])
    return EigenvalueBound(
        float(value),
        float(-below - rounding),
        float(ritz[-1]),
        vectors,
        products,
        steps,
        failure_probability,
    )


def deflated_bound(inner: Array, residual_gram: Array, complement: float) -> float:
    r"""Bound λ_max of a symmetric matrix from a subspace and a bound on its complement.

    With orthonormal Q, Θ = QᵀAQ, R = (I − QQᵀ)AQ and u ≥ λ_max on the complement of Q, the smallest
    x > u with :math:`\Theta + R^T R/(x - u) \preceq x I` bounds λ_max(A) (Schur complement).

    Parameters
    ----------
    inner : ndarray, shape (k, k)
        Θ.
    residual_gram : ndarray, shape (k, k)
        RᵀR.
    complement : float
        u.

    Returns
    -------
    float
        The bound, at most ``(a+u)/2 + √(((a−u)/2)² + ‖R‖²)`` with a = λ_max(Θ).

    Examples
    --------
    >>> import numpy as np
    >>> A = np.array([[2.0, 0.1], [0.1, 1.0]])
    >>> bound = deflated_bound(A[:1, :1], A[:1, 1:] @ A[1:, :1], A[1, 1])
    >>> bool(np.isclose(bound, np.linalg.eigvalsh(A)[-1], rtol=1e-12))
    True
    """
    if inner.size == 0:
        return complement
    top = float(np.linalg.eigvalsh(inner)[-1])
    if not np.isfinite(complement):
        return top if complement < 0 else np.inf
    spread = float(np.linalg.eigvalsh(residual_gram)[-1])
    low = max(top, complement)
    high = (top + complement) / 2 + np.hypot((top - complement) / 2, np.sqrt(max(spread, 0.0)))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        schur = inner + residual_gram / (middle - complement)
        if np.linalg.eigvalsh(schur)[-1] <= middle:
            high = middle
        else:
            low = middle
    return float(max(high, low))


def _log_smallest_component(failure_probability: float, free: int) -> float:
    if free == 1:
        return 0.0
    square = scipy.special.betaincinv(0.5, (free - 1) / 2, failure_probability)
    return 0.5 * float(np.log(max(square, np.finfo(float).tiny)))


def _root(ritz: Array, off: Array, log_delta: float) -> float:
    """Solve Σ log((x − θ_i)/β_i) = −log δ for x > θ₁ by bisection on log(x − θ₁)."""
    right = float(np.log(off).sum()) - log_delta
    gaps = ritz[-1] - ritz
    # all factors are at least x − θ₁, and at most x − θ₁ + the spread of the Ritz values
    high = right / len(ritz)
    low = right - (len(ritz) - 1) * float(np.logaddexp(high, np.log(gaps[0] + 1e-300)))
    low = min(low, high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if np.log(np.exp(middle) + gaps).sum() < right:
            low = middle
        else:
            high = middle
    return float(ritz[-1] + np.exp(high))


class _Basis:
    """Orthonormal vectors, stored in blocks so that memory grows with the steps really taken."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._blocks: list[Array] = []
        self._used = _BLOCK

    def append(self, vector: Array) -> None:
        if self._used == _BLOCK:
            self._blocks.append(np.zeros((_BLOCK, self._dimension)))
            self._used = 0
        self._blocks[-1][self._used] = vector
        self._used += 1

    def remove_from(self, vector: Array) -> None:
        """Orthogonalise a vector in place, twice for accuracy; unused rows are zero."""
        for _ in range(2):
            for block in self._blocks:
                vector -= (block @ vector) @ block

    def combine(self, coefficients: Array) -> Array:
        """Basis times coefficients (m, j), shape (d, j)."""
        total = np.zeros((self._dimension, coefficients.shape[1]), order="F")
        for number, block in enumerate(self._blocks):
            weights = coefficients[number * _BLOCK : (number + 1) * _BLOCK]
            for column, weight in zip(total.T, weights.T, strict=True):
                column += weight @ block[: len(weight)]
        return total


def _project(vector: Array, deflate: Array | None) -> Array:
    if deflate is None:
        return vector.copy()
    for _ in range(2):
        vector = vector - deflate @ (deflate.T @ vector)
    return vector
