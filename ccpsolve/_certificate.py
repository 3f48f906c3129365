"""How good a candidate solution is, proved from the problem data alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ccpsolve._errors import InvalidProblemError
from ccpsolve._problem import ConeComplementarityProblem, symmetric_matrix

__all__ = ["Certificate", "certify_ccp", "certify_problem"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Certificate:
    r"""Residuals and rigorous error bounds of a candidate X for CCP(α, β).

    The residuals measure, the bounds prove: they hold for candidates from any source and include
    the rounding of their own evaluation. With B the symmetric part of β and X* the exact solution
    for the float64 data as stored:

    Attributes
    ----------
    min_eig_X, min_eig_S : float
        Smallest eigenvalues of X and of ``S = β[X] − α`` (units of X and of α).
    complementarity : float
        ``⟨X, S⟩``.
    natural_residual : float
        ``‖X − Π(X − τS)‖_F / x_s`` with ``x_s = max(‖X‖_F, ‖α‖_F/‖β‖₂)`` and
        ``τ = x_s / (‖β‖₂‖X‖_F + ‖α‖_F)``; without units, zero exactly at solutions.
    error_bound : float
        ``‖X − X*‖_F`` is at most this; infinite unless B was proved positive definite.
    error_bound_beta : float
        ``‖X − X*‖_B = √⟨X − X*, B[X − X*]⟩`` is at most this; infinite as above.
    objective : float
        ``q(X) = ½⟨X, β[X]⟩ − ⟨α, X⟩``; NaN for non-symmetric β, which has no objective.
    dual_bound : float
        A lower bound of ``min q``; −inf where B was not proved positive definite, NaN for
        non-symmetric β.
    gap_bound : float
        ``|q(X) − q(X*)|`` is at most this; infinite as above, NaN for non-symmetric β.
    min_eig_beta : float
        A proved lower bound of the smallest eigenvalue of B; 0 where none was proved.
    """

    min_eig_X: float
    min_eig_S: float
    complementarity: float
    natural_residual: float
    error_bound: float
    error_bound_beta: float
    objective: float
    dual_bound: float
    gap_bound: float
    min_eig_beta: float

    @property
    def is_bounded(self) -> bool:
        """Whether the distance to the solution is bounded (B was proved positive definite)."""
        return bool(np.isfinite(self.error_bound))


def certify_ccp(
    alpha: ArrayLike, beta: ArrayLike | Callable[[Array], ArrayLike], X: ArrayLike
) -> Certificate:
    r"""Say how far a candidate X is from the solution of CCP(α, β), and prove it.

    With B the symmetric part of β, proved positive definite, take any pair Y ⪰ 0, T ⪰ 0 and put
    ``R = β[Y] − α − T``, ``ρ = ‖R‖_{B⁻¹}``, ``c = ⟨Y, T⟩``. Monotonicity gives

    .. math:: ‖Y − X^*‖_B ≤ \tfrac12 \bigl(ρ + \sqrt{ρ^2 + 4c}\bigr), \qquad
              ‖Y − X^*‖_F ≤ ‖Y − X^*‖_B / \sqrt{λ_{\min}(B)},

    and for symmetric β also ``0 ≤ q(Y) − q(X*) ≤ c + ρ²/2``. The pair comes from the spectral
    splitting of ``Z = X − τS``, ``S = β[X] − α``: ``Y = Π(Z)`` and ``T = Π(−Z)/τ``, with the τ of
    the natural residual, so that c vanishes but for rounding and the bound is linear in the
    residual. The distance from Y to X is added in the same norm.

    Parameters
    ----------
    alpha : array_like, shape (k, k)
        Symmetric matrix α.
    beta : array_like, shape (n, n) or (k, k, k, k), or callable
        The operator β, as for `ConeComplementarityProblem`.
    X : array_like, shape (k, k)
        Any symmetric matrix; it need not be positive semidefinite.

    Returns
    -------
    Certificate
        Residuals and bounds. For a β whose symmetric part is singular, indefinite, or too close to
        that to be proved definite in float64, the bounds are infinite; the residuals remain.

    Raises
    ------
    InvalidProblemError
        If an argument is not valid data or the shapes do not match.

    Notes
    -----
    The bounds hold for the exact solution of the float64 data as stored, and include every rounding
    error of their evaluation, barring underflow of entries 280 orders of magnitude below the
    largest. Costs two n×n Cholesky factorisations and four k×k eigendecompositions.

    References
    ----------
    Cohen, Damian, Talwalkar, Kolter, Lee, arXiv:2410.24206, Lemma 5 (the problem). S. M. Rump,
    Verification of positive definiteness, BIT 46 (2006), doi:10.1007/s10543-006-0056-1.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> certificate = ccpsolve.certify_ccp(np.diag([1.0, -1.0]), np.eye(3), np.diag([1.0, 1e-9]))
    >>> 1e-9 <= certificate.error_bound < 1.01e-9
    True
    """
    return certify_problem(ConeComplementarityProblem(alpha, beta), X)


def certify_problem(problem: ConeComplementarityProblem, X: ArrayLike) -> Certificate:
    """Return the certificate of a candidate for validated data; see `certify_ccp`.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data.
    X : array_like, shape (k, k)
        The candidate.

    Returns
    -------
    Certificate
        As `certify_ccp`.

    Raises
    ------
    InvalidProblemError
        If X is not a symmetric k×k matrix of finite numbers.

    Examples
    --------
    >>> import ccpsolve
    >>> from ccpsolve._certificate import certify_problem
    >>> problem = ccpsolve.ConeComplementarityProblem([[3.0]], [[2.0]])
    >>> certify_problem(problem, [[1.5]]).natural_residual
    0.0
    """
    candidate = symmetric_matrix(X, "X")
    if candidate.shape != problem.alpha.shape:
        raise InvalidProblemError(
            f"X has shape {candidate.shape}; the problem needs {problem.alpha.shape}"
        )
    if problem.k == 0:
        return _EMPTY
    from ccpsolve._certificate_kernel import FIELDS, certificate_kernel

    out = np.empty(FIELDS)
    buffer, integers = _work(problem.k)
    certificate_kernel(
        problem.alpha, problem.beta, problem.symmetric, candidate, buffer, integers, out
    )
    return Certificate(*out.tolist())


def _work(k: int) -> tuple[Array, NDArray[np.int32]]:
    """Return work arrays, the same ones for calls of the same order from the same thread.

    Fresh pages for every call would cost as much as the certificate.
    """
    from ccpsolve._certificate_work import certificate_work_sizes

    if getattr(_kept, "k", None) == k:
        work: tuple[Array, NDArray[np.int32]] = _kept.work
        return work
    floats, integers = certificate_work_sizes(k)
    work = np.empty(floats), np.empty(integers, dtype=np.int32)
    if k <= _KEPT_ORDER:
        _kept.k, _kept.work = k, work
    return work


_kept = threading.local()
_KEPT_ORDER = 32
"""Largest order whose work arrays (6 MB then) are kept between calls."""

_EMPTY = Certificate(*[0.0] * 10)
"""The certificate at k = 0, where the empty matrix is the exact solution."""
