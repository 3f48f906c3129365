"""The exact course of a step along the few directions in which a state decays fastest."""

from __future__ import annotations

import numpy as np

from ccpsolve.dvi._smooth import Array, FastDirections, Vector


class FastCourse:
    """Where stages of a step are along fast directions, whose decay costs no stages then.

    With coordinates a of the change since the start of the step, ``a' = g − λa``. The drive g is
    known at the stages so far: it is taken to be linear between them, and on to the next as between
    the last two, and the equation is solved exactly, over a time s by

    ``a ← e^{−λs}a + sφ₁(λs)g + s²φ₂(λs)g'``, ``φ₁(x) = (1 − e^{−x})/x``, ``φ₂ = (1 − φ₁)/x``.

    That is of second order as well. The rates λ need not be exact: what they leave is in the drive.
    """

    def __init__(self, fast: FastDirections, z: Vector, rate: Vector) -> None:
        self._fast, self._z = fast, z
        self._time, self._drive = 0.0, fast.coordinates(rate)
        self._a = self._change = np.zeros_like(self._drive)

    def learn(self, time: float, z: Vector, rate: Vector) -> None:
        """Take in the rate at a stage, at a time since the start of the step."""
        drive = self._fast.coordinates(rate) + self._fast.rates * self._coordinates(z)
        self._change = (drive - self._drive) / (time - self._time)
        self._a = self._advanced(time)
        self._time, self._drive = time, drive

    def put(self, time: float, z: Vector) -> Vector:
        """Return a stage with the exact coordinates."""
        return z + self._fast.lift(self._advanced(time) - self._coordinates(z))

    def _advanced(self, time: float) -> Array:
        elapsed = time - self._time
        x = self._fast.rates * elapsed
        first, second = phi_functions(x)
        a: Array = np.exp(-x) * self._a + elapsed * first * self._drive
        return a + elapsed**2 * second * self._change

    def _coordinates(self, z: Vector) -> Array:
        return self._fast.coordinates(z - self._z)


def phi_functions(x: Array) -> tuple[Array, Array]:
    """Return ``φ₁(x) = (1 − e^{−x})/x`` and ``φ₂(x) = (1 − φ₁(x))/x``, shaped as x ≥ 0.

    Examples
    --------
    >>> import numpy as np
    >>> from ccpsolve import dvi
    >>> first, second = dvi.phi_functions(np.array([0.0, 1.0]))
    >>> first.round(3).tolist(), second.round(3).tolist()
    ([1.0, 0.632], [0.5, 0.368])
    """
    small = np.abs(x) < 1e-4  # three terms of the series are exact to rounding
    safe = np.where(small, 1.0, x)
    first: Array = np.where(small, 1 - x / 2 + x**2 / 6, -np.expm1(-safe) / safe)
    second: Array = np.where(small, 0.5 - x / 6 + x**2 / 24, (1 - first) / safe)
    return first, second
