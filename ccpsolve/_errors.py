"""The exceptions of ccpsolve: one small tree under `CCPError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccpsolve._solution import Solution

__all__ = [
    "CCPError",
    "InvalidProblemError",
    "MissingBackendError",
    "NotDifferentiableError",
    "SolveError",
    "VerificationError",
]


class CCPError(Exception):
    """Base class of every exception that ccpsolve raises on purpose."""


class InvalidProblemError(CCPError, ValueError):
    """An argument is not what the problem needs: the message names it and says what is allowed."""


class SolveError(CCPError):
    """A solve ended without a certified solution; ``.solution`` holds what was found.

    Parameters
    ----------
    message : str
        What happened, why, and what to do.
    solution : Solution, optional
        The best point found together with its status and certificate.
    """

    def __init__(self, message: str, solution: Solution | None = None) -> None:
        super().__init__(message)
        self.solution = solution


class VerificationError(CCPError):
    """A `Solution` contradicts the problem data it claims to solve."""


class NotDifferentiableError(CCPError):
    """The solution of this problem is not a differentiable function of its data here."""


class MissingBackendError(CCPError, ImportError):
    """An optional solver is not installed; the message names the extra that brings it."""
