"""How a solve ended: an enumeration whose members carry their message."""

from __future__ import annotations

from enum import Enum

__all__ = ["Status"]


class Status(Enum):
    """How a solve of a cone complementarity problem ended.

    Each member has an integer ``value`` (what compiled code returns, stable across releases) and a
    ``message`` that says what happened, why, and what to do.

    Examples
    --------
    >>> from ccpsolve import Status
    >>> Status(0)
    <Status.SOLVED: 0>
    >>> Status.SOLVED.ok, Status.UNBOUNDED.ok
    (True, False)
    >>> print(Status.SOLVED.message)
    A solution was found and certified to the tolerance asked for.
    """

    message: str

    SOLVED = (0, "A solution was found and certified to the tolerance asked for.")
    ALMOST_SOLVED = (
        1,
        "A solution was found and certified, but to a looser tolerance than asked for: rounding in "
        "data this badly conditioned allows no better. Read the certificate, or pass a larger tol.",
    )
    UNBOUNDED = (
        2,
        "There is no solution: along the direction D in `ray` (D ⪰ 0, β[D] = 0, ⟨α, D⟩ > 0) the "
        "objective falls without bound. Make β positive definite on that direction, or change α.",
    )
    UNATTAINED = (
        3,
        "There is no solution: the infimum is finite but only approached as ‖X‖ → ∞, as along "
        "`sequence`. "
        "Make β positive definite, for example by adding a small multiple of the identity.",
    )
    NOT_MONOTONE = (
        4,
        "The symmetric part of β has a negative eigenvalue, so no method is guaranteed to find a "
        "solution and none may exist; residuals are reported, error bounds are infinite.",
    )
    ITERATION_LIMIT = (
        5,
        "The iteration limit was reached before the tolerance. "
        "Start from a nearby solution (x0), raise tol, or try method='clarabel' or 'scs'.",
    )
    NUMERICAL_ERROR = (
        6,
        "Rounding errors stopped every method before a solution could be certified. "
        "Rescale the data, or save the problem with problem.save(path) and report it.",
    )

    def __new__(cls, code: int, message: str) -> Status:
        """Make a member whose value is ``code``."""
        member = object.__new__(cls)
        member._value_ = code
        member.message = message
        return member

    @property
    def ok(self) -> bool:
        """Whether the solve ended with a certified solution."""
        return self in (Status.SOLVED, Status.ALMOST_SOLVED)
