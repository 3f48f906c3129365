r"""Which directions the subspace method spends its products on.

On the span, Q = P^{1/2}V T holds the Ritz vectors of A = P^{-1/2}HP^{-1/2}, with values Θ and
residuals R. If A is at most u on the complement, λ_max(A) ≤ 2 is proved by
``M = Θ + RᵀR/(2 − u) ⪯ 2I`` (a Schur complement). The eigenvectors of M above 2 say which
combinations of residuals stand in the way: Ritz vectors of a Krylov space have nearly parallel
residuals, so that each alone may look harmless when together they are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._certificate import MOST_LIFT, relative_gap
from ccpsolve.stationary._image import image_value
from ccpsolve.stationary._lanczos_bound import deflated_bound
from ccpsolve.stationary._problem import StationaryProblem
from ccpsolve.stationary._span import Ritz, Span, row_blocks

__all__ = ["OPEN", "expand", "expand_hidden", "good_enough", "open_combinations", "residual_block"]

Array = NDArray[np.float64]

_NEAR = 1.2  # Ritz values from here on may become critical (critical is 2)
_MOST_NEAR = 12
_ASSUMED_COMPLEMENT = 1.0  # guess of λ_max on the complement while it is not bounded
OPEN = 0.1  # part of the tolerance by which λ_max may exceed 2
_LAGGING = 0.3  # part of the largest excess over 2 from which on a combination is worth a product
_FROM_E = 0.25  # part of the tolerance that the residual of E may cost
_SLACK = 0.5  # part of the tolerance that an estimate must reach before a certificate is tried


def good_enough(estimate: float, tol: float) -> bool:
    """Whether an estimated gap deserves a certificate."""
    return estimate <= _SLACK * tol


def expand(span: Span, p: Array, tol: float, extra: int) -> tuple[int, float]:
    """Add the combinations of residuals that keep the gap open, or F = P⁻¹HE/2.

    Combinations lag behind each other by orders of magnitude, since directions become critical one
    after the other: only those that decide the gap now are added. F is, with all columns of
    E, where the dual value decides it. It satisfies the dual constraint ‖F_i‖² ≤ ½ by itself.

    Parameters
    ----------
    span : Span
        With E = V·C of the reduced problem; E becomes F where F is added.
    p : ndarray, shape (d,)
        Preconditioner of the reduced problem.
    tol : float
        Relative gap aimed at.
    extra : int
        Columns allowed beside those of E.

    Returns
    -------
    added : int
        New columns.
    estimate : float
        Relative gap of p and E if the complement is as guessed; ∞ where it cannot be.
    """
    problem, rank = span.problem, span.C.shape[1]
    ritz, gram = span.ritz(p)
    near = (ritz.values >= _NEAR) & (np.arange(span.columns) < _MOST_NEAR)
    ritz = Ritz(ritz.values[near], ritz.T[:, near])
    squares = span.residual_gram(ritz, p)
    bound = deflated_bound(np.diag(ritz.values), squares, _ASSUMED_COMPLEMENT)
    dual = max(span.dual_point()[1], image_value(span, p))
    estimate = _gap(problem, p, dual, bound, tol)
    if good_enough(estimate, tol):
        return 0, estimate
    allowed = 2 * OPEN * tol
    axes = open_combinations(ritz, squares, _ASSUMED_COMPLEMENT, allowed, lagging=_LAGGING)
    of_dual = _gap(problem, p, dual, 2.0, tol)
    if axes.shape[1] and of_dual <= max(_FROM_E * tol, estimate / 2):
        block = residual_block(span, p, ritz, axes[:, : rank + extra], span.C[:, :0])
        return span.append(block, p)[0], estimate
    others = span.share_of_E(gram, ritz.T) < 0.5
    ritz = Ritz(ritz.values[others], ritz.T[:, others])
    axes = open_combinations(ritz, squares[np.ix_(others, others)], _ASSUMED_COMPLEMENT, allowed)
    added, coefficients = span.append(residual_block(span, p, ritz, axes[:, :extra], span.C), p)
    span.C = coefficients[:, :rank]
    return added, _gap(problem, p, max(dual, span.dual_point()[1]), bound, tol)


def expand_hidden(span: Span, p: Array, tol: float, extra: int) -> int:
    """Add the combinations of *all* residuals that refute p, where those near 2 do not.

    The certificate eliminates the whole span. Where that alone lifts λ_max on the complement to 2,
    if H is not too indefinite there, p is not feasible and a Lanczos run would be in vain.

    Parameters
    ----------
    span, p, tol, extra
        As for `expand`.

    Returns
    -------
    int
        New columns.
    """
    ritz, _ = span.ritz(p)
    squares = span.residual_gram(ritz, p)
    axes = open_combinations(ritz, squares, 2 - MOST_LIFT, allowed=2 * tol)[:, :extra]
    if not axes.shape[1]:
        return 0
    return span.append(residual_block(span, p, ritz, axes, span.C[:, :0]), p)[0]


def open_combinations(
    ritz: Ritz, squares: Array, complement: float, allowed: float, *, lagging: float = 0.0
) -> Array:
    """Find the eigenvectors of M = Θ + RᵀR/(2 − u) above 2, largest first.

    Parameters
    ----------
    ritz : Ritz
        m Ritz pairs.
    squares : ndarray, shape (m, m)
        RᵀR.
    complement : float
        u < 2.
    allowed : float
        What may be left above 2.
    lagging : float
        Leave out those that exceed 2 by less than this part of the largest excess.

    Returns
    -------
    ndarray, shape (m, j)
        Orthonormal columns.
    """
    if not len(ritz.values):
        return np.zeros((0, 0))
    values, axes = np.linalg.eigh(np.diag(ritz.values) + squares / (2 - complement))
    excess = values - 2
    open_ = excess > max(allowed, lagging * excess[-1])
    return axes[:, np.flatnonzero(open_)[::-1]]


def residual_block(span: Span, p: Array, ritz: Ritz, axes: Array, C: Array) -> Array:
    """P⁻¹HE/2 for E = V·C, and combinations of the residuals of Ritz vectors, side by side."""
    rank = C.shape[1]
    block = np.empty((len(p), rank + axes.shape[1]), order="F")
    for rows in row_blocks(len(p)):
        block[rows, :rank] = 0.5 * (span.W[rows] @ C) / p[rows, None]
        if axes.shape[1]:
            block[rows, rank:] = span.residual(ritz, p, rows) @ axes
    return block


def _gap(problem: StationaryProblem, p: Array, dual: float, bound: float, tol: float) -> float:
    """Relative gap if λ_max(P⁻¹H) ≤ bound; ∞ where the dual value refutes that."""
    scaled = np.maximum(max(bound, 0.0) / 2 * p, problem.c)
    primal = problem.primal_value(scaled)
    return np.inf if dual > (1 + tol) * primal else relative_gap(primal, dual)
