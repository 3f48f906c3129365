r"""How the solution moves with the data: Jacobian-vector and vector-Jacobian products.

Where the solution is strictly complementary (rank X + rank S = k), ``XS = 0`` and
``S = β[X] − α`` can be differentiated. In the common eigenbasis of X and S, with x_i > 0 for i < r
and s_j > 0 for j ≥ r, dX vanishes on the index pairs with both i, j ≥ r, and on the other pairs
(the set A)

.. math:: (M_{AA} + D)\, dX_A = (dα − dβ[X])_A

with M the matrix of β in that basis and D diagonal: ``s_j/x_i`` on mixed pairs, 0 where both
i, j < r.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from ccpsolve._errors import InvalidProblemError, NotDifferentiableError
from ccpsolve._problem import ConeComplementarityProblem, operator_matrix, symmetric_matrix
from ccpsolve._solution import Solution
from ccpsolve._symmetric import smat, svec, svec_basis

__all__ = ["SolutionDerivative", "solution_jvp", "solution_vjp"]

Array = NDArray[np.float64]

_DEGENERATE = 1e-9
"""Eigenvalue of X − τS, relative to the largest, below which complementarity is not strict."""

_ERRORS = 10.0
"""Times the certified error of X: eigenvalues below that may really be zero."""

_SINGULAR = 1e-13
"""Reciprocal condition of the linear system below which the solution is taken for not unique."""


class SolutionDerivative:
    """The derivative of the solution of CCP(α, β) with respect to α and β.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data.
    solution : Solution, optional
        Its solution; solved for when not given.

    Raises
    ------
    NotDifferentiableError
        If the solution is not strictly complementary, or not unique: it then has at most one-sided
        derivatives.
    SolveError
        If the problem had to be solved and has no solution.

    Examples
    --------
    At k = 1, X = α/β where α > 0:

    >>> import ccpsolve
    >>> from ccpsolve._sensitivity import SolutionDerivative
    >>> derivative = SolutionDerivative(ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]]))
    >>> derivative.jvp([[1.0]])
    array([[0.5]])
    >>> derivative.vjp([[1.0]])
    (array([[0.5]]), array([[-0.75]]))
    """

    def __init__(
        self, problem: ConeComplementarityProblem, solution: Solution | None = None
    ) -> None:
        self._k = problem.k
        found = _solved(problem) if solution is None else solution
        if found.X.shape != problem.alpha.shape:
            raise InvalidProblemError(
                f"solution has X of shape {found.X.shape}; the problem needs {problem.alpha.shape}"
            )
        self._x = svec(found.X)
        self._stretch = _equilibration(problem)
        self._active = np.zeros(0, dtype=np.intp)
        if problem.k:
            self._factorise(problem, found)

    def _factorise(self, problem: ConeComplementarityProblem, solution: Solution) -> None:
        """Set up the system in the eigenbasis of the equilibrated X − τS."""
        weight = self._stretch[np.triu_indices(self._k)]
        beta = problem.beta * np.outer(weight, weight)
        X = solution.X / self._stretch
        S = (problem.apply(solution.X) - problem.alpha) * self._stretch
        step = _natural_step(X, problem.alpha * self._stretch, beta)
        values, vectors = np.linalg.eigh(X - step * S)
        values, vectors = values[::-1], vectors[:, ::-1]
        _refuse_degenerate(values, _error_of(solution, beta))
        self._rotation = svec(vectors @ svec_basis(self._k) @ vectors.T).T
        rows, columns = np.triu_indices(self._k)
        positive = values > 0.0
        self._active = np.flatnonzero(positive[rows])
        ratio = -values[columns] / (step * values[rows])
        diagonal = np.where(positive[columns], 0.0, ratio)[self._active]
        basis = self._rotation[:, self._active]
        system = basis.T @ beta @ basis + np.diag(diagonal)
        self._factors = _factors(system) if self._active.size else None

    def jvp(
        self,
        d_alpha: ArrayLike | None = None,
        d_beta: ArrayLike | Callable[[Array], ArrayLike] | None = None,
    ) -> Array:
        """Return dX along a direction of the data.

        Parameters
        ----------
        d_alpha : array_like, shape (k, k), optional
            Direction of α; 0 by default.
        d_beta : array_like, shape (n, n) or (k, k, k, k), or callable, optional
            Direction of β; 0 by default.

        Returns
        -------
        ndarray, shape (k, k)
            The directional derivative of X.

        Raises
        ------
        InvalidProblemError
            If a direction has the wrong shape or is not symmetric where it has to be.
        """
        right = np.zeros(self._x.size)
        if d_alpha is not None:
            right = right + svec(self._direction(d_alpha, "d_alpha"))
        if d_beta is not None:
            right = right - operator_matrix(d_beta, self._k, "d_beta") @ self._x
        return smat(self._solve(right, transposed=0))

    def vjp(self, cotangent: ArrayLike) -> tuple[Array, Array]:
        """Return the gradients of ``⟨cotangent, X⟩`` with respect to α and β.

        Parameters
        ----------
        cotangent : array_like, shape (k, k)
            A symmetric matrix, the gradient of some function of X.

        Returns
        -------
        alpha_gradient : ndarray, shape (k, k)
            G with ``⟨cotangent, dX⟩ = ⟨G, dα⟩``.
        beta_gradient : ndarray, shape (n, n)
            G with ``⟨cotangent, dX⟩ = Σ G_ab dβ_ab`` in svec coordinates, for every dβ. Where β is
            kept symmetric, its symmetric part does the same.

        Raises
        ------
        InvalidProblemError
            If the cotangent is not a symmetric k×k matrix.
        """
        adjoint = self._solve(svec(self._direction(cotangent, "cotangent")), transposed=1)
        return smat(adjoint), -np.outer(adjoint, self._x)

    def _direction(self, value: ArrayLike, name: str) -> Array:
        direction = symmetric_matrix(value, name)
        if direction.shape != (self._k, self._k):
            raise InvalidProblemError(
                f"{name} has shape {direction.shape}; the problem needs ({self._k}, {self._k})"
            )
        return direction

    def _solve(self, right: Array, transposed: int) -> Array:
        """Apply the derivative of svec(X) in svec(α), or its transpose, to a vector."""
        if not self._active.size:
            return np.zeros_like(right)
        weight = self._stretch[np.triu_indices(self._k)]
        basis = self._rotation[:, self._active]
        inner = linalg.lu_solve(self._factors, basis.T @ (weight * right), trans=transposed)
        result: Array = weight * (basis @ inner)
        return result


def solution_jvp(
    problem: ConeComplementarityProblem,
    d_alpha: ArrayLike | None = None,
    d_beta: ArrayLike | Callable[[Array], ArrayLike] | None = None,
    *,
    solution: Solution | None = None,
) -> Array:
    """Return the directional derivative of the solution; see `SolutionDerivative`.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data.
    d_alpha, d_beta : array_like, optional
        Direction of the data, in any form that the data themselves can have.
    solution : Solution, optional
        The solution of ``problem``; solved for when not given.

    Returns
    -------
    ndarray, shape (k, k)
        dX.

    Raises
    ------
    NotDifferentiableError
        If the solution is not differentiable there.

    Examples
    --------
    >>> import ccpsolve
    >>> ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]]).jvp(d_beta=[[1.0]])
    array([[-0.75]])
    """
    return SolutionDerivative(problem, solution).jvp(d_alpha, d_beta)


def solution_vjp(
    problem: ConeComplementarityProblem, cotangent: ArrayLike, *, solution: Solution | None = None
) -> tuple[Array, Array]:
    """Return the gradients of ``⟨cotangent, X⟩`` in α and β; see `SolutionDerivative`.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data.
    cotangent : array_like, shape (k, k)
        A symmetric matrix.
    solution : Solution, optional
        The solution of ``problem``; solved for when not given.

    Returns
    -------
    alpha_gradient : ndarray, shape (k, k)
        With respect to α.
    beta_gradient : ndarray, shape (n, n)
        With respect to β in svec coordinates.

    Raises
    ------
    NotDifferentiableError
        If the solution is not differentiable there.

    Examples
    --------
    >>> import ccpsolve
    >>> ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]]).vjp([[1.0]])
    (array([[0.5]]), array([[-0.75]]))
    """
    return SolutionDerivative(problem, solution).vjp(cotangent)


def _solved(problem: ConeComplementarityProblem) -> Solution:
    from ccpsolve._solve import solve_ccp

    return solve_ccp(problem.alpha, problem.beta)


def _equilibration(problem: ConeComplementarityProblem) -> Array:
    """Return ``C Cᵀ`` for the congruence ``C_i = β_iiii^(−1/4)``, 1 where that is not positive."""
    corners = np.cumsum([0, *range(problem.k, 1, -1)])[: problem.k]
    diagonal = problem.beta.diagonal()[corners]
    C = np.where(diagonal > 0.0, diagonal, 1.0) ** -0.25
    return np.outer(C, C)


def _natural_step(X: Array, alpha: Array, beta: Array) -> float:
    """Return the τ of the natural residual, by which S becomes comparable with X."""
    norm_x, norm_a = float(np.linalg.norm(X)), float(np.linalg.norm(alpha))
    norm_beta = float(np.linalg.norm(beta, 2))
    if norm_beta == 0.0 or norm_x + norm_a == 0.0:
        return 1.0
    return max(norm_x, norm_a / norm_beta) / (norm_beta * norm_x + norm_a)


def _error_of(solution: Solution, beta: Array) -> float:
    """Return the certified error of the equilibrated X, 0 where there is no bound."""
    lowest = float(np.linalg.eigvalsh(0.5 * (beta + beta.T))[0])
    bound = solution.certificate.error_bound_beta
    return bound / np.sqrt(lowest) if lowest > 0.0 and np.isfinite(bound) else 0.0


def _refuse_degenerate(values: Array, error: float) -> None:
    size = float(np.abs(values).max())
    allowed = max(_DEGENERATE * size, _ERRORS * error)
    smallest = float(np.abs(values).min())
    if not smallest > allowed:
        raise NotDifferentiableError(
            "the solution is not strictly complementary (rank X + rank S < k): X − τS has the "
            f"eigenvalue {smallest:.1e}, more than {allowed:.1e} is needed; only one-sided "
            "derivatives may exist"
        )


def _factors(system: Array) -> tuple[Array, NDArray[np.int32]]:
    """Factorise the system, or say that the solution is not unique."""
    factors, pivots, exactly_singular = linalg.lapack.dgetrf(system)
    norm = float(np.abs(system).sum(axis=0).max())
    reciprocal = 0.0 if exactly_singular else linalg.lapack.dgecon(factors, norm)[0]
    if not reciprocal > _SINGULAR:
        raise NotDifferentiableError(
            "the solution is not unique in first order: the linear system of its derivative has "
            f"the reciprocal condition {reciprocal:.1e}, more than {_SINGULAR:.0e} is needed"
        )
    return factors, pivots
