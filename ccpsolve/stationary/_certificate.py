"""Certified primal and dual values of the stationary preconditioner, from any candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._coupling import Coupling
from ccpsolve.stationary._image import ASSUMED_LOWEST, image_form
from ccpsolve.stationary._lanczos_bound import (
    EigenvalueBound,
    deflated_bound,
    largest_eigenvalue_bound,
)
from ccpsolve.stationary._problem import StationaryProblem
from ccpsolve.stationary._semidefinite import is_feasible, smallest_feasible_scale

__all__ = [
    "MOST_LIFT",
    "Certificate",
    "certify_exactly",
    "certify_with_probability",
    "dual_point",
    "relative_gap",
]

Array = NDArray[np.float64]

# tried before an eigenvalue computation
_TINY_SCALINGS = (1.0, 1 + 1e-13, 1 + 1e-11, 1 + 1e-10, 1 + 1e-9)
_USELESS = 2.0  # λ_max(P⁻¹H) on the complement from which on the span is too small
MOST_LIFT = 1.9  # more than this the span may not add to λ_max on the complement, when eliminated
_BISECTIONS = 40


@dataclass(frozen=True, eq=False)
class Certificate:
    r"""A primal-feasible p, a dual-feasible Z = EEᵀ, and what they prove.

    ``dual ≤ minimum ≤ primal``; when ``failure_probability`` is positive both (the feasibility of
    p, and the value of Z where no product was spent on it) hold with at least the complementary
    probability.

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
    rng: np.random.Generator | int | None = None,
    max_steps: int = 20,
    basis: Array | None = None,
    products: Array | None = None,
    dual: float | None = None,
    origin: Array | None = None,
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
    origin : ndarray, shape (k, r), optional
        C with E = ½P⁻¹HVC and p_i² ≥ ½‖(HVC)_i‖², V = ``basis``: E is dual feasible, and its value
        is bounded by the same Lanczos run, without a product (`image_form`).
    keep : int
        Lanczos vectors that ``bound`` returns.
    comfortable : float
        Stop the Lanczos run at this bound on the complement even if the tolerance needs less; and
        at a Ritz value there that no larger span can make up for. Default: do neither.
    complement : EigenvalueBound, optional
        The ``bound`` of an earlier certificate of the same p, whose basis ``basis`` still
        spans: no product is spent.

    Returns
    -------
    Certificate
        With the failure probability given.
    """

    def image_dual(lowest: float) -> float:
        assert basis is not None
        assert products is not None
        assert origin is not None
        form = image_form(p, basis, products, origin, lowest)
        return problem.dual_value_from(E, form)

    p = positive(problem, p, tol)
    if origin is not None:
        dual = image_dual(ASSUMED_LOWEST if complement is None else complement.lowest)
    elif dual is None:
        E, dual = dual_point(problem, E)
    if basis is None or products is None:
        basis, products = E, problem.hessian.apply(E)
    coupling = Coupling(p, basis, products)
    eliminated = np.inf
    if complement is None:
        eliminated = _allowed(problem, p, dual, tol)
        if coupling.lift(eliminated) > MOST_LIFT:
            eliminated = np.inf
        target = eliminated
        if not np.isfinite(eliminated):
            target = max(_target(problem, p, dual, tol, coupling), comfortable)
        hopeless = np.inf if comfortable == -np.inf else min(eliminated, _USELESS)
        Q = coupling.orthonormal()
        complement = largest_eigenvalue_bound(
            lambda v: coupling.apply(problem.hessian, v, eliminated),
            problem.d,
            failure_probability=failure_probability / (1 if origin is None else 2),
            rng=rng,
            max_steps=max_steps,
            target=target,
            hopeless=hopeless,
            deflate=Q if Q.shape[1] else None,
            keep=keep,
        )
        del Q
        complement = coupling.undeflated(complement, eliminated)
        if origin is not None:
            dual = image_dual(complement.lowest)
    sharpness = max(deflated_bound(coupling.inner, coupling.residual, complement.value), 0.0)
    if complement.value <= eliminated < np.inf:
        sharpness = min(sharpness, eliminated)
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


def _target(
    problem: StationaryProblem, p: Array, dual: float, tol: float, coupling: Coupling
) -> float:
    """Return the bound on the complement that suffices for the tolerance, −inf if none does."""

    def reached(complement: float) -> float:
        sharpness = deflated_bound(coupling.inner, coupling.residual, complement)
        return _gap(problem, p, dual, sharpness)

    return _largest(reached, 0.0, 2 * (1 + tol), tol)


def _allowed(problem: StationaryProblem, p: Array, dual: float, tol: float) -> float:
    """Return the largest λ_max that the tolerance allows, up to 4; −inf if none does."""
    return _largest(lambda sharpness: _gap(problem, p, dual, sharpness), 0.0, 4.0, tol)


def _gap(problem: StationaryProblem, p: Array, dual: float, sharpness: float) -> float:
    """Relative gap if λ_max(P⁻¹H) ≤ sharpness."""
    scaled = np.maximum(max(sharpness, 0.0) / 2 * p, problem.c)
    return relative_gap(problem.primal_value(scaled), dual)


def _largest(gap: Callable[[float], float], low: float, high: float, tol: float) -> float:
    """Return the largest argument of an increasing gap with gap ≤ tol, −inf if there is none."""
    if gap(high) <= tol:
        return high
    if gap(low) > tol:
        return -np.inf
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if gap(middle) <= tol else (low, middle)
    return low
