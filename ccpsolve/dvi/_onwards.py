"""Where a step leads to, and with what multiplier it goes on from there."""

from __future__ import annotations

import math

import numpy as np

from ccpsolve._symmetric import svec
from ccpsolve.dvi._history import History, Pull
from ccpsolve.dvi._smooth import SmoothProblem, Vector
from ccpsolve.dvi._trial import Point, Trial, inertia, instantaneous

# Where an event is located, the eigenvalue of the monitor that vanishes is this small (relative).
_ROUNDED = 1e-10
# A multiplier that differs by this much (relative) from the extrapolated one starts a new history.
_JUMP = 0.3


def point_after(point: Point, trial: Trial, drift: Vector) -> Point:
    """Return the point at the end of a step without an event; ``drift`` is the one there."""
    history = _history_after(point, trial)
    if trial.rank < point.rank:
        history = history.truncated(trial.rank)
    after = Point(
        point.t + trial.h,
        trial.z,
        drift,
        trial.contact,
        trial.star,
        trial.slack,
        history,
        trial.rank,
        trial.monitor,
        trial.weight,
        trial.scale,
    )
    smallest = point.value(point.rank)
    if trial.rank == point.rank and math.isfinite(smallest):
        after.earlier = trial.h, smallest
    return after


def _history_after(point: Point, trial: Trial) -> History:
    pull, before = trial.pull, point.history
    if pull is None or not pull.X.any():
        return History()
    expected = before.multiplier(pull.t, len(point.contact.slack))
    Q = trial.transport
    change = np.linalg.norm(pull.X - Q @ expected @ Q.T)
    # A change between the means of two steps is no jump, but the beginning of a history.
    begun = before.is_constant and before.since < point.t
    jump = change > _JUMP * np.linalg.norm(pull.X) and not begun
    return History(pull) if jump else before.carried(Q).followed_by(pull)


def begin_history(problem: SmoothProblem, point: Point, delay: float) -> None:
    """Give a point the multiplier that is right from now on, over a short delay, and no past."""
    contact, slack = point.contact, point.slack
    point.history, point.rank, point.earlier = History(), 0, None
    point.monitor = np.sort(np.concatenate([np.linalg.eigvalsh(slack), contact.beyond]))
    if not len(slack):
        return
    point.scale = delay
    X, point.weight = instantaneous(contact, point.drift, slack, delay)
    if X.any():
        force = problem.combine(contact.columns, svec(X))
        point.history = History(Pull(point.t, force, X))
    point.monitor = inertia(slack, delay * point.weight * X, contact)
    held = point.monitor < -_ROUNDED * np.abs(point.monitor).max()
    point.rank = int(np.count_nonzero(held))


def end_velocities(point: Point, trial: Trial, rate: Vector) -> tuple[Vector, Vector]:
    """Return the velocities at both ends for dense output; ``rate`` is the one at the end.

    Of what decays within the step, the mean: a cubic cannot follow it.
    """
    h, relax = trial.h, trial.contact.relax
    chord = (trial.z - point.z) * (1 / h)
    first, last = (relax((v - chord)[:, None], h)[:, 0] for v in (trial.rate0, rate))
    return chord + first, chord + last
