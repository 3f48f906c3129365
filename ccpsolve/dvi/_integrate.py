"""``integrate``: follow a DVI over an interval."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Generic, cast

import numpy as np

from ccpsolve._arguments import require_positive
from ccpsolve._errors import InvalidProblemError
from ccpsolve._solution import Solution
from ccpsolve.dvi._adaptive import AdaptiveIntegrator
from ccpsolve.dvi._dense import Event, Statistics, Step
from ccpsolve.dvi._euler import euler_step
from ccpsolve.dvi._problem import Problem, State
from ccpsolve.dvi._smooth import SmoothProblem

# Length of the first adaptive step relative to the interval.
_FIRST = 0.01


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
        ``[t[i], t[i + 1]]``. The adaptive method has none (None) where no direction is near.
    steps : list of Step
        Steps of the adaptive method, with dense output.
    events : list of Event
        When directions entered and left, as the adaptive method located them.
    statistics : Statistics or None
        What the adaptive method spent.
    """

    t: np.ndarray
    states: list[State]
    solutions: list[Solution | None]
    steps: tuple[Step, ...] = ()
    events: tuple[Event, ...] = ()
    statistics: Statistics | None = None

    def __call__(self, t: float) -> State:
        """Return the state at any time of the interval.

        Raises
        ------
        InvalidProblemError
            If t is outside, or the method has no dense output and t is not one of the times.
        """
        if not self.t[0] <= t <= self.t[-1]:
            raise InvalidProblemError(
                f"t must lie between {self.t[0]:g} and {self.t[-1]:g}, found {t}"
            )
        index = bisect.bisect_left(self.t, t)
        if self.t[index] == t:
            return self.states[index]
        if not self.steps:
            raise InvalidProblemError(f"t must be one of the times of the steps, found {t}")
        return cast(State, self.steps[index - 1].at(t))


def integrate(
    problem: Problem[State] | SmoothProblem,
    state0: State,
    interval: tuple[float, float],
    *,
    method: str = "euler",
    dt: float = 0.25,
    rtol: float = 1e-3,
    atol: float = 1e-6,
    event_tol: float = 1e-8,
) -> Trajectory[State]:
    """Integrate ``z' = f(z) + B(z)X, 0 ⪯ X ⟂ A(z) ⪰ 0``.

    Parameters
    ----------
    problem : Problem (method "euler") or SmoothProblem (method "adaptive")
        The DVI; an :class:`ArrayProblem` is both.
    state0 : State
        Initial state.
    interval : (t0, t1)
        Finite, with t0 ≤ t1.
    method : {"euler", "adaptive"}
        The scheme; see :func:`euler_step` and :class:`AdaptiveIntegrator`.
    dt : float
        Euler step, > 0. The interval is cut into equal steps not longer than ``dt``.
    rtol, atol : float
        Adaptive method: the error allowed is ``rtol`` times the length of the path plus ``atol``
        times the duration.
    event_tol : float
        Adaptive method: events are located to this time.

    Returns
    -------
    Trajectory

    Raises
    ------
    ccpsolve.InvalidProblemError
        For an unknown method, an interval that is not finite and ordered, or a bad step or
        tolerance.
    ccpsolve.SolveError
        If the complementarity problem of a step has no certified solution.
    IntegrationError
        If the error cannot be brought down to the tolerance.

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
    t0, t1 = _ends(interval)
    require_positive(dt=dt, event_tol=event_tol)
    numbers = isinstance(rtol, Real) and isinstance(atol, Real)
    if not (numbers and rtol >= 0 and atol >= 0 and 0 < rtol + atol < math.inf):
        raise InvalidProblemError(
            f"rtol and atol must be finite, ≥ 0 and not both 0, found {rtol} and {atol}"
        )
    if method == "euler":
        return _euler(cast(Problem[State], problem), state0, t0, t1, dt)
    if method == "adaptive":
        tolerances = {"rtol": rtol, "atol": atol, "event_tol": event_tol}
        return _adaptive(cast(SmoothProblem, problem), state0, t0, t1, tolerances)
    raise InvalidProblemError(f"method must be 'euler' or 'adaptive', found {method!r}")


def _ends(interval: tuple[float, float]) -> tuple[float, float]:
    ends = tuple(interval) if isinstance(interval, Iterable) else ()
    if len(ends) != 2 or not all(isinstance(t, Real) and math.isfinite(t) for t in ends):
        raise InvalidProblemError(
            f"interval must be two finite numbers, t0 and t1, found {interval!r}"
        )
    if not ends[0] <= ends[1]:
        raise InvalidProblemError(f"interval must be ordered, t0 ≤ t1, found {interval!r}")
    return ends


def _euler(
    problem: Problem[State], state0: State, t0: float, t1: float, dt: float
) -> Trajectory[State]:
    steps = math.ceil((t1 - t0) / dt * (1 - 1e-12))
    times = np.linspace(t0, t1, steps + 1)
    states: list[State] = [state0]
    solutions: list[Solution | None] = []
    for start, end in itertools.pairwise(times):
        step = euler_step(problem, float(start), states[-1], float(end - start))
        states.append(step.state)
        solutions.append(step.solution)
    return Trajectory(times, states, solutions)


def _adaptive(
    problem: SmoothProblem, state0: Any, t0: float, t1: float, tolerances: dict[str, Any]
) -> Trajectory[Any]:
    if t0 == t1:
        return Trajectory(np.array([t0]), [state0], [], statistics=Statistics())
    first = _FIRST * (t1 - t0)
    integrator = AdaptiveIntegrator(problem, t0, state0, first_step=first, **tolerances)
    start, steps = integrator.z, []
    while integrator.t < t1:
        steps.append(integrator.step(t1))
    return Trajectory(
        np.array([t0, *(step.t1 for step in steps)]),
        [start, *(step.z1 for step in steps)],
        [step.solution for step in steps],
        tuple(steps),
        tuple(integrator.events),
        integrator.statistics,
    )
