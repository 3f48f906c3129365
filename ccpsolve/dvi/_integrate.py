"""``integrate``: follow a DVI over an interval."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Generic

import numpy as np

from ccpsolve._errors import InvalidProblemError
from ccpsolve._solution import Solution
from ccpsolve.dvi._euler import euler_step
from ccpsolve.dvi._problem import Problem, State


@dataclass(frozen=True)
class Trajectory(Generic[State]):
    """The path of a DVI.

    Attributes
    ----------
    t : ndarray, shape (m + 1,)
        Times, from ``t0`` to ``t1``.
    states : list of State, length m + 1
        The states at these times.
    solutions : list of ccpsolve.Solution, length m
        The certified complementarity solutions; ``solutions[i].X`` acts over
        ``[t[i], t[i + 1]]``.
    """

    t: np.ndarray
    states: list[State]
    solutions: list[Solution]


def integrate(
    problem: Problem[State],
    state0: State,
    interval: tuple[float, float],
    *,
    method: str = "euler",
    dt: float = 0.25,
) -> Trajectory[State]:
    """Integrate ``z' = f(z) + B(z)X, 0 ⪯ X ⟂ A(z) ⪰ 0``.

    Parameters
    ----------
    problem : Problem
        The DVI.
    state0 : State
        Initial state.
    interval : (t0, t1)
        Finite, with t0 ≤ t1.
    method : {"euler"}
        The scheme; see :func:`euler_step`.
    dt : float
        Step, > 0. The interval is cut into equal steps not longer than ``dt``.

    Returns
    -------
    Trajectory

    Raises
    ------
    ccpsolve.InvalidProblemError
        For an unknown method, an interval that is not finite and ordered, or a bad step.
    ccpsolve.SolveError
        If the complementarity problem of a step has no certified solution.

    Examples
    --------
    A point drifts to the right at unit speed and is held by the wall ``1 − z ≥ 0``.

    >>> import numpy as np
    >>> from ccpsolve import dvi
    >>> class Wall:
    ...     def linearize(self, t, z):
    ...         return dvi.Linearization(
    ...             slack=np.array([[1.0 - z]]),
    ...             alpha=np.array([[1.0]]),
    ...             beta=np.array([[1.0]]),
    ...             advance=lambda X, dt: z + dt * (1.0 - float(X[0, 0])),
    ...         )
    >>> path = dvi.integrate(Wall(), 0.0, (0.0, 2.0))
    >>> path.states[-1]
    1.0
    """
    t0, t1 = interval
    if not (math.isfinite(t0) and math.isfinite(t1) and t0 <= t1):
        raise InvalidProblemError(f"interval must be finite and ordered, found ({t0}, {t1})")
    if not (math.isfinite(dt) and dt > 0):
        raise InvalidProblemError(f"dt must be a positive finite number, found {dt}")
    if method != "euler":
        raise InvalidProblemError(f"method must be 'euler', found {method!r}")
    steps = math.ceil((t1 - t0) / dt * (1 - 1e-12))
    times = np.linspace(t0, t1, steps + 1)
    states, solutions = [state0], []
    for start, end in itertools.pairwise(times):
        step = euler_step(problem, float(start), states[-1], float(end - start))
        states.append(step.state)
        solutions.append(step.solution)
    return Trajectory(times, states, solutions)
