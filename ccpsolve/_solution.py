"""What a solve returns, and how it checks itself against the problem."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ccpsolve._certificate import Certificate, certify_problem
from ccpsolve._errors import VerificationError
from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._status import Status
from ccpsolve._symmetric import svec

__all__ = ["Solution"]

Array = NDArray[np.float64]

_SAME = 1e-6
"""How far a recomputed number of the certificate may be from the recorded one, relative to it."""

_ROUNDING = 1e-12
"""Rounding allowed in S and in the conditions on a ray, relative to the terms they are made of."""


@dataclass(frozen=True, eq=False, slots=True)
class Solution:
    """The answer to one cone complementarity problem.

    Attributes
    ----------
    problem : ConeComplementarityProblem
        The data that were solved.
    X, S : ndarray, shape (k, k)
        The solution and its slack ``S = β[X] − α``.
    status : Status
        How the solve ended.
    certificate : Certificate
        Residuals and rigorous error bounds, computed from the data and ``X`` alone.
    iterations : int
        Iterations of the method that produced ``X``.
    method : str
        The method that produced ``X``.
    ray : ndarray, shape (k, k), or None
        For `Status.UNBOUNDED`, the direction D ⪰ 0 with β[D] = 0 and ⟨α, D⟩ > 0.
    sequence : tuple of ndarray, or None
        For `Status.UNATTAINED`, points X ⪰ 0 whose natural residuals fall while their norms grow:
        solutions of problems with β + εI for falling ε.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> solution = ccpsolve.solve_ccp(np.diag([2.0, -1.0]), np.eye(3))
    >>> solution.verify().natural_residual < 1e-14
    True
    """

    problem: ConeComplementarityProblem
    X: Array
    S: Array
    status: Status
    certificate: Certificate
    iterations: int
    method: str
    ray: Array | None = None
    sequence: tuple[Array, ...] | None = None

    def verify(self) -> Certificate:
        """Check this solution against its problem, from the data alone.

        The certificate is recomputed and compared with the recorded one, S is compared with
        ``β[X] − α``, and a ray or a sequence is tested for what it is to show.

        Returns
        -------
        Certificate
            The recomputed certificate.

        Raises
        ------
        VerificationError
            If anything recorded here contradicts the problem data.
        """
        certificate = certify_problem(self.problem, self.X)
        for field in fields(Certificate):
            self._compare(
                field.name,
                getattr(self.certificate, field.name),
                getattr(certificate, field.name),
            )
        self._check_slack()
        if self.ray is not None:
            self._check_ray(self.ray)
        elif self.status is Status.UNBOUNDED:
            raise VerificationError("status is UNBOUNDED, but there is no ray to prove it")
        if self.status is Status.UNATTAINED:
            self._check_sequence(self.sequence or ())
        return certificate

    def _compare(self, name: str, recorded: float, found: float) -> None:
        if not np.isclose(recorded, found, rtol=_SAME, atol=self._unit(name), equal_nan=True):
            raise VerificationError(
                f"certificate.{name} is recorded as {recorded:.6g}, but the data give {found:.6g}"
            )

    def _unit(self, name: str) -> float:
        """Return how large rounding can be in a number of the certificate, in its units."""
        x = _ROUNDING * float(np.linalg.norm(self.X))
        s = _ROUNDING * self._slack_scale()
        units = {"min_eig_X": x, "min_eig_S": s, "natural_residual": _ROUNDING}
        products = ("complementarity", "objective", "dual_bound", "gap_bound")
        return x * s / _ROUNDING if name in products else units.get(name, 0.0)

    def _slack_scale(self) -> float:
        beta, alpha = np.linalg.norm(self.problem.beta), np.linalg.norm(self.problem.alpha)
        return float(beta * np.linalg.norm(self.X) + alpha)

    def _check_slack(self) -> None:
        defect = float(np.linalg.norm(self.S - (self.problem.apply(self.X) - self.problem.alpha)))
        allowed = (_ROUNDING + 10.0 * self.certificate.natural_residual) * self._slack_scale()
        if not defect <= allowed:
            raise VerificationError(
                f"S differs from β[X] − α by {defect:.3g}; its residual explains {allowed:.3g}"
            )

    def _check_sequence(self, sequence: tuple[Array, ...]) -> None:
        if len(sequence) < 2:
            raise VerificationError("status is UNATTAINED, but there is no sequence to show it")
        first, last = (certify_problem(self.problem, X) for X in (sequence[0], sequence[-1]))
        sizes = [float(np.linalg.norm(X)) for X in (sequence[0], sequence[-1])]
        if not (sizes[1] > sizes[0] and last.natural_residual < first.natural_residual):
            raise VerificationError(
                f"along the sequence the norm goes from {sizes[0]:.3g} to {sizes[1]:.3g} and the "
                f"residual from {first.natural_residual:.3g} to {last.natural_residual:.3g}; the "
                "one must grow and the other fall"
            )

    def _check_ray(self, ray: Array) -> None:
        size = float(np.linalg.norm(ray))
        image = float(np.linalg.norm(self.problem.beta @ svec(ray)))
        gain = float(np.vdot(self.problem.alpha, ray))
        conditions = {
            "D ⪰ 0": np.linalg.eigvalsh(ray)[0] >= -_ROUNDING * size,
            "β[D] = 0": image <= 100.0 * _ROUNDING * np.linalg.norm(self.problem.beta) * size,
            "⟨α, D⟩ > 0": gain > _ROUNDING * np.linalg.norm(self.problem.alpha) * size,
        }
        for condition, holds in conditions.items():
            if not holds:
                raise VerificationError(f"the ray D does not satisfy {condition}")
