"""DVIs with closed-form solutions, to test an integrator on.

Each function returns an :class:`Example`: the problem, its start and interval, its exact solution,
and the times at which directions enter and leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from ccpsolve.dvi._arrays import ArrayProblem
from ccpsolve.dvi._smooth import Array

__all__ = ["EXAMPLES", "Example", "disc", "index_two", "rotating", "spectrahedron", "wall"]


@dataclass(frozen=True)
class Example:
    """A DVI whose solution is known.

    Attributes
    ----------
    problem : ArrayProblem
    z0 : ndarray, shape (d,)
    interval : (float, float)
    exact : callable t -> ndarray, shape (d,)
    events : tuple of (float, int)
        Times of events, and the rank of the multiplier after each.
    """

    problem: ArrayProblem
    z0: Array
    interval: tuple[float, float]
    exact: Callable[[float], Array]
    events: tuple[tuple[float, int], ...]


def wall() -> Example:
    """Return a point driven by ``cos t + 1/10`` against a wall: entry, exit, and re-entry.

    It starts at 0, the wall ``z ≤ ½`` holds it until the drift turns, and catches it again.
    """
    bias, height = 0.1, 0.5
    leave = np.arccos(-bias)

    def travelled(t: float) -> float:
        return float(np.sin(t) + bias * t)

    def gap(t: float) -> float:
        return travelled(t) - travelled(leave)

    entry = brentq(lambda t: travelled(t) - height, 0.0, 1.0, xtol=1e-14)
    back = brentq(gap, 1.5 * np.pi, 2.5 * np.pi, xtol=1e-14)

    def exact(t: float) -> Array:
        if t <= entry:
            return np.array([travelled(t)])
        return np.array([height + (gap(t) if leave < t < back else 0.0)])

    problem = ArrayProblem(
        f=lambda t, z: np.array([np.cos(t) + bias]),
        A=lambda t, z: np.array([[height - z[0]]]),
        B=lambda t, z, X: -X[0],
        dA=lambda t, z, v: np.array([[-v[0]]]),
    )
    events = ((entry, 1), (float(leave), 0), (back, 1))
    return Example(problem, np.zeros(1), (0.0, 7.5), exact, events)


def disc() -> Example:
    """Return a wind that carries a point through the unit disc and along its rim.

    The projected gradient flow of ``−x`` on ``1 − x² − y² ≥ 0``. Held by the rim at the angle θ,
    ``θ' = −sin θ``, that is ``tan(θ/2) = tan(θ₀/2)e^{−t}``.
    """
    entry, theta = 1.2, np.arctan2(0.8, 0.6)

    def exact(t: float) -> Array:
        if t <= entry:
            return np.array([-0.6 + t, 0.8])
        angle = 2 * np.arctan(np.tan(theta / 2) * np.exp(entry - t))
        return np.array([np.cos(angle), np.sin(angle)])

    problem = ArrayProblem(
        f=lambda t, z: np.array([1.0, 0.0]),
        A=lambda t, z: np.array([[1.0 - z @ z]]),
        B=lambda t, z, X: -2.0 * X[0, 0] * z,
        dA=lambda t, z, v: np.array([[-2.0 * z @ v]]),
    )
    return Example(problem, np.array([-0.6, 0.8]), (0.0, 4.0), exact, ((entry, 1),))


def spectrahedron(
    targets: Sequence[float] = (3.0, 1.5, 0.4),
    starts: Sequence[float] = (0.0, 0.2, 0.6),
    *,
    margin: float = np.inf,
) -> Example:
    """Return the projected gradient flow of ``½‖Z − C‖²`` in ``Z ⪯ I``, from inside.

    In the eigenbasis of C each eigenvalue relaxes to its target ``cᵢ`` until it meets 1.

    Parameters
    ----------
    targets, starts : sequence of float, length m
        Eigenvalues of C, and those of Z at the start, < 1.
    margin : float
        See :class:`ccpsolve.dvi.ArrayProblem`.
    """
    rng, m = np.random.default_rng(0), len(targets)
    Q, _ = np.linalg.qr(rng.standard_normal((m, m)))
    target, start = np.array(targets), np.array(starts)
    C = Q @ np.diag(target) @ Q.T

    def exact(t: float) -> Array:
        free = target + (start - target) * np.exp(-t)
        return (Q @ np.diag(np.minimum(free, 1.0)) @ Q.T).ravel()

    meeting = target > 1.0
    times = np.sort(np.log((target - start)[meeting] / (target - 1.0)[meeting]))
    problem = ArrayProblem(
        f=lambda t, z: C.ravel() - z,
        A=lambda t, z: np.eye(m) - z.reshape(m, m),
        B=lambda t, z, X: -X.ravel(),
        dA=lambda t, z, v: -v.reshape(m, m),
        margin=margin,
    )
    events = tuple((float(t), rank) for rank, t in enumerate(times, start=1))
    return Example(problem, exact(0.0), (0.0, 2.0), exact, events)


def rotating(rate: float = 0.7) -> Example:
    """Return a matrix whose eigenvalues meet a wall and leave it while its eigenvectors turn.

    ``Z = Q diag(z) Qᵀ ⪯ I`` with Q(t) turning at a given rate, ``z₁' = 1`` and ``z₂' = 3/2 − t``
    until they meet 1: the rank of X goes 0, 1, 2, 1.
    """
    spin = rate * np.array([[0.0, -1.0], [1.0, 0.0]])

    def turn(t: float) -> Array:
        c, s = np.cos(rate * t), np.sin(rate * t)
        return np.array([[c, -s], [s, c]])

    first, second, leave = 0.5, 1.5 - np.sqrt(0.85), 1.5

    def exact(t: float) -> Array:
        top = 0.3 + 1.5 * t - 0.5 * t**2
        z2 = top if t < second else 1.0 - 0.5 * max(t - leave, 0.0) ** 2
        Q = turn(t)
        return (Q @ np.diag([min(0.5 + t, 1.0), z2]) @ Q.T).ravel()

    def drift(t: float, z: Array) -> Array:
        Q, Z = turn(t), z.reshape(2, 2)
        return (Q @ np.diag([1.0, 1.5 - t]) @ Q.T + spin @ Z - Z @ spin).ravel()

    problem = ArrayProblem(
        f=drift,
        A=lambda t, z: np.eye(2) - z.reshape(2, 2),
        B=lambda t, z, X: -X.ravel(),
        dA=lambda t, z, v: -v.reshape(2, 2),
    )
    events = ((first, 1), (float(second), 2), (leave, 1))
    return Example(problem, exact(0.0), (0.0, 3.0), exact, events)


def index_two() -> Example:
    """Return a differential-algebraic equation of index 2: a point that never leaves the circle.

    The reaction ``−(2x, 3y)X`` is not normal to the circle; the drift is made so that the point
    is at the angle ``t + ½ sin t``, held by ``X = 2 + sin t``.
    """
    reaction = np.array([2.0, 3.0])

    def exact(t: float) -> Array:
        angle = t + 0.5 * np.sin(t)
        return np.array([np.cos(angle), np.sin(angle)])

    def drift(t: float, z: Array) -> Array:
        on = exact(t)
        speed = 1 + 0.5 * np.cos(t)
        motion = speed * np.array([-on[1], on[0]])
        return motion + (2.0 + np.sin(t)) * reaction * on + np.array([0.5, -1.0]) * (z - on)

    problem = ArrayProblem(
        f=drift,
        A=lambda t, z: np.array([[1.0 - z @ z]]),
        B=lambda t, z, X: -X[0, 0] * reaction * z,
        dA=lambda t, z, v: np.array([[-2.0 * z @ v]]),
        stiffness=1.0,
    )
    return Example(problem, exact(0.0), (0.0, 5.0), exact, ())


EXAMPLES: dict[str, Callable[[], Example]] = {
    "wall": wall,
    "disc": disc,
    "spectrahedron": spectrahedron,
    "rotating": rotating,
    "index_two": index_two,
}
