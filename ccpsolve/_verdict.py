"""What an answer is worth: from certificate to status."""

from __future__ import annotations

import logging

import numpy as np

from ccpsolve._certificate import Certificate
from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._status import Status

__all__ = ["AT_ROUNDING", "ROUNDING_OF_EIGENVALUES", "is_monotone", "verdict"]

_logger = logging.getLogger(__name__)

AT_ROUNDING = 1e-13
"""Natural residual that more work does not lower; above it slower algorithms are tried."""

_ALMOST = 1e-6
"""Natural residual up to which an answer less accurate than asked for is ALMOST_SOLVED."""

ROUNDING_OF_EIGENVALUES = 4e-16
"""Per n, relative to ‖B‖: how negative rounding alone can make the smallest eigenvalue of B ⪰ 0."""


def verdict(problem: ConeComplementarityProblem, certificate: Certificate, tol: float) -> Status:
    """Judge a candidate by its certificate, without asking whether there is a solution at all.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data.
    certificate : Certificate
        Of the candidate.
    tol : float
        Largest natural residual of an answer that is SOLVED.

    Returns
    -------
    Status
        SOLVED, ALMOST_SOLVED, NOT_MONOTONE or NUMERICAL_ERROR.
    """
    if certificate.min_eig_beta <= 0.0 and not is_monotone(problem):
        return Status.NOT_MONOTONE
    if certificate.natural_residual <= tol:
        return Status.SOLVED
    if certificate.natural_residual <= _ALMOST:
        return Status.ALMOST_SOLVED
    return Status.NUMERICAL_ERROR


def is_monotone(problem: ConeComplementarityProblem) -> bool:
    """Whether the symmetric part of β is positive semidefinite to rounding.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        The data.

    Returns
    -------
    bool
        False where its smallest eigenvalue is below −4·10⁻¹⁶ n‖B‖. A negative one closer to zero
        is logged, and taken as zero.
    """
    beta = problem.beta / np.abs(problem.beta).max(initial=np.finfo(float).tiny)
    eigenvalues = np.linalg.eigvalsh(0.5 * (beta + beta.T))
    norm = np.abs(eigenvalues).max(initial=0.0)
    smallest = eigenvalues.min(initial=0.0)
    if smallest < -ROUNDING_OF_EIGENVALUES * problem.n * norm:
        return False
    if smallest < 0.0:
        _logger.info(
            "beta has the eigenvalue %.1e relative to its norm, which is rounding: taken as 0",
            smallest / norm,
        )
    return True
