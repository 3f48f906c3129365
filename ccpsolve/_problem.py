"""The data of a cone complementarity problem, validated once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ccpsolve._errors import InvalidProblemError
from ccpsolve._symmetric import smat, svec, svec_basis, svec_operator

if TYPE_CHECKING:
    from ccpsolve._solution import Solution

__all__ = ["ConeComplementarityProblem"]

Array = NDArray[np.float64]

_ASYMMETRY_OF_MATRICES = 1e-10
"""Largest |α − αᵀ| taken for rounding, relative to the largest |α_ij|."""

_ASYMMETRY_OF_OPERATORS = 1e-12
"""Largest |β_ab − β_ba| taken for rounding, relative to √(β_aa β_bb)."""


class ConeComplementarityProblem:
    r"""The problem CCP(α, β): find X with X ⪰ 0, S := β[X] − α ⪰ 0 and ⟨X, S⟩ = 0.

    .. math:: 0 ⪯ X ⟂ β[X] − α ⪰ 0,  \qquad X ∈ \mathrm{Sym}_k

    For symmetric β ⪰ 0 these are the optimality conditions of
    ``min_{X ⪰ 0} ½⟨X, β[X]⟩ − ⟨α, X⟩``; β ≻ 0 makes the solution unique.

    Parameters
    ----------
    alpha : array_like, shape (k, k)
        Symmetric matrix α. An asymmetry within rounding (1e-10 of the largest entry) is averaged
        out; a larger one is an error.
    beta : array_like, shape (n, n) or (k, k, k, k), or callable
        The linear operator β on Sym_k: its matrix in `svec` coordinates, n = k(k+1)/2; or an array
        acting by ``β[X]_ij = Σ_lm B_ijlm X_lm``; or a function X ↦ β[X] of (k, k) arrays.

    Attributes
    ----------
    alpha : ndarray, shape (k, k)
        α, float64, exactly symmetric. Copies of the caller's data: do not write to them.
    beta : ndarray, shape (n, n)
        The matrix of β in `svec` coordinates, float64.
    k, n : int
        Order of X, and dimension k(k+1)/2 of Sym_k.
    symmetric : bool
        Whether β is symmetric. A β symmetric to rounding, ``|β_ab − β_ba| ≤ 1e-12 √(β_aa β_bb)``,
        is replaced by its symmetric part.

    Raises
    ------
    InvalidProblemError
        If an argument is not real, has NaN or Inf entries, a wrong shape, or if α (or an output of
        β) is not symmetric.

    References
    ----------
    Cohen, Damian, Talwalkar, Kolter, Lee, arXiv:2410.24206, Definition 8 and Lemma 5.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> problem = ccpsolve.ConeComplementarityProblem(np.diag([1.0, -1.0]), np.eye(3))
    >>> problem.k, problem.n, problem.symmetric
    (2, 3, True)
    """

    __slots__ = ("alpha", "beta", "k", "n", "symmetric")

    alpha: Array
    beta: Array
    k: int
    n: int
    symmetric: bool

    def __init__(self, alpha: ArrayLike, beta: ArrayLike | Callable[[Array], ArrayLike]) -> None:
        self.alpha = symmetric_matrix(alpha, "alpha")
        self.k = self.alpha.shape[0]
        self.n = self.k * (self.k + 1) // 2
        self.beta, self.symmetric = _symmetrised(operator_matrix(beta, self.k))

    @classmethod
    def _validated(cls, alpha: Array, beta: Array, symmetric: bool) -> ConeComplementarityProblem:
        """Return the problem with these arrays, which are known to be what the class promises."""
        problem = cls.__new__(cls)
        problem.alpha, problem.beta, problem.symmetric = alpha, beta, symmetric
        problem.k, problem.n = alpha.shape[0], beta.shape[0]
        return problem

    def __repr__(self) -> str:
        kind = "symmetric" if self.symmetric else "non-symmetric"
        return f"ConeComplementarityProblem(k={self.k}, {kind} β)"

    def apply(self, X: ArrayLike) -> Array:
        """Return β[X].

        Parameters
        ----------
        X : array_like, shape (k, k)
            A symmetric matrix.

        Returns
        -------
        ndarray, shape (k, k)
            The symmetric matrix β[X].

        Examples
        --------
        >>> import numpy as np
        >>> import ccpsolve
        >>> ccpsolve.ConeComplementarityProblem([[1.0]], [[2.0]]).apply([[3.0]])
        array([[6.]])
        """
        return smat(self.beta @ svec(X))

    def save(self, path: str | Path) -> None:
        """Write the problem to a file, so that a bug report is a file.

        Parameters
        ----------
        path : str or Path
            Ends in ``.npz`` or ``.json``; both store every bit of the data and hold no code. The
            file appears whole or not at all.

        Raises
        ------
        InvalidProblemError
            If the file name has another ending.
        """
        from ccpsolve._exchange import save_problem

        save_problem(self, path)

    @classmethod
    def load(cls, path: str | Path) -> ConeComplementarityProblem:
        """Read a problem written by `save`.

        Parameters
        ----------
        path : str or Path
            A ``.npz`` or ``.json`` file.

        Returns
        -------
        ConeComplementarityProblem
            With exactly the saved data.

        Raises
        ------
        InvalidProblemError
            If the file does not hold a problem.
        """
        from ccpsolve._exchange import load_problem

        return load_problem(path)

    def to_cvxpy(self) -> Any:
        """Return the problem as a cvxpy problem; see `ccpsolve._solver.cvxpy_model`.

        Returns
        -------
        cvxpy.Problem
            With one PSD variable named ``X``; solved by ``problem.solve()``.

        Raises
        ------
        MissingBackendError
            If cvxpy is not installed.
        """
        from ccpsolve._solver.cvxpy_model import cvxpy_problem

        return cvxpy_problem(self)

    def jvp(
        self,
        d_alpha: ArrayLike | None = None,
        d_beta: ArrayLike | None = None,
        *,
        solution: Solution | None = None,
    ) -> Array:
        """Return the directional derivative dX of the solution.

        Parameters
        ----------
        d_alpha, d_beta : array_like, optional
            Direction of the data, in any form that the data themselves can have; 0 by default.
        solution : Solution, optional
            The solution of this problem; solved for when not given.

        Returns
        -------
        ndarray, shape (k, k)
            The derivative of X along the direction.

        Raises
        ------
        NotDifferentiableError
            If the solution is not strictly complementary, or not unique.

        Examples
        --------
        At k = 1, X = α/β where α > 0:

        >>> import ccpsolve
        >>> ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]]).jvp([[1.0]])
        array([[0.5]])
        """
        from ccpsolve._sensitivity import solution_jvp

        return solution_jvp(self, d_alpha, d_beta, solution=solution)

    def vjp(self, cotangent: ArrayLike, *, solution: Solution | None = None) -> tuple[Array, Array]:
        """Return the gradients of ``⟨cotangent, X⟩`` with respect to α and β.

        Parameters
        ----------
        cotangent : array_like, shape (k, k)
            A symmetric matrix, the gradient of some function of X.
        solution : Solution, optional
            The solution of this problem; solved for when not given.

        Returns
        -------
        alpha_gradient : ndarray, shape (k, k)
            With respect to α.
        beta_gradient : ndarray, shape (n, n)
            With respect to the matrix of β in `svec` coordinates.

        Raises
        ------
        NotDifferentiableError
            If the solution is not strictly complementary, or not unique.

        Examples
        --------
        >>> import ccpsolve
        >>> ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]]).vjp([[1.0]])
        (array([[0.5]]), array([[-0.75]]))
        """
        from ccpsolve._sensitivity import solution_vjp

        return solution_vjp(self, cotangent, solution=solution)


def symmetric_matrix(value: ArrayLike, name: str) -> Array:
    """Return a fresh, exactly symmetric float64 copy of a square matrix, or say what is wrong."""
    matrix = real_array(value, name)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InvalidProblemError(f"{name} has shape {matrix.shape}; a square (k, k) is needed")
    if (matrix == matrix.T).all():
        return matrix
    asymmetry = np.abs(matrix - matrix.T).max()
    allowed = _ASYMMETRY_OF_MATRICES * np.abs(matrix).max()
    if asymmetry > allowed:
        raise InvalidProblemError(
            f"{name} is not symmetric: max |{name} - {name}.T| = {asymmetry:.3g}, allowed is "
            f"{allowed:.3g} (rounding); pass 0.5 * ({name} + {name}.T) if that is meant"
        )
    return _average(matrix)


def real_array(value: ArrayLike, name: str) -> Array:
    """Return a fresh C-contiguous float64 copy of real, finite numbers."""
    found = np.asarray(value)
    if found.dtype.kind not in "fiu":
        raise InvalidProblemError(f"{name} has dtype {found.dtype}; real numbers are needed")
    numbers = np.array(found, dtype=np.float64, order="C")
    if not np.isfinite(numbers).all():
        bad = int((~np.isfinite(numbers)).sum())
        raise InvalidProblemError(
            f"{name} has {bad} NaN or infinite entries of {numbers.size}; all must be finite"
        )
    return numbers


def _average(matrix: Array) -> Array:
    """Return the symmetric part; halves are summed so that the largest doubles do not overflow."""
    half = 0.5 * matrix
    return half + half.T


def operator_matrix(
    beta: ArrayLike | Callable[[Array], ArrayLike], k: int, name: str = "beta"
) -> Array:
    """Return the n×n svec matrix of an operator given in any accepted form."""
    n = k * (k + 1) // 2
    if callable(beta):
        columns = [svec(symmetric_matrix(beta(E), f"{name}(X)")) for E in svec_basis(k)]
        return np.array(columns).reshape(n, n).T.copy()
    matrix = real_array(beta, name)
    if matrix.shape == (n, n):
        return matrix
    if matrix.shape == (k, k, k, k):
        _check_outputs_symmetric(matrix, name)
        return svec_operator(matrix)
    raise InvalidProblemError(
        f"{name} has shape {matrix.shape}; for alpha of shape ({k}, {k}) it must be "
        f"({n}, {n}) in svec coordinates or ({k}, {k}, {k}, {k})"
    )


def _check_outputs_symmetric(B: Array, name: str) -> None:
    """Refuse a 4-index array that maps symmetric matrices to non-symmetric ones."""
    on_symmetric = 0.5 * (B + B.transpose(0, 1, 3, 2))
    asymmetry = np.abs(on_symmetric - on_symmetric.transpose(1, 0, 2, 3)).max(initial=0.0)
    allowed = _ASYMMETRY_OF_MATRICES * np.abs(B).max(initial=0.0)
    if asymmetry > allowed:
        raise InvalidProblemError(
            f"{name} maps symmetric matrices to non-symmetric ones: asymmetry {asymmetry:.3g}, "
            f"allowed is {allowed:.3g} (rounding)"
        )


def _symmetrised(beta: Array) -> tuple[Array, bool]:
    """Return β, made exactly symmetric when it is so to rounding, and whether it is.

    The rounding allowed is relative to √(β_aa β_bb), the largest an entry of a PSD matrix can be,
    because under a congruence the entries of one β differ by many orders of magnitude.
    """
    if (beta == beta.T).all():
        return beta, True
    scale = np.sqrt(np.abs(beta.diagonal()))
    rounding = _ASYMMETRY_OF_OPERATORS * np.outer(scale, scale)
    if (np.abs(beta - beta.T) <= rounding).all():
        return _average(beta), True
    return beta, False
