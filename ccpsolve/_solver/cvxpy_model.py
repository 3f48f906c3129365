"""The problem as a cvxpy model."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ccpsolve._errors import InvalidProblemError, MissingBackendError
from ccpsolve._problem import ConeComplementarityProblem

__all__ = ["cvxpy_problem", "require"]

Array = NDArray[np.float64]


def require(name: str) -> Any:
    """Import an optional package, or name the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingBackendError(
            f"{name} is not installed; it comes with: pip install 'ccpsolve[conic]'"
        ) from error


def cvxpy_problem(problem: ConeComplementarityProblem) -> Any:
    r"""Return the problem as a cvxpy problem in one PSD variable ``X``.

    .. math:: \min_{X ⪰ 0} \; ½‖L^T \mathrm{svec}(X)‖² − ⟨α, X⟩, \qquad LL^T = β

    For non-symmetric β, ``min ‖Lᵀ svec(X)‖² − ⟨α, X⟩`` with ``LLᵀ = ½(β + βᵀ)``, subject also to
    ``β[X] − α ⪰ 0``.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        With a monotone β, k ≥ 1.

    Returns
    -------
    cvxpy.Problem
        ``problem.solve()`` solves it; the solution is ``problem.variables()[0].value``.

    Raises
    ------
    MissingBackendError
        If cvxpy is not installed.
    InvalidProblemError
        If β is not monotone (the program would not be convex), or k = 0.

    Examples
    --------
    >>> import ccpsolve
    >>> program = ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]]).to_cvxpy()
    >>> round(float(program.solve()), 6)
    -2.25
    """
    cvxpy = require("cvxpy")
    k = problem.k
    if k == 0:
        raise InvalidProblemError("alpha has order 0; cvxpy has no variables without entries")
    X = cvxpy.Variable((k, k), PSD=True, name="X")
    x = _svec_map(k) @ cvxpy.vec(X, order="C")
    square = cvxpy.sum_squares(_factor(problem).T @ x)
    linear = cvxpy.trace(problem.alpha @ X)
    if problem.symmetric:
        return cvxpy.Problem(cvxpy.Minimize(0.5 * square - linear))
    image = cvxpy.reshape(_svec_map(k).T @ (problem.beta @ x), (k, k), order="C")
    return cvxpy.Problem(cvxpy.Minimize(square - linear), [image - problem.alpha >> 0])


def _svec_map(k: int) -> sparse.csr_matrix:
    """Return the n×k² matrix of svec, which is an isometry on symmetric matrices."""
    rows, columns = np.triu_indices(k)
    at = np.arange(rows.size)
    weight = np.where(rows == columns, 0.5, np.sqrt(0.5))
    upper = sparse.csr_matrix((weight, (at, rows * k + columns)), shape=(rows.size, k * k))
    lower = sparse.csr_matrix((weight, (at, columns * k + rows)), shape=(rows.size, k * k))
    return upper + lower


def _factor(problem: ConeComplementarityProblem) -> Array:
    """Return L with LLᵀ the symmetric part of β, eigenvalues negative by rounding taken as 0."""
    values, vectors = np.linalg.eigh(0.5 * (problem.beta + problem.beta.T))
    rounding = 1e-13 * problem.n * np.abs(values).max()
    if values[0] < -rounding:
        raise InvalidProblemError(
            f"beta has the negative eigenvalue {values[0]:.3g}; cvxpy needs a monotone beta"
        )
    return vectors * np.sqrt(np.maximum(values, 0.0))
