"""The protocol through which an integrator sees a DVI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

State = TypeVar("State")
FloatArray = np.ndarray


@dataclass(frozen=True)
class Linearization(Generic[State]):
    """A DVI near one point ``(t, z)``, in a frame ``U`` of its nearly active directions.

    Over a short step the slack moves by ``d/dt(UᵀAU) = −(α − β[X])``.

    Attributes
    ----------
    slack : ndarray, shape (k, k)
        ``UᵀA(z)U``, symmetric. May be slightly indefinite: that is drift to be corrected.
    alpha : ndarray, shape (k, k)
        ``−d/dt(UᵀAU)`` in the absence of a reaction (slack lost per unit time).
    beta : ndarray, shape (n, n) with n = k(k+1)/2
        The map from ``X`` to the slack gained per unit time, in svec coordinates.
    advance : callable (X, dt) -> state
        The explicit Euler step ``z + dt (f(z) + B(z) X)``.
    """

    slack: FloatArray
    alpha: FloatArray
    beta: FloatArray
    advance: Callable[[FloatArray, float], State]

    @property
    def k(self) -> int:
        """Dimension of the frame."""
        return self.slack.shape[0]


class Problem(Protocol[State]):
    """A DVI ``z' = f(z) + B(z)X, 0 ⪯ X ⟂ A(z) ⪰ 0``."""

    def linearize(self, t: float, state: State) -> Linearization[State]:
        """Return the reduced data at ``(t, state)``.

        The frame must contain every direction in which ``A`` could become singular during the
        next step; directions that turn out to be inactive get a zero block of ``X``.
        """
        ...
