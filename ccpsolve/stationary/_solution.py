"""The stationary preconditioner that a solve returns, and how it checks itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccpsolve._errors import VerificationError
from ccpsolve._status import Status
from ccpsolve.stationary._certificate import Certificate, certify_exactly, certify_with_probability
from ccpsolve.stationary._problem import StationaryProblem

__all__ = ["StationaryPreconditioner"]

Array = NDArray[np.float64]

_ROUNDING = 1e-9  # relative disagreement that recomputation may show


@dataclass(frozen=True, eq=False)
class StationaryPreconditioner:
    r"""RMSProp's stationary preconditioner with the certificate that it is one.

    Attributes
    ----------
    p : ndarray, shape (d,)
        The preconditioner P̄, feasible: H ⪯ 2 diag(p). Units of H.
    nu : ndarray, shape (d,)
        ν̄ = η²p², what the moving average of g² tends to.
    D : ndarray, shape (d, r)
        Factor of the oscillation covariance Σ = DDᵀ = (η²/2)Z, with Z dual feasible.
    primal, dual : float
        Values of p and of Z, that of Z bounded from below; the minimum lies between them.
    gap : float
        Certified relative gap ``(primal − dual)/primal``.
    status : Status
        SOLVED when ``gap ≤ tol``.
    message : str
        What happened, why, and what to do.
    effective_sharpness : float
        Upper bound on λ_max(P⁻¹H) of the method's own p, before it was made feasible; a value far
        above 2 exposes a false fixed point.
    failure_probability : float
        Probability that p is not feasible after all, or the value of Z below ``dual``; 0 where H
        was factorised.
    products : int
        Columns H was applied to, certificates included (0 where its entries were used).
    iterations : int
        Iterations of the method.
    method : str
        The method that ran.
    problem : StationaryProblem
        The data.
    factor : ndarray, shape (d, m), or None
        L of the part LLᵀ of H that a matrix-free solve found to matter; a warm start uses it.
    """

    p: Array
    nu: Array
    D: Array
    primal: float
    dual: float
    gap: float
    status: Status
    message: str
    effective_sharpness: float
    failure_probability: float
    products: int
    iterations: int
    method: str
    problem: StationaryProblem
    factor: Array | None = None

    @property
    def rank(self) -> int:
        """Rank r of Σ."""
        return self.D.shape[1]

    def verify(
        self, *, failure_probability: float = 1e-6, rng: np.random.Generator | int | None = None
    ) -> Certificate:
        """Recompute everything from the data and compare.

        Parameters
        ----------
        failure_probability : float
            Of the fresh bound on λ_max where only products are known.
        rng : numpy.random.Generator or int, optional
            Source of its random start, or a seed.

        Returns
        -------
        Certificate
            Of ``p`` and ``D`` as they are; matrix-free its gap may be looser than ``gap``, because
            less is known about the spectrum than at the end of the solve.

        Raises
        ------
        VerificationError
            When the values differ from the recomputed ones, Z is not dual feasible, or p is proved
            infeasible.

        Examples
        --------
        >>> import numpy as np
        >>> from ccpsolve.stationary import stationary_preconditioner
        >>> sp = stationary_preconditioner([0.1, 0.1], np.diag([1.0, -3.0]), 1.0)
        >>> sp.verify().gap < 1e-8
        True
        """
        problem = self.problem
        scale = max(abs(self.primal), np.finfo(np.float64).tiny)
        E = self.D * (np.sqrt(2) / problem.lr)
        longest = float(np.einsum("ij,ij->i", E, E).max(initial=0.0))
        if longest > 0.5 * (1 + _ROUNDING):
            raise VerificationError(
                f"D has a row with ‖D_i‖² = {longest / 0.5:.6g}·η²/4; allowed: 1"
            )
        _compare("nu", float(np.abs(self.nu - (problem.lr * self.p) ** 2).max(initial=0.0)), scale)
        _compare("primal", problem.primal_value(self.p) - self.primal, scale)
        dual = problem.dual_value(E, problem.hessian.apply(E))
        # a bound from products at hand may be below it
        _compare("dual", max(self.dual - dual, 0.0), scale)
        if self.failure_probability == 0:
            fresh = certify_exactly(problem, self.p, E, 0.0)
            violated = fresh.effective_sharpness
        else:
            fresh = certify_with_probability(
                problem, self.p, E, 0.0, failure_probability=failure_probability, rng=rng
            )
            violated = 0.0 if fresh.bound is None else fresh.bound.estimate
        if violated > 2 * (1 + _ROUNDING):
            raise VerificationError(f"p is not feasible: λ_max(P⁻¹H) = {violated:.9g}; allowed: 2")
        return fresh


def _compare(name: str, difference: float, scale: float) -> None:
    if not abs(difference) <= _ROUNDING * scale:
        raise VerificationError(f"{name} differs from its recomputed value by {difference:.3g}")
