"""Certified primal and dual values of the stationary preconditioner, from any candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._lanczos_bound import (
    EigenvalueBound,
    deflated_bound,
    largest_eigenvalue_bound,
)
from ccpsolve.stationary._problem import StationaryProblem
from ccpsolve.stationary._semidefinite import is_feasible, smallest_feasible_scale
from ccpsolve.stationary._span import weighted_gram

__all__ = [
    "Certificate",
    "certify_exactly",
    "certify_with_probability",
    "dual_point",
    "relative_gap",
]

Array = NDArray[np.float64]

# tried before an eigenvalue computation
_TINY_SCALINGS = (1.0, 1 + 1e-13, 1 + 1e-11, 1 + 1e-10, 1 + 1e-9)
_CANCELLATION = 1e-14
_DEPENDENT = 1e-12  # Gram eigenvalues below this, relative to the largest, count as zero


@dataclass(frozen=True, eq=False)
class Certificate:
    r"""A primal-feasible p, a dual-feasible Z = EEᵀ, and what they prove.

    ``dual ≤ minimum ≤ primal``; when ``failure_probability`` is positive the right inequality
    (the feasibility of p) holds with at least the complementary probability.

    Attributes
    ----------
    p : ndarray, shape (d,)
        ``max(μ p₀, c)`` for the candidate p₀ and μ ≥ λ_max(P₀⁻¹H)/2: of all feasible points above
        μ p₀ the one with the smallest value.
    E : ndarray, shape (d, r)
        The candidate's factor with rows scaled to ‖E_i‖² ≤ ½; no columns where Z = 0 is better.
    primal, dual : float
        The two values, in the units of H.
    gap : float
        ``(primal − dual)/primal``, between 0 and 1.
    effective_sharpness : float
        Upper bound on λ_max(P₀⁻¹H) *before* scaling, at most 2 where p₀ is feasible by itself.
    failure_probability : float
        0 where H was looked at entry by entry.
    bound : EigenvalueBound or None
        The Lanczos run behind a probabilistic bound.
    """

    p: Array
    E: Array
    primal: float
    dual: float
    gap: float
    effective_sharpness: float
    failure_probability: float = 0.0
    bound: EigenvalueBound | None = None


def relative_gap(primal: float, dual: float) -> float:
    """(primal − dual)/primal, with 0/0 = 0 and rounding below zero cut off."""
    if not np.isfinite(primal):
        return np.inf
    return max(primal - dual, 0.0) / primal if primal > 0 else 0.0


def dual_point(problem: StationaryProblem, E: Array) -> tuple[Array, float]:
    """Scale the rows of any E into the dual-feasible set and value it, at one product a column.

    Parameters
    ----------
    problem : StationaryProblem
        The data.
    E : ndarray, shape (d, r)
        Any factor.

    Returns
    -------
    E : ndarray, shape (d, r) or (d, 0)
        Rows with ‖E_i‖² ≤ ½.
    value : float
        A lower bound on the minimum, never below that of Z = 0.
    """
    squares = np.einsum("ij,ij->i", E, E)
    if squares.max(initial=0.0) > 0.5:
        E = E / np.sqrt(np.maximum(2 * squares, 1))[:, None]
    value = problem.dual_value(E, problem.hessian.apply(E))
    nothing = 2 * float(problem.c.sum())
    if not value > nothing:
        return E[:, :0], nothing
    return E, value


def certify_exactly(problem: StationaryProblem, p: Array, E: Array, tol: float) -> Certificate:
    """Certificate by factorisation of the dense matrix 2P − H.

    Parameters
    ----------
    problem : StationaryProblem
        The data; H must be known entry by entry, or d products are spent.
    p : ndarray, shape (d,)
        Candidate, p ≥ 0.
    E : ndarray, shape (d, r)
        Candidate.
    tol : float
        λ_max is only computed where p as it stands does not reach this gap.

    Returns
    -------
    Certificate
        With failure probability 0.
    """
    hessian = problem.hessian.to_dense()
    E, dual = dual_point(problem, E)
    # on zero rows of H nothing constrains p, and c is the best value
    base = np.where((hessian != 0).any(axis=1), np.maximum(p, problem.c), problem.c)
    best, sharpness = None, np.inf
    for scale in _TINY_SCALINGS:
        if is_feasible(hessian, scale * base):
            best, sharpness = scale * base, 2.0
            break
    primal = np.inf if best is None else problem.primal_value(best)
    if relative_gap(primal, dual) > tol:
        floor = np.finfo(np.float64).eps * base.max(initial=0.0)
        positive = np.maximum(base, floor)
        scale = smallest_feasible_scale(hessian, positive)
        sharpness = 2 * scale
        if np.isfinite(scale):
            tightened = np.maximum(scale * positive, problem.c)
            if problem.primal_value(tightened) < primal:
                best, primal = tightened, problem.primal_value(tightened)
    if best is None:
        best = base
    return Certificate(best, E, primal, dual, relative_gap(primal, dual), sharpness)


def certify_with_probability(
    problem: StationaryProblem,
    p: Array,
    E: Array,
    tol: float,
    *,
    failure_probability: float = 1e-6,
    rng: np.random.Generator | None = None,
    max_steps: int = 20,
    basis: Array | None = None,
    products: Array | None = None,
    dual: float | None = None,
    keep: int = 1,
    comfortable: float = -np.inf,
    complement: EigenvalueBound | None = None,
) -> Certificate:
    r"""Certificate from products: Lanczos from a random start on a deflated complement.

    With A = P^{-1/2} H P^{-1/2} and Q an orthonormal basis of P^{1/2}·basis, the complement of Q is
    bounded by `largest_eigenvalue_bound` and the whole by `deflated_bound`.

    Parameters
    ----------
    problem : StationaryProblem
        The data.
    p : ndarray, shape (d,)
        Candidate; where it is 0 a floor far below the tolerance is taken.
    E : ndarray, shape (d, r)
        Candidate; r products.
    tol : float
        Relative gap at which the Lanczos run may stop.
    failure_probability, rng, max_steps
        As for `largest_eigenvalue_bound`.
    basis, products : ndarray, shape (d, k), optional
        Columns V that nearly span the critical directions, and H·V. Default: ``E``, at r products.
    dual : float, optional
        Value of E, where E is dual feasible and HE known already. Default: `dual_point`.
    keep : int
        Lanczos vectors that ``bound`` returns.
    comfortable : float
        Stop the Lanczos run at this bound on the complement even if the tolerance needs less.
    complement : EigenvalueBound, optional
        The ``bound`` of an earlier certificate of the same p, whose basis ``basis`` still
        spans: no product is spent.

    Returns
    -------
    Certificate
        With the failure probability given.
    """
    if dual is None:
        E, dual = dual_point(problem, E)
    p = positive(problem, p, tol)
    if basis is None or products is None:
        basis, products = E, problem.hessian.apply(E)
    root = np.sqrt(p)
    inner, residual = _coupling(p, basis, products)
    if complement is None:
        Q = basis @ _orthonormalising(p, basis)
        Q *= root[:, None]
        complement = largest_eigenvalue_bound(
            lambda v: problem.hessian.apply((v / root)[:, None])[:, 0] / root,
            problem.d,
            failure_probability=failure_probability,
            rng=rng,
            max_steps=max_steps,
            target=max(_target(problem, p, dual, tol, inner, residual), comfortable),
            deflate=Q if Q.shape[1] else None,
            keep=keep,
        )
    sharpness = max(deflated_bound(inner, residual, complement.value), 0.0)
    feasible = np.maximum(sharpness / 2 * p, problem.c)
    primal = problem.primal_value(feasible)
    return Certificate(
        feasible,
        E,
        primal,
        dual,
        relative_gap(primal, dual),
        sharpness,
        failure_probability,
        complement,
    )


def positive(problem: StationaryProblem, p: Array, tol: float) -> Array:
    """Raise p to c, and where it vanishes to what costs a thousandth of the tolerance in all."""
    p = np.maximum(p, problem.c)
    total = float(p.sum())
    floor = 1e-3 * tol * total / problem.d if total > 0 else 1.0
    return np.where(p < 0.5 * floor, floor, p)  # a second call changes nothing


def _orthonormalising(p: Array, basis: Array) -> Array:
    """T with (VT)ᵀP(VT) = I and range(VT) = range(V)."""
    gram = weighted_gram(basis, p)
    weights, axes = np.linalg.eigh(gram) if gram.size else (np.zeros(0), gram)
    kept = weights > _DEPENDENT * weights.max(initial=0.0)
    return axes[:, kept] / np.sqrt(weights[kept])


def _coupling(p: Array, basis: Array, products: Array) -> tuple[Array, Array]:
    """QᵀAQ, and the Gram matrix of the residual (I − QQᵀ)AQ, for Q = orth(P^{1/2}V)."""
    transform = _orthonormalising(p, basis)
    inner = transform.T @ (basis.T @ products) @ transform
    inner = (inner + inner.T) / 2
    image = transform.T @ weighted_gram(products, 1 / p) @ transform
    # ‖AQ‖² − ‖QᵀAQ‖² by difference needs no further vectors; its rounding is added back
    residual = image - inner @ inner
    residual += _CANCELLATION * float(np.trace(image)) * np.eye(len(inner))
    return inner, (residual + residual.T) / 2


def _target(
    problem: StationaryProblem, p: Array, dual: float, tol: float, inner: Array, residual: Array
) -> float:
    """Return the bound on the complement that suffices for the tolerance, −inf if none does."""

    def reached(complement: float) -> float:
        sharpness = deflated_bound(inner, residual, complement)
        scaled = np.maximum(max(sharpness, 0.0) / 2 * p, problem.c)
        return relative_gap(problem.primal_value(scaled), dual)

    low, high = 0.0, 2 * (1 + tol)
    if reached(high) <= tol:
        return high
    if reached(low) > tol:
        return -np.inf
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) <= tol else (low, middle)
    return low
