r"""A matrix-free method: Ritz vectors of P⁻¹H, and the whole problem solved on their span.

V (d×m) and W = HV are kept. On the span the Hessian is LLᵀ and the preconditioner problem costs no
product (`solve_reduced`); it returns p and E = V·C, with HE known. New directions are the
P-residuals ``P⁻¹HE/2 − E``, and those of other Ritz vectors of P⁻¹H that may still become critical.
F = P⁻¹HE/2 satisfies the dual constraint ‖F_i‖² ≤ ½ by itself, and lies in the enlarged span: so
every iteration has a lower bound without further products.

The rank is that of the reduced solution. The method stops on the certificate; when its random start
finds an eigenvalue above 2 that the subspace has missed, that Ritz vector joins the subspace.
"""

from __future__ import annotations

import logging

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ccpsolve.stationary._candidate import Candidate
from ccpsolve.stationary._certificate import relative_gap
from ccpsolve.stationary._certifier import Certifier
from ccpsolve.stationary._lanczos_bound import deflated_bound
from ccpsolve.stationary._problem import StationaryProblem
from ccpsolve.stationary._reduced import solve_reduced
from ccpsolve.stationary._span import Ritz, Span, row_blocks, weighted_gram

__all__ = ["solve_subspace"]

_logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

_COLUMNS, _COLUMNS_LARGE, _LARGE = 48, 12, 200_000  # columns of V kept; fewer from `_LARGE` on
_FIRST_BLOCK = 4  # random columns of a cold start
_WARM_BLOCK = 2  # random columns beside a start that was given
_KRYLOV_STEPS = 2  # steps of P⁻¹H on the random columns before the first reduced problem
_PARTICIPATING = 0.4  # Ritz values above this part of the largest enter the reduced problem
_USEFUL = 1e-3  # below this part none does
_MOST_PARTICIPANTS = 20
_REDUCED_WORK = 1e10  # d·n², n = m(m+1)/2, that one Newton step on m participants may cost
_NEAR = 1.2  # Ritz values from here on may become critical (critical is 2)
_EXTRA, _EXTRA_LARGE = 4, 2  # new columns an iteration beyond those of E
_ASSUMED_COMPLEMENT = 1.5  # guess of λ_max on the complement while it is not bounded
_DEPENDENT = 1e-10
_VANISHING = 1e-9  # eigenvalues of Y below this, relative, are dropped
_SMALLEST = 1e-10  # smallest p, relative to its mean
_SLACK = 0.5  # part of the tolerance that an estimate must reach before a certificate is tried
_LANCZOS_STEPS = 20  # of the first certificate; doubled in each further one
_IDLE = 20  # iterations without a new direction (p may still move) before giving up


def solve_subspace(
    problem: StationaryProblem,
    certifier: Certifier,
    *,
    start: Array | None = None,
    basis: Array | None = None,
    rng: np.random.Generator,
    max_iterations: int = 500,
    max_products: float = np.inf,
    max_columns: int | None = None,
) -> Candidate:
    """Solve from products H·V alone.

    Parameters
    ----------
    problem : StationaryProblem
        The data.
    certifier : Certifier
        Asked when the estimated gap is below the tolerance; its verdict ends the solve.
    start : ndarray, shape (d, r), optional
        E of a nearby problem.
    basis : ndarray, shape (d, m), optional
        Further directions that may be nearly critical.
    rng : numpy.random.Generator
        Source of the first block.
    max_iterations, max_products
        Budget.
    max_columns : int, optional
        Columns of V kept before a restart. Memory is about twice that many vectors.

    Returns
    -------
    Candidate
        Its p and E have been certified.
    """
    large = problem.d > _LARGE
    limit = max_columns or min(problem.d, _COLUMNS_LARGE if large else _COLUMNS)
    extra = _EXTRA_LARGE if large else _EXTRA
    span, p = _begin(problem, start, basis, rng, limit)
    attempts = idle = iteration = 0
    for iteration in range(1, max_iterations + 1):
        p = _solve_on_span(span, p, certifier.tol)
        rank = span.C.shape[1]
        if span.columns + rank + extra > span.capacity:
            _restart(span, p, max(rank, min(limit // 2, span.capacity - rank - extra)))
        added, bound = _expand(span, p, certifier.tol, extra)
        dual = span.dual_value()
        estimate = _estimated_gap(problem, p, dual, bound)
        _logger.debug(
            "subspace %d: %d products, %d columns, rank %d, estimated gap %.3g",
            *(iteration, problem.hessian.products, span.columns, span.C.shape[1], estimate),
        )
        left = max_products - problem.hessian.products - _LANCZOS_STEPS
        promising = estimate <= _SLACK * certifier.tol
        idle = idle + 1 if added == 0 else 0
        if promising or left <= 0 or idle > _IDLE or iteration == max_iterations:
            steps = int(min(_LANCZOS_STEPS * 2**attempts, max(left, 0) + _LANCZOS_STEPS))
            _certify(certifier, span, p, dual, steps)
            attempts += 1
            if certifier.done or left <= 0 or idle > _IDLE:
                break
    E = np.zeros((problem.d, 0)) if certifier.best is None else certifier.best.E
    note = _note(idle, iteration, max_iterations)
    return Candidate(p, E, iteration, note, idle > _IDLE, span.V.copy())


def _note(idle: int, iteration: int, max_iterations: int) -> str:
    if idle > _IDLE:
        return "no residual was left outside the span"
    budget = "iterations" if iteration == max_iterations else "products"
    return f"the {budget} allowed were spent"


def _restart(span: Span, p: Array, count: int) -> None:
    """Keep range(E) and the Ritz vectors of the largest Ritz values beside it."""
    ritz, gram = span.ritz(p)
    others = ritz.T[:, _share_of_E(span, gram, ritz.T) < 0.5]
    kept = np.hstack([span.C, others[:, : max(count - span.C.shape[1], 0)]])
    factor = np.linalg.cholesky(gram)
    axes, weights, _ = np.linalg.svd(factor.T @ kept, full_matrices=False)
    axes = axes[:, weights > _DEPENDENT * weights.max(initial=0.0)]
    span.keep(scipy.linalg.solve_triangular(factor.T, axes), gram)


def _begin(
    problem: StationaryProblem,
    start: Array | None,
    basis: Array | None,
    rng: np.random.Generator,
    capacity: int,
) -> tuple[Span, Array]:
    """First columns and a first preconditioner, from a nearby solution or at random."""
    span = Span(problem, capacity)
    if start is not None and start.any():
        _, span.C = span.append(start.copy(), np.ones(problem.d))
        if basis is not None:
            span.append(basis.copy(), np.ones(problem.d))
        p = np.sqrt(problem.c**2 + 0.5 * _row_squares(span.W @ span.C))
        added = min(_WARM_BLOCK, problem.d - span.columns)
        span.extend(rng.standard_normal((problem.d, added)))
    else:
        added = min(_FIRST_BLOCK, problem.d)
        span.extend(rng.standard_normal((problem.d, added)))
        # rows of H are as long as those of HV for Gaussian V, on average
        p = np.sqrt(problem.c**2 + _row_squares(span.W) / max(added, 1))
    p = _floored(problem, p)
    for _ in range(_KRYLOV_STEPS):
        if added:
            added, _ = span.append(span.W[:, span.columns - added :] / p[:, None], p)
    return span, p


def _solve_on_span(span: Span, p: Array, tol: float) -> Array:
    """Solve the reduced problem; sets E = V·C and returns its preconditioner."""
    ritz, gram = span.ritz(p)
    take = _participants(span, ritz, p)
    theta, T = ritz.values[take], ritz.T[:, take]
    first = None
    if span.C.shape[1]:
        B = np.sqrt(theta)[:, None] * (T.T @ gram @ span.C)
        first = B @ B.T
    found = solve_reduced(
        span.W, span.problem.c, first, transform=T / np.sqrt(theta), tol=1e-3 * tol
    )
    weights, axes = np.linalg.eigh(found.Y) if found.Y.size else (np.zeros(0), found.Y)
    kept = weights > _VANISHING * max(float(weights.max(initial=0.0)), 0.0)
    B = axes[:, kept] * np.sqrt(weights[kept])
    span.C = T @ (B / np.sqrt(theta)[:, None])
    return _floored(span.problem, found.p)


def _participants(span: Span, ritz: Ritz, p: Array) -> NDArray[np.bool_]:
    """Ritz vectors whose part of H enters the reduced problem.

    The largest do; of the others those whose rank-one part Hu(Hu)ᵀ/θ is no larger than λ_max, as
    it is for H ⪰ 0: of an indefinite H it may be far too large where u is no good.
    """
    theta = ritz.values
    largest = max(float(theta.max(initial=0.0)), np.finfo(np.float64).tiny)
    image = ritz.T.T @ weighted_gram(span.W, 1 / p) @ ritz.T
    take = (theta > _PARTICIPATING * largest) | (
        (theta > _USEFUL * largest) & (np.diagonal(image) <= 1.1 * largest * theta)
    )
    # fewer where d makes the Hessian of the reduced problem dear, or singular (n > d)
    affordable = int(np.sqrt(2 * min(np.sqrt(_REDUCED_WORK / len(p)), len(p))))
    most = min(max(affordable - 1, 1), _MOST_PARTICIPANTS)
    take[np.flatnonzero(take)[most:]] = False
    return take


def _expand(span: Span, p: Array, tol: float, extra: int) -> tuple[int, float]:
    """Add F = P⁻¹HE/2 and residuals of other near-critical Ritz vectors; E becomes F.

    Returns the number of new columns, and a bound on λ_max(P⁻¹H) that guesses the complement.
    """
    ritz, gram = span.ritz(p)
    rank = span.C.shape[1]
    near = (ritz.values >= _NEAR) & (np.arange(span.columns) < rank + 2 * extra)
    close = Ritz(ritz.values[near], ritz.T[:, near])
    squares = span.residual_gram(close, p)
    bound = deflated_bound(np.diag(close.values), squares, _ASSUMED_COMPLEMENT)
    # Ritz vectors outside E that may still turn out critical
    potential = close.values + np.diagonal(squares) / (2 - _ASSUMED_COMPLEMENT)
    open_ = (potential > 2 * (1 + 0.1 * tol)) & (_share_of_E(span, gram, close.T) < 0.5)
    open_[np.flatnonzero(open_)[extra:]] = False
    chosen = Ritz(close.values[open_], close.T[:, open_])
    added, coefficients = span.append(_directions(span, chosen, p), p)
    span.C = coefficients[:, :rank]
    return added, bound


def _directions(span: Span, chosen: Ritz, p: Array) -> Array:
    """F = P⁻¹HE/2 and the residuals of chosen Ritz vectors, side by side."""
    rank = span.C.shape[1]
    block = np.empty((len(p), rank + len(chosen.values)), order="F")
    for rows in row_blocks(len(p)):
        block[rows, :rank] = 0.5 * (span.W[rows] @ span.C) / p[rows, None]
        block[rows, rank:] = span.residual(chosen, p, rows)
    return block


def _share_of_E(span: Span, gram: Array, T: Array) -> Array:
    """Squared cosine between each Ritz vector V·T and the range of E, in the P-metric."""
    if not span.C.shape[1]:
        return np.zeros(T.shape[1])
    weights, axes = np.linalg.eigh(span.C.T @ gram @ span.C)
    kept = weights > _DEPENDENT * weights[-1]
    range_of_E = span.C @ (axes[:, kept] / np.sqrt(weights[kept]))
    return _row_squares(T.T @ gram @ range_of_E)


def _estimated_gap(problem: StationaryProblem, p: Array, dual: float, bound: float) -> float:
    scaled = np.maximum(max(bound, 0.0) / 2 * p, problem.c)
    return relative_gap(problem.primal_value(scaled), dual)


def _certify(certifier: Certifier, span: Span, p: Array, dual: float, max_steps: int) -> None:
    """Certify p and E; what the random start found beyond the span joins it."""
    E = span.V @ span.C
    nothing = 2 * float(certifier.problem.c.sum())
    if dual < nothing:
        E, dual = E[:, :0], nothing
    near = int((span.ritz(p)[0].values >= _NEAR).sum())
    _restart(span, p, max(near, span.C.shape[1], 1))
    capacity = span.capacity
    span.resize(span.columns)
    certificate = certifier.certify(
        p, E, basis=span.V, products=span.W, max_steps=max_steps, dual=dual
    )
    if certifier.done or certificate.bound is None or certificate.bound.steps == 0:
        return
    span.resize(capacity)
    root = np.sqrt(p)
    x = certificate.bound.vector / root
    # the recurrence knows A on the complement of Q; QᵀAv comes from W
    Hx = root * certificate.bound.product + p * (span.V @ (span.W.T @ x))
    span.extend(x[:, None], Hx[:, None])


def _floored(problem: StationaryProblem, p: Array) -> Array:
    """Raise p where it vanishes: the metric must be definite."""
    total = float(p.sum())
    return np.maximum(p, _SMALLEST * total / problem.d if total > 0 else 1.0)


def _row_squares(matrix: Array) -> Array:
    return np.einsum("ij,ij->i", matrix, matrix)
