r"""A matrix-free method: Ritz vectors of P⁻¹H, and the whole problem solved on their span.

V (d×m) and W = HV are kept. On the span the Hessian is LLᵀ and the preconditioner problem costs no
product (`solve_reduced`); it returns p and E = V·C, with HE known. Products are spent on new
directions only (`expand`), and once p and E look good enough on a certificate (`close`), which ends
the solve or leaves what it has seen in the span. The rank is that of the reduced solution.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._candidate import Candidate
from ccpsolve.stationary._certifier import Certifier
from ccpsolve.stationary._closing import LANCZOS_STEPS, LARGE, close
from ccpsolve.stationary._expansion import expand, expand_hidden, good_enough
from ccpsolve.stationary._problem import StationaryProblem
from ccpsolve.stationary._reduced import solve_reduced
from ccpsolve.stationary._span import Ritz, Span, weighted_gram
from ccpsolve.stationary._start import floored, from_columns, from_factor, from_nothing

__all__ = ["solve_subspace"]

_logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

_COLUMNS = 96  # of V kept; memory is about twice that many vectors
_COLUMNS_LARGE = 12  # of V kept where a vector is large
_EXTRA, _EXTRA_LARGE = 4, 2  # new columns an iteration beyond those of E
_PARTICIPATING = 0.4  # Ritz values above this part of the largest enter the reduced problem
_USEFUL = 1e-3  # below this part none does
_MOST_PARTICIPANTS = 20
_REDUCED_WORK = 1e10  # d·n², n = m(m+1)/2, that one Newton step on m participants may cost
_IDLE = 20  # iterations without a new direction (p may still move) before giving up


def solve_subspace(
    problem: StationaryProblem,
    certifier: Certifier,
    *,
    start: Array | None = None,
    factor: Array | None = None,
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
    factor : ndarray, shape (d, m), optional
        L of the part LLᵀ of its Hessian that matters; ``start`` is not needed beside it.
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
    large = problem.d > LARGE
    limit = max_columns or min(problem.d, _COLUMNS_LARGE if large else _COLUMNS)
    extra = _EXTRA_LARGE if large else _EXTRA
    span, p = _begin(problem, start, factor, rng, limit)
    attempts = idle = iteration = 0
    for iteration in range(1, max_iterations + 1):
        p = _solve_on_span(span, p, certifier.tol)
        rank = span.C.shape[1]
        if span.columns + rank + extra > limit:
            span.restart(p, max(rank, min(limit // 2, limit - rank - extra)))
        added, estimate = expand(span, p, certifier.tol, extra)
        _logger.debug(
            "subspace %d: %d products, %d columns, rank %d, estimated gap %.3g",
            *(iteration, problem.hessian.products, span.columns, span.C.shape[1], estimate),
        )
        left = max_products - problem.hessian.products - LANCZOS_STEPS
        idle = idle + 1 if added == 0 else 0
        last = left <= 0 or idle > _IDLE or iteration == max_iterations
        room = max(min(extra, limit - span.columns), 0)
        ready = good_enough(estimate, certifier.tol)
        if last or (ready and not expand_hidden(span, p, certifier.tol, room)):
            steps = int(min(LANCZOS_STEPS * 2**attempts, max(left, 0) + LANCZOS_STEPS))
            close(certifier, span, p, steps, 0 if left <= 0 else extra)
            attempts += 1
            if certifier.done or left <= 0 or idle > _IDLE:
                break
    E = np.zeros((problem.d, 0)) if certifier.best is None else certifier.best.E
    note = _note(idle, iteration, max_iterations)
    return Candidate(p, E, iteration, note, idle > _IDLE, _factor(span, p))


def _note(idle: int, iteration: int, max_iterations: int) -> str:
    if idle > _IDLE:
        return "no residual was left outside the span"
    budget = "iterations" if iteration == max_iterations else "products"
    return f"the {budget} allowed were spent"


def _begin(
    problem: StationaryProblem,
    start: Array | None,
    factor: Array | None,
    rng: np.random.Generator,
    capacity: int,
) -> tuple[Span, Array]:
    """First columns and a first preconditioner: of what is known of a nearby problem the most."""
    span = Span(problem, capacity)
    p = None
    if factor is not None:
        p = from_factor(span, factor)
    elif start is not None and start.any():
        p = from_columns(span, start)
    return span, floored(problem, from_nothing(span, rng) if p is None else p)


def _solve_on_span(span: Span, p: Array, tol: float) -> Array:
    """Solve the reduced problem; sets E = V·C and returns its preconditioner."""
    ritz, gram = span.ritz(p)
    transform = _transform(span, ritz, p)
    first = None
    if span.C.shape[1]:
        B = np.linalg.solve(transform.T @ gram @ transform, transform.T @ gram @ span.C)
        first = B @ B.T
    found = solve_reduced(span.W, span.problem.c, first, transform=transform, tol=1e-3 * tol)
    span.C = transform @ found.root()
    return floored(span.problem, found.p)


def _factor(span: Span, p: Array) -> Array:
    """L of the part LLᵀ of H on the span, for a warm start."""
    ritz, _ = span.ritz(p)
    return span.W @ _transform(span, ritz, p)


def _transform(span: Span, ritz: Ritz, p: Array) -> Array:
    """S with L = HV·S, LLᵀ the part of H that enters the reduced problem.

    The largest Ritz vectors do; of the others those whose rank-one part Hu(Hu)ᵀ/θ is no larger
    than λ_max, as it is for H ⪰ 0: of an indefinite H it may be far too large where u is no good.
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
    return ritz.T[:, take] / np.sqrt(theta[take])
