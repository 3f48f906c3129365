"""What a solve returns, and how it checks itself against the problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ccpsolve._errors import VerificationError
from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._status import Status

if TYPE_CHECKING:
    from ccpsolve._certificate import Certificate

__all__ = ["Solution"]

Array = NDArray[np.float64]


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
    """

    problem: ConeComplementarityProblem
    X: Array
    S: Array
    status: Status
    certificate: Certificate
    iterations: int
    method: str
    ray: Array | None = None
