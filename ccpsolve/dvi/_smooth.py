"""The protocol through which the adaptive integrator sees a DVI.

States, forces and velocities are flat arrays of one library (NumPy, torch, …) that can be added,
multiplied by floats and by each other (``@``), and indexed like NumPy's; only k×k data are NumPy
float64. A *force* is what the reaction is extrapolated in: it acts on the state by
``z' = f(t, z) + push(t, z, force)``, and ``force = columns @ svec(X)`` is linear in the multiplier
X.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector = Any
"""A flat array of any library, shape (m,)."""
Matrix = Any
"""Columns of that library, shape (m, n)."""


class FastDirections(Protocol):
    """A few directions in which a state decays fast, ``a' ≈ −rates·a + …`` in coordinates a."""

    @property
    def rates(self) -> Array:
        """Decay rates, shape (m,)."""
        ...

    def coordinates(self, change: Vector) -> Array:
        """Return the coordinates of a change of the state, shape (m,)."""
        ...

    def lift(self, coordinates: Array) -> Vector:
        """Return the change of the state that has these coordinates and no others."""
        ...


class Contact(Protocol):
    """A DVI near one point ``(t, z)``, in a frame U of its k nearly active directions.

    The multiplier X lives in this frame. With ``n = k(k+1)/2``, svec as in `ccpsolve.svec`. A
    contact may know :class:`FastDirections`, as ``fast``.
    """

    @property
    def slack(self) -> Array:
        """``UᵀA(t, z)U``, shape (k, k)."""
        ...

    @property
    def slack_rate(self) -> Array:
        """``Uᵀ(∂A/∂t)U``, the change of the slack at a fixed state, shape (k, k)."""
        ...

    @property
    def beyond(self) -> Array:
        """The smallest slacks outside the frame, as far as they are known, shape (g,).

        They tell when a direction will enter.
        """
        ...

    @property
    def transport(self) -> Array:
        """Coordinates of the previous contact's frame in this one, shape (k, k0).

        A multiplier X0 there is ``transport @ X0 @ transport.T`` here.
        """
        ...

    @property
    def stiffness(self) -> float:
        """Bound on the decay rates of ``f`` here but in fast directions that are known.

        Decides the number of stages.
        """
        ...

    @property
    def columns(self) -> Matrix:
        """The forces of unit multipliers here: ``force = columns @ svec(X)``, (m, n)."""
        ...

    @property
    def carried(self) -> Matrix:
        """The same at the previous contact, in the frame of this one, (m, n)."""
        ...

    def velocity(self, forces: Matrix, h: float) -> Matrix:
        """Return what constant forces make of the velocity, averaged over a time h up to here.

        To first order in h that is ``push``; a stiff problem relaxes the displacement inside the
        step: along a direction that decays at the rate λ, the factor is ``(1 − e^{−λh})/(λh)``.
        """
        ...

    def relax(self, displacements: Matrix, h: float) -> Matrix:
        """Return the mean, over a time h up to here, of displacements while they decay.

        Along a direction that decays at the rate λ, the factor is ``(1 − e^{−λh})/(λh)``; a
        problem that is not stiff returns them as they are.
        """
        ...

    def differentiate(self, velocities: Matrix) -> Array:
        """Return ``svec(Uᵀ (∂A/∂z · v) U)`` for each column v, shape (n, columns)."""
        ...


class SmoothProblem(Protocol):
    """A DVI ``z' = f(t, z) + push(t, z, force)``, ``0 ⪯ X ⟂ A(t, z) ⪰ 0``, smooth by pieces."""

    def drift(self, t: float, z: Vector) -> Vector:
        """Return ``f(t, z)``."""
        ...

    def push(self, t: float, z: Vector, force: Vector) -> Vector:
        """Return the velocity that a force gives to the state."""
        ...

    def contact(self, t: float, z: Vector, previous: Contact | None, multiplier: Array) -> Contact:
        """Look at the constraint.

        Parameters
        ----------
        t, z
            Where.
        previous : Contact or None
            The contact at the end of the last accepted step.
        multiplier : ndarray, shape (k0, k0)
            The multiplier expected here, in the previous frame. The new frame must contain its
            range, and all directions in which A may become singular.
        """
        ...

    def combine(self, columns: Matrix, x: Array) -> Vector:
        """Return ``columns @ x``."""
        ...

    def norm(self, z: Vector, difference: Vector) -> float:
        """Return the size of an error made at z, in the units of ``atol``."""
        ...
