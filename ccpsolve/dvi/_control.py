"""What error a step may have, what it has, and how long the next one is to be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ccpsolve._symmetric import svec
from ccpsolve.dvi._legendre import embedded_error, lost_by
from ccpsolve.dvi._smooth import SmoothProblem, Vector
from ccpsolve.dvi._trial import Point, Trial, stages_of

# A step is accepted up to this multiple of the error it is aimed at.
ACCEPTED = 1.5
# Controller of a step size for an error per unit time of order h²: proportional and integral part.
_SAFETY, _PROPORTIONAL, _INTEGRAL = 0.9, 0.35, 0.15
_SHRINK, _GROW = 0.2, 3.0
# The first step after an event, over which the force can only be taken to be constant, relative to
# what was wanted before it.
_AFTER_EVENT = 0.5
# The embedded estimate is about the error of a step with many stages. Half of it is the largest
# power of two with which the total error of z' = z over [0, 2], where errors grow as fast as the
# path, is within 3 times the tolerance (2.85; 1.24 for a turning state, 0.5 for a decaying one).
_LOCAL = 0.5
# What a step makes up for the one before is in its embedded error by this factor, but no error.
_MADE_UP = 0.8
# A force extrapolated from the middles of two steps of length h to that of the next is wrong by
# h²q″; corrected, what is left is the trapezoidal rule's h²/12 of it.
_PREDICTION = 1 / 12
# While the state rests, errors are measured against this fraction of its mean speed.
_RESTING = 0.3
# A slack may differ by this fraction of itself from what the last step lets expect: a step that
# sees less of its course may leap over an excursion to the edge.
_FORESEEN = 0.5


@dataclass
class ErrorControl:
    """The errors of steps relative to those allowed; see `AdaptiveIntegrator` for the parameters.

    ``length`` and ``elapsed`` are those of the path so far.
    """

    problem: SmoothProblem
    rtol: float
    atol: float
    slack_tol: float
    slack_noise: float
    settling: float
    rounding: float
    length: float = 0.0
    elapsed: float = 0.0

    def allowed(self, point: Point, trial: Trial) -> float:
        """Return the error allowed in a step."""
        norm, h = self.problem.norm, trial.h
        speed = norm(trial.z, trial.star - point.z) / h
        mean = self.length / self.elapsed if self.elapsed else speed
        allowed = h * (self.atol + self.rtol * max(speed, _RESTING * mean))
        return allowed + self.rounding * norm(trial.z, trial.z)

    def of_constraint(self, point: Point, trial: Trial) -> float:
        """Return the error that the correction tells of, over the allowed one."""
        unexplained = self.effect(trial) - self._noise(trial)
        ratio = _PREDICTION * unexplained / self.allowed(point, trial)
        ratio = max(ratio, correction(trial) / self.slack_tol)
        ratio = max(ratio, _surprise(point, trial))
        return ratio if math.isfinite(ratio) else math.inf

    def of_motion(self, point: Point, trial: Trial, rate: Vector) -> float:
        """Return the embedded estimate over the allowed error; ``rate`` is the final velocity.

        What decays is judged by its mean over the step and the settling time. What the noise of
        slacks displaces the state by is in the velocity as well, the more the shorter the step, but
        does not add up from step to step.
        """
        error = embedded_error(point.z, trial.z, trial.rate0, rate, trial.h)
        if point.defect is not None:
            error = error + _MADE_UP * point.defect
        left = trial.contact.relax(error[:, None], trial.h + self.settling)[:, 0]
        short = 1 - min(1.0, trial.h / self.settling) if self.settling else 0.0
        noise = short * self._noise(trial)
        ratio = _LOCAL * max(0.0, self.problem.norm(trial.z, left) - noise)
        ratio /= self.allowed(point, trial)
        return ratio if math.isfinite(ratio) else math.inf

    def effect(self, trial: Trial) -> float:
        """Return by how much the complementarity problem has moved the state."""
        return self.problem.norm(trial.z, trial.z - trial.star)

    def of_event(self, point: Point, trial: Trial) -> float:
        """Return by how much directions that enter or leave in a step move the state, at most.

        Their reaction is the part of the multiplier beyond the rank that stays: of that at the end
        where they enter, at the start where they leave.
        """
        contact, Q = trial.contact, trial.transport
        if trial.pull is None:
            return self.effect(trial)
        X = trial.pull.X
        if trial.rank < point.rank:
            X = Q @ point.history.multiplier(point.t, Q.shape[1]) @ Q.T
        values, vectors = np.linalg.eigh(X)
        values[len(X) - min(point.rank, trial.rank) :] = 0.0
        force = self.problem.combine(contact.columns, svec((vectors * values) @ vectors.T))
        moved = contact.velocity(force[:, None], trial.h)[:, 0] * trial.h
        return self.problem.norm(trial.z, moved)

    def _noise(self, trial: Trial) -> float:
        """Return by how much the noise of slacks may have displaced the state."""
        corrected = correction(trial)
        if trial.needed is None or not corrected:
            return 0.0
        explained = min(1.0, self.slack_noise / corrected)
        return explained * min(self.problem.norm(trial.z, trial.needed), self.effect(trial))

    def defect(self, point: Point, trial: Trial, drift: Vector) -> Vector:
        """Return what the smooth part of a step is short of; ``drift`` is that at its end.

        The reaction is left out: the constraint sees to it that its mean is right. So are fast
        directions, in which a step has another error.
        """
        h, end = trial.h, trial.z
        if trial.pull is not None:
            push = self.problem.push
            first = push(point.t, point.z, trial.pull.force)
            end = end - (first + push(point.t + h, trial.z, trial.pull.force)) * (h / 2)
        error = embedded_error(point.z, end, point.drift, drift, h)
        if point.defect is not None:
            error = error + _MADE_UP * point.defect
        fast = getattr(point.contact, "fast", None)
        if fast is not None:
            error = error - fast.lift(fast.coordinates(error))
        return error * lost_by(stages_of(point, h))

    def advance(self, point: Point, trial: Trial) -> None:
        """Take a step into account."""
        self.length += self.problem.norm(trial.z, trial.z - point.z)
        self.elapsed += trial.h


class StepSize:
    """A proportional–integral rule for the length of steps.

    Parameters
    ----------
    first, smallest, largest : float
    """

    def __init__(self, first: float, smallest: float, largest: float) -> None:
        self.smallest, self._largest = smallest, largest
        self.wanted = min(first, largest)
        self._last_ratio = 1.0

    def next(self, remaining: float, most: float) -> float:
        """Return the length of the next step; the last two are equal rather than one tiny."""
        h = min(max(self.wanted, self.smallest), self._largest, most)
        if h >= remaining:
            return remaining
        return min(h, 0.5 * remaining) if 2 * h > remaining else h

    def accepted(self, h: float, ratio: float, *, cut: bool) -> None:
        """Learn from an accepted step; one that was cut short does not shrink the next."""
        ratio = max(ratio, 1e-4)
        factor = _SAFETY * ratio**-_PROPORTIONAL * (self._last_ratio / ratio) ** _INTEGRAL
        proposed = h * min(max(factor, _SHRINK), _GROW)
        self.wanted = min(max(proposed, self.wanted) if cut else proposed, self._largest)
        self._last_ratio = ratio

    def after_event(self) -> None:
        """Be careful where nothing can be extrapolated."""
        self.wanted *= _AFTER_EVENT

    def rejected(self, h: float, ratio: float) -> None:
        """Learn from a step with too large an error, or none at all (infinity)."""
        self.wanted = h * (0.5 if math.isinf(ratio) else max(_SHRINK, _SAFETY * ratio**-0.5))


def correction(trial: Trial) -> float:
    """Return by how much a trial step corrects the slack."""
    return float(np.linalg.norm(trial.slack - trial.contact.slack, 2)) if len(trial.slack) else 0.0


def _surprise(point: Point, trial: Trial) -> float:
    """Return how far the smallest slack of a free direction is from its linear course."""
    before, now = point.value(point.rank), trial.value(point.rank)
    if point.earlier is None or trial.rank != point.rank or not math.isfinite(before + now):
        return 0.0
    ago, earlier = point.earlier
    expected = before + (before - earlier) * trial.h / ago
    return abs(now - expected) / (_FORESEEN * max(before, now))
