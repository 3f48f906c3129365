"""What an integration leaves behind: steps with dense output, events, statistics."""

from __future__ import annotations

from dataclasses import dataclass

from ccpsolve._solution import Solution
from ccpsolve.dvi._smooth import Array, Contact, Vector


@dataclass(frozen=True)
class Event:
    """A change of the number of directions held by the constraint.

    Attributes
    ----------
    t : float
        When.
    before, after : int
        Rank of the multiplier before and after: a direction enters if ``after > before``.
    """

    t: float
    before: int
    after: int


@dataclass
class Statistics:
    """What an integration cost.

    Attributes
    ----------
    steps, rejected : int
        Accepted steps, and trials that were not.
    restarted : int
        Steps of the smallest length taken at first order, where no other succeeded.
    drifts, contacts, solves : int
        Evaluations of the drift, of the constraint, complementarity problems solved.
    """

    steps: int = 0
    rejected: int = 0
    restarted: int = 0
    drifts: int = 0
    contacts: int = 0
    solves: int = 0


@dataclass(frozen=True)
class Step:
    """An accepted step, with dense output in between.

    Attributes
    ----------
    t0, t1 : float
        Start and end.
    z0, z1, rate0, rate1
        States and velocities there.
    before, contact : Contact
        The constraint at the start, and (at the predicted state) at the end.
    slack : ndarray, shape (k, k)
        The slack at the end, in the frame of ``contact``, linear in the correction from there.
    X : ndarray, shape (k, k)
        The mean multiplier, in the frame of ``contact``.
    multiplier : ndarray, shape (k, k)
        The multiplier at the end.
    solution : ccpsolve.Solution or None
        The certified complementarity solution X comes from.
    event : Event or None
        What happens at the end of the step.
    """

    t0: float
    t1: float
    z0: Vector
    z1: Vector
    rate0: Vector
    rate1: Vector
    before: Contact
    contact: Contact
    slack: Array
    X: Array
    multiplier: Array
    solution: Solution | None
    event: Event | None

    def at(self, t: float) -> Vector:
        """Return the state at t0 ≤ t ≤ t1, by cubic Hermite interpolation."""
        h = self.t1 - self.t0
        s = (t - self.t0) / h
        return (
            self.z0 * ((1 + 2 * s) * (1 - s) ** 2)
            + self.z1 * (s**2 * (3 - 2 * s))
            + self.rate0 * (h * s * (1 - s) ** 2)
            + self.rate1 * (-h * s**2 * (1 - s))
        )
