r"""First columns of the subspace method, and a first preconditioner.

A nearby problem leaves L, with LLᵀ the part of its Hessian on its span. The gradient has changed
more than the Hessian where weights oscillate. So the problem with LLᵀ in place of H is solved at
the new gradient, which costs no product, and the span begins with what that says is critical.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._problem import StationaryProblem
from ccpsolve.stationary._reduced import solve_reduced
from ccpsolve.stationary._span import Span, weighted_gram

__all__ = ["floored", "from_columns", "from_factor", "from_nothing"]

Array = NDArray[np.float64]

_FIRST_BLOCK = 3  # random columns of a cold start
_KRYLOV_STEPS = 2  # steps of P⁻¹H on them before the first reduced problem
_NEAR = 1.2  # eigenvectors of P⁻¹LLᵀ with values above this may be critical now
_MOST_NEAR = 12
_ACCURACY = 1e-6  # of the solution for LLᵀ
_SMALLEST = 1e-10  # smallest p, relative to its mean


def from_factor(span: Span, factor: Array) -> Array | None:
    """Begin with the solution for LLᵀ in place of H.

    Parameters
    ----------
    span : Span
        Empty; gets the nearly critical eigenvectors of P⁻¹LLᵀ, and E.
    factor : ndarray, shape (d, m)
        L.

    Returns
    -------
    ndarray, shape (d,), or None
        P; None where nothing is nearly critical.
    """
    found = solve_reduced(factor, span.problem.c, tol=_ACCURACY)
    p = floored(span.problem, found.p)
    values, axes = np.linalg.eigh(weighted_gram(factor, 1 / p))
    axes = axes[:, values >= _NEAR][:, : -_MOST_NEAR - 1 : -1]
    if not axes.shape[1]:
        return None
    # the range of Y is that of the eigenvectors with value 2, so that E = ½P⁻¹LB is in the span
    block = factor @ axes
    block /= p[:, None]
    _, coefficients = span.append(block, p)
    span.C = coefficients @ (0.5 * axes.T @ found.root())
    return p


def from_columns(span: Span, E: Array) -> Array:
    """Begin with E of a nearby problem, shape (d, r), and the p that it implies."""
    _, span.C = span.append(E.copy(), np.ones(span.problem.d))
    return np.sqrt(span.problem.c**2 + 0.5 * _row_squares(span.W @ span.C))


def from_nothing(span: Span, rng: np.random.Generator) -> Array:
    """Begin at random, with a few steps of P⁻¹H."""
    problem = span.problem
    added = min(_FIRST_BLOCK, problem.d)
    span.extend(rng.standard_normal((problem.d, added)))
    # rows of H are as long as those of HV for Gaussian V, on average
    p = np.sqrt(problem.c**2 + _row_squares(span.W) / max(added, 1))
    p = floored(problem, p)
    for _ in range(_KRYLOV_STEPS):
        if added:
            added, _ = span.append(span.W[:, span.columns - added :] / p[:, None], p)
    return p


def floored(problem: StationaryProblem, p: Array) -> Array:
    """Raise p where it vanishes: the metric must be definite."""
    total = float(p.sum())
    return np.maximum(p, _SMALLEST * total / problem.d if total > 0 else 1.0)


def _row_squares(matrix: Array) -> Array:
    return np.einsum("ij,ij->i", matrix, matrix)
