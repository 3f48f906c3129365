"""Projection on the tangent cone of a matrix inequality, in a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ccpsolve._certificate import Certificate
from ccpsolve._errors import InvalidProblemError
from ccpsolve._problem import real_array, symmetric_matrix
from ccpsolve._symmetric import order_of_svec, smat, svec, svec_basis

__all__ = ["TangentProjection", "project_tangent_cone"]

Array = NDArray[np.float64]
Operators: TypeAlias = tuple[Callable[[Array], ArrayLike], Callable[[Array], ArrayLike]]


@dataclass(frozen=True, eq=False, slots=True)
class TangentProjection:
    """The projection of a vector on a tangent cone.

    Attributes
    ----------
    v : ndarray, shape (d,)
        The projected vector.
    X : ndarray, shape (k, k)
        The multiplier: X ⪰ 0, and the slack ``−𝒯ᵀ[v]`` is PSD and complementary to it.
    certificate : Certificate
        Of X. The projection is within ``certificate.error_bound_beta / √2`` of the exact one in
        the metric's norm, up to the rounding of the inputs' products.
    """

    v: Array
    X: Array
    certificate: Certificate


def project_tangent_cone(
    v: ArrayLike, jacobian: ArrayLike | Operators, *, metric: ArrayLike | None = None
) -> TangentProjection:
    r"""Project a vector on the cone of directions along which a matrix does not increase.

    Where ``A(w) ⪯ 0`` is active on k directions and 𝒯ᵀ is the derivative of A there,
    :math:`T = \{v : 𝒯^T[v] ⪯ 0\}`. The point of T nearest to v in the norm
    :math:`‖v‖_P^2 = v^T P v` is

    .. math:: \mathrm{proj}_T(v) = v − ½ P^{-1} 𝒯[X], \qquad
              X = \mathrm{CCP}\bigl(𝒯^T[v],\; ½ 𝒯^T P^{-1} 𝒯\bigr).

    Parameters
    ----------
    v : array_like, shape (d,)
        The vector.
    jacobian : array_like, shape (n, d), or pair of callables
        𝒯ᵀ as a matrix whose rows are svec coordinates, n = k(k+1)/2; or the pair (𝒯ᵀ, 𝒯) with
        𝒯ᵀ taking (d,) to a symmetric (k, k), and its adjoint 𝒯 taking (k, k) to (d,).
    metric : array_like, shape (d,) or (d, d), optional
        P, positive (definite): its diagonal, or a symmetric matrix. The identity by default.

    Returns
    -------
    TangentProjection
        The projection ``v``, the multiplier ``X`` and its certificate.

    Raises
    ------
    InvalidProblemError
        If shapes do not match, entries are not finite, or the metric is not positive definite.
    SolveError
        If no multiplier X exists, which can happen only where 𝒯 is not injective.

    References
    ----------
    Cohen, Damian, Talwalkar, Kolter, Lee, arXiv:2410.24206, Definition 3 and Lemma 2.

    Examples
    --------
    The half-space of directions with a non-positive first entry (k = 1):

    >>> import ccpsolve
    >>> ccpsolve.project_tangent_cone([3.0, 4.0], [[1.0, 0.0]]).v
    array([0., 4.])
    >>> ccpsolve.project_tangent_cone([-3.0, 4.0], [[1.0, 0.0]]).v
    array([-3.,  4.])
    """
    from ccpsolve._solve import solve_ccp

    start = real_array(v, "v")
    if start.ndim != 1:
        raise InvalidProblemError(f"v has shape {start.shape}; a vector (d,) is needed")
    J = _jacobian_matrix(jacobian, start)
    raised = _raised(J, metric)
    beta = 0.5 * (J @ raised.T)
    solution = solve_ccp(smat(J @ start), 0.5 * (beta + beta.T))
    projected = start - 0.5 * (svec(solution.X) @ raised)
    return TangentProjection(projected, solution.X, solution.certificate)


def _jacobian_matrix(jacobian: ArrayLike | Operators, v: Array) -> Array:
    """Return 𝒯ᵀ as an (n, d) matrix in svec rows, from either accepted form."""
    if isinstance(jacobian, tuple) and len(jacobian) == 2 and callable(jacobian[0]):
        to_matrix, to_vector = jacobian
        k = symmetric_matrix(to_matrix(v), "jacobian[0](v)").shape[0]
        rows = [real_array(to_vector(E), "jacobian[1](X)") for E in svec_basis(k)]
        J = np.array(rows).reshape(len(rows), -1)
        _check_adjoint(to_matrix, J, v)
    else:
        J = real_array(jacobian, "jacobian")
    if J.ndim != 2 or (J.shape[0] > 0 and J.shape[1] != v.size):
        raise InvalidProblemError(
            f"jacobian has shape {J.shape}; for v of length {v.size} it must be (n, {v.size})"
        )
    order_of_svec(J.shape[0])
    return J.reshape(J.shape[0], v.size)


def _check_adjoint(to_matrix: Callable[[Array], ArrayLike], J: Array, v: Array) -> None:
    """Refuse a pair of callables that are not each other's adjoint at v."""
    if J.shape[0] and J.shape[1] != v.size:
        return  # reported as a wrong shape
    image = svec(symmetric_matrix(to_matrix(v), "jacobian[0](v)"))
    defect = np.abs(image - J.reshape(-1, v.size) @ v).max(initial=0.0)
    allowed = 1e-6 * (np.abs(J) @ np.abs(v) if J.size else np.zeros(1)).max(initial=0.0)
    if defect > allowed:
        raise InvalidProblemError(
            f"jacobian[1] is not the adjoint of jacobian[0]: they differ by {defect:.3g} at v, "
            f"allowed is {allowed:.3g} (rounding)"
        )


def _raised(J: Array, metric: ArrayLike | None) -> Array:
    """Return ``J P⁻¹``: the rows as vectors of the metric."""
    if metric is None:
        return J
    P = real_array(metric, "metric")
    d = J.shape[1]
    if P.shape == (d,):
        if not (P > 0.0).all():
            raise InvalidProblemError(f"metric has the entry {P.min():.3g}; all must be positive")
        return J / P
    if P.shape != (d, d):
        raise InvalidProblemError(f"metric has shape {P.shape}; it must be ({d},) or ({d}, {d})")
    try:
        factor = np.linalg.cholesky(symmetric_matrix(P, "metric"))
    except np.linalg.LinAlgError as error:
        raise InvalidProblemError("metric is not positive definite") from error
    half = np.linalg.solve(factor, J.T)
    return np.linalg.solve(factor.T, half).T
