"""The adaptive half-explicit integrator: step-size control, events, dense output."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ccpsolve._errors import CCPError
from ccpsolve._symmetric import svec
from ccpsolve.dvi._chebyshev import chebyshev_error
from ccpsolve.dvi._dense import Event, Statistics, Step
from ccpsolve.dvi._history import History, Pull, support
from ccpsolve.dvi._smooth import Array, Contact, SmoothProblem, Vector
from ccpsolve.dvi._trial import Point, Trial, attempt, inertia, instantaneous, solve_reduced

# Controller of a step size for an error per unit time of order h²: proportional and integral part.
_SAFETY, _PROPORTIONAL, _INTEGRAL = 0.9, 0.35, 0.15
_SHRINK, _GROW = 0.2, 2.0
# A step is accepted up to this multiple of the error it is aimed at.
_ACCEPTED = 1.5
# The embedded estimate is the error of a step with many stages. Half of it is the largest power of
# two with which the total error of z' = z over [0, 2], where errors grow as fast as the path, is
# within 3 times the tolerance (2.85; 1.24 for a turning state, 0.5 for a decaying one).
_LOCAL = 0.5
# A force extrapolated from the middles of two steps of length h to that of the next is wrong by
# h²q″; corrected, what is left is the trapezoidal rule's h²/12 of it.
_PREDICTION = 1 / 12
# While the state rests, errors are measured against this fraction of its mean speed.
_RESTING = 0.3
# Relative size of rounding errors in states.
_ROUNDING = 1e-14
# Where an event is located, the eigenvalue of the monitor that vanishes is this small (relative).
_ROUNDED = 1e-10
# A multiplier that differs by this much (relative) from the extrapolated one starts a new history.
_JUMP = 0.3
# A slack may differ by this fraction of itself from what the last step lets expect: a step that
# sees less of its course may leap over an excursion to the edge.
_FORESEEN = 0.5
# A smaller step with more than this fraction of the error of a larger one has inherited it.
_INHERITED = 0.8
# A step of the smallest length that corrects the slack by more than this multiple of what is
# allowed is not merely inaccurate: what it extrapolates has nothing to do with what comes.
_WILD = 10.0
# A direction that enters is let in without being located if it goes over the edge by at most this
# fraction of its way there.
_NEARLY = 0.05
# Steps are given up below this fraction of the tolerance of event times.
_TOO_SHORT = 1e-3
_MAX_SEARCH = 60
_MAX_IMPULSES = 8


class IntegrationError(CCPError):
    """The integrator cannot go on; the message says why."""


class AdaptiveIntegrator:
    """Integrate a DVI by half-explicit steps of second order, as long as the error allows.

    Parameters
    ----------
    problem : SmoothProblem or SteppedProblem
    t0, z0
        Where to start. A state with a negative slack is first moved to the constraint.
    rtol, atol : float
        The error allowed per unit of time is ``atol + rtol‖z'‖`` in the problem's norm, so that of
        a whole path is about ``rtol`` times its length plus ``atol`` times its duration.
    first_step, max_step, min_step : float
        Length of the first step, and bounds on that of any. A step of the smallest length is
        accepted whatever its error; where none succeeds, or only by a correction of the slack far
        beyond ``slack_tol``, one without extrapolation is taken instead, of first order
        (``statistics.restarted``).
    event_tol, event_slack : float
        A direction that enters or leaves is located to this time, or to this slack.
    slack_tol : float
        Largest correction of the slack within a step.
    slack_noise : float
        Error of the slacks that the problem returns. A correction that it explains is not held
        against a step: what it displaces the state by does not add up from step to step.
    infeasible : float
        Largest violation ``−λ_min(A)`` of a start that is left as it is.

    Attributes
    ----------
    statistics : Statistics
    events : list of Event
    """

    def __init__(
        self,
        problem: SmoothProblem,
        t0: float,
        z0: Vector,
        *,
        rtol: float = 1e-3,
        atol: float = 1e-9,
        first_step: float = 0.1,
        max_step: float = math.inf,
        min_step: float = 0.0,
        event_tol: float = 1e-7,
        event_slack: float = 0.0,
        slack_tol: float = math.inf,
        slack_noise: float = 0.0,
        infeasible: float = 1e-9,
    ) -> None:
        self.statistics = Statistics()
        self.events: list[Event] = []
        self._problem = _Counted(problem, self.statistics)
        self._t0, self._unit = t0, getattr(problem, "unit", 0.0)
        self._rtol, self._atol = rtol, atol
        self._max_step, self._min_step = max_step, min_step
        self._event_tol, self._event_slack = event_tol, event_slack
        self._slack_tol, self._slack_noise = slack_tol, slack_noise
        self._h = min(first_step, max_step)
        self._last_ratio = 1.0
        self._length = self._elapsed = 0.0
        self._point = self._begin(t0, z0, infeasible)

    @property
    def t(self) -> float:
        """The time reached."""
        return self._point.t

    @property
    def z(self) -> Vector:
        """The state reached."""
        return self._point.z

    @property
    def contact(self) -> Contact:
        """The constraint where it was last looked at."""
        return self._point.contact

    @property
    def multiplier(self) -> Array:
        """The multiplier now, in the frame of :attr:`contact`."""
        point = self._point
        return point.history.multiplier(point.t, len(point.contact.slack))

    def step(self, t_end: float) -> Step:
        """Take one accepted step towards ``t_end``, not beyond."""
        point, problem, first = self._point, self._problem, True
        floor = math.inf
        while True:
            h = self._next_length(t_end - point.t)
            trial = self._attempt(h, h)
            located = False
            if trial is not None and trial.rank != point.rank:
                whole = self._over_event(trial)
                located = whole is None
                trial = whole or self._locate(trial)
            ratio, drift = (math.inf, None) if trial is None else self._error_ratio(trial)
            if trial is not None and ratio > _ACCEPTED and (point.history.is_constant or not first):
                trial, ratio, drift = self._refined(trial, ratio, located)
            if trial is not None and trial.complete:
                if ratio <= _ACCEPTED or self._is_final(trial, ratio, floor, located):
                    break
                floor = ratio * trial.h
            self.statistics.rejected += 1
            first = False
            if h <= max(self._min_step, _TOO_SHORT * self._event_tol):
                trial = self._restarted(h)
                if trial is not None:
                    ratio, drift, located = _ACCEPTED, None, True
                    break
                raise IntegrationError(
                    f"no step from t = {point.t:.9g} succeeds, down to {h:.2g}: the drift may not "
                    "be finite or smooth there, or rtol and atol may be out of reach"
                )
            shrink = 0.5 if math.isinf(ratio) else max(_SHRINK, _SAFETY * ratio**-0.5)
            self._h = shrink * (h if trial is None else trial.h)
        drift = problem.drift(point.t + trial.h, trial.z) if drift is None else drift
        self._adapt(trial.h, ratio, cut=located or trial.h < self._h)
        return self._accept(trial, drift, located or trial.rank != point.rank)

    def _begin(self, t: float, z: Vector, infeasible: float) -> Point:
        """Return the first point; impulses move an infeasible start to the constraint."""
        problem = self._problem
        nothing = np.zeros((0, 0))
        contact = problem.contact(t, z, None, nothing)
        for _ in range(_MAX_IMPULSES):
            if not len(contact.slack) or np.linalg.eigvalsh(contact.slack)[0] >= -infeasible:
                break
            directions = contact.velocity(contact.columns, 0.0)
            impulse = solve_reduced(-contact.slack, contact.differentiate(directions))
            z = z + problem.combine(directions, svec(impulse.X))
            contact = problem.contact(t, z, contact, support(impulse.X))
        point = Point(t, z, problem.drift(t, z), contact, History(), 0, np.zeros(0))
        self._restart(point, contact.slack)
        return point

    def _next_length(self, remaining: float) -> float:
        """Return the length of the next step; the last two are equal rather than one tiny."""
        h = min(max(self._h, self._min_step), self._max_step)
        if 0 < self._unit < h:
            before = self._point.t - self._t0
            h = self._unit * math.floor((before + h) / self._unit * (1 + _ROUNDING)) - before
        if h >= remaining:
            return remaining
        return min(h, 0.5 * remaining) if 2 * h > remaining else h

    def _is_final(self, trial: Trial, ratio: float, floor: float, located: bool) -> bool:
        """Whether a smaller step is no help, given the error of a larger one.

        A step over an event is as long as the tolerance of event times, whatever was asked for.
        """
        if _correction(trial) > _WILD * self._slack_tol:
            return False
        shortest = max(self._min_step, self._event_tol) if located else self._min_step
        return trial.h <= shortest or ratio * trial.h > _INHERITED * floor

    def _restarted(self, h: float) -> Trial | None:
        """Return a step of first order, with nothing extrapolated: the state falls on the edge.

        Where nothing else succeeds, if a smallest length was asked for.
        """
        if not self._min_step:
            return None
        point, known = self._point, self._point.history
        point.history = History()
        trial = self._attempt(h, h, complete=True)
        point.history = known
        self.statistics.restarted += trial is not None
        return trial

    def _attempt(
        self, h: float, scale: float, *, complete: bool = False, begun: Trial | None = None
    ) -> Trial | None:
        """Return a trial step; None where its complementarity problem has no solution."""
        try:
            trial = attempt(self._problem, self._point, h, scale, complete=complete, begun=begun)
        except CCPError:
            return None
        self.statistics.solves += trial.solution is not None
        return trial

    def _over_event(self, trial: Trial) -> Trial | None:
        """Return the complete step where the event within need not be located; else None.

        It need not where the whole effect of the event is within the error allowed, as at the end
        of a step, where a direction only touches the edge, or where it leaves.
        """
        point, index = self._point, _changing(self._point.rank, trial)
        if not trial.complete:
            nearly = self._event_slack + _NEARLY * abs(point.value(index))
            if -trial.value(index) > nearly:
                return None
            completed = self._attempt(trial.h, trial.h, complete=True, begun=trial)
            if completed is None:
                return None
            trial = completed
        effect = self._problem.norm(trial.z, trial.z - trial.star)
        return trial if trial.rank == point.rank or effect <= self._allowed(trial) else None

    def _locate(self, crossed: Trial) -> Trial | None:
        """Return the longest trial step, to the tolerance, that ends before the event.

        By the Illinois variant of the false position method, on the eigenvalue that changes sign.
        If the event is where the step starts, the returned step jumps over it.
        """
        point = self._point
        scale = crossed.h
        low, high, best = 0.0, crossed.h, None
        index = _changing(point.rank, crossed)
        f_low, f_high = point.value(index), crossed.value(index)
        for _ in range(_MAX_SEARCH):
            if high - low <= self._event_tol or (best and abs(f_low) <= self._event_slack):
                break
            goal = 0.5 * math.copysign(self._event_slack, f_low)
            h = _false_position(low, high, f_low - goal, f_high - goal)
            trial = self._attempt(h, scale)
            if trial is None:
                return None
            if trial.rank == point.rank:
                if best is not None:
                    f_high *= 0.5
                low, f_low, best = h, trial.value(index), trial
            else:
                index = _changing(point.rank, trial)
                high, f_high = h, trial.value(index)
                f_low = (0.5 if best is None else 1.0) * (best or point).value(index)
        if best is not None:
            return best
        return self._attempt(max(self._event_tol, high), scale, complete=True)

    def _refined(
        self, trial: Trial, ratio: float, located: bool
    ) -> tuple[Trial, float, Vector | None]:
        """Repeat the first step after an event with the force it found, now linear in time."""
        if trial.pull is None:
            return trial, ratio, None
        known = self._point.history
        Q, pull = trial.transport, trial.pull
        self._point.history = known.followed_by(Pull(pull.t, pull.force, Q.T @ pull.X @ Q))
        again = self._attempt(trial.h, trial.h, complete=located)
        self._point.history = known
        if again is None or (again.rank != trial.rank and not located):
            return trial, ratio, None
        return (again, *self._error_ratio(again))

    def _error_ratio(self, trial: Trial) -> tuple[float, Vector | None]:
        """Return the error over the allowed one, and the drift at the end if it was needed."""
        if not trial.complete:
            return math.inf, None
        point, problem, h = self._point, self._problem, trial.h
        allowed = self._allowed(trial)
        ratio = _PREDICTION * problem.norm(trial.z, trial.z - trial.star) / allowed
        if len(trial.slack):
            corrected = _correction(trial)
            ratio *= max(0.0, 1 - self._slack_noise / corrected) if corrected else 1.0
            ratio = max(ratio, corrected / self._slack_tol)
        ratio = max(ratio, self._surprise(trial))
        if not ratio <= _ACCEPTED:
            return ratio if math.isfinite(ratio) else math.inf, None
        if self._unit:
            return ratio, None
        drift = problem.drift(point.t + h, trial.star)
        rate = drift if trial.push is None else drift + trial.push
        error = chebyshev_error(point.z, trial.star, trial.rate0, rate, h) * _LOCAL
        local = problem.norm(trial.z, error) / allowed
        if not math.isfinite(local):
            return math.inf, None
        return max(ratio, local), None if trial.pull else drift

    def _allowed(self, trial: Trial) -> float:
        """Return the error allowed in a step."""
        norm, h = self._problem.norm, trial.h
        speed = norm(trial.z, trial.star - self._point.z) / h
        mean = self._length / self._elapsed if self._elapsed else speed
        allowed = h * (self._atol + self._rtol * max(speed, _RESTING * mean))
        allowed += _ROUNDING * norm(trial.z, trial.z)
        if self._point.history.is_constant:  # where the event was is known no better
            allowed += mean * self._event_tol
        return allowed

    def _surprise(self, trial: Trial) -> float:
        """Return how far the smallest slack of a free direction is from its linear course."""
        point = self._point
        before, now = point.value(point.rank), trial.value(point.rank)
        if point.approach is None or trial.rank != point.rank or not math.isfinite(before + now):
            return 0.0
        return abs(now - before - point.approach * trial.h) / (_FORESEEN * max(before, now))

    def _rate_after(self, trial: Trial, drift: Vector) -> Vector:
        """Return the velocity at the end of a trial step."""
        if trial.pull is None:
            return drift
        t = self._point.t + trial.h
        force = self._point.history.followed_by(trial.pull).force(t)
        return drift + self._problem.push(t, trial.z, force)

    def _adapt(self, h: float, ratio: float, *, cut: bool) -> None:
        """Choose the next step; one that was cut short does not shrink it."""
        ratio = max(ratio, 1e-4)
        factor = _SAFETY * ratio**-_PROPORTIONAL * (self._last_ratio / ratio) ** _INTEGRAL
        proposed = h * min(max(factor, _SHRINK), _GROW)
        self._h = min(max(proposed, self._h) if cut else proposed, self._max_step)
        self._last_ratio = ratio

    def _accept(self, trial: Trial, drift: Vector, changed: bool) -> Step:
        point, problem = self._point, self._problem
        t = point.t + trial.h
        rate1 = self._rate_after(trial, drift)
        history = self._next_history(trial)
        k = len(trial.contact.slack)
        after = Point(
            t,
            trial.z,
            drift,
            trial.contact,
            history,
            trial.rank,
            trial.monitor,
            trial.weight,
            trial.scale,
        )
        if trial.rank == point.rank and math.isfinite(after.value(after.rank)):
            change = after.value(after.rank) - point.value(point.rank)
            after.approach = change / trial.h if math.isfinite(change) else None
        multiplier = history.multiplier(t, k)
        event = None
        if changed:
            known = replace(after, history=History() if trial.pull is None else History(trial.pull))
            self._restart(after, trial.slack)
            if trial.complete and after.rank < trial.rank:
                # The rates say that a direction leaves which the slacks say enters. Rates are wrong
                # to first order in errors of the frame, slacks only to second order.
                after = known
            if after.rank != point.rank:
                event = Event(self._event_time(trial), point.rank, after.rank)
                self.events.append(event)
        self.statistics.steps += 1
        self._length += problem.norm(trial.z, trial.z - point.z)
        self._elapsed += trial.h
        X = np.zeros((k, k)) if trial.pull is None else trial.pull.X
        step = Step(
            point.t,
            t,
            point.z,
            trial.z,
            trial.rate0,
            rate1,
            point.contact,
            trial.contact,
            trial.slack,
            X,
            multiplier,
            trial.solution,
            event,
        )
        self._point = after
        return step

    def _event_time(self, trial: Trial) -> float:
        """Return when the event of a step was: at its end, or where a multiplier vanished in it."""
        point = self._point
        if trial.rank >= point.rank:
            return point.t + trial.h
        index = _changing(point.rank, trial)
        before = point.value(index) * trial.scale / point.scale
        return point.t + trial.h * before / (before - trial.value(index))

    def _next_history(self, trial: Trial) -> History:
        """Return the history after a step."""
        pull = trial.pull
        if pull is None or not pull.X.any():
            return History()
        before = self._point.history
        expected = before.multiplier(pull.t, len(self._point.contact.slack))
        Q = trial.transport
        jump = np.linalg.norm(pull.X - Q @ expected @ Q.T) > _JUMP * np.linalg.norm(pull.X)
        return History(pull) if jump else before.carried(Q).followed_by(pull)

    def _restart(self, point: Point, slack: Array) -> None:
        """Begin a new history at an event, with the multiplier that is right from now on."""
        contact = point.contact
        point.history, point.rank, point.approach = History(), 0, None
        point.monitor = np.sort(np.concatenate([np.linalg.eigvalsh(slack), contact.beyond]))
        if not len(slack):
            return
        point.scale = delay = max(0.5 * self._h, self._event_tol)
        X, point.weight = instantaneous(contact, point.drift, slack, delay)
        if X.any():
            force = self._problem.combine(contact.columns, svec(X))
            point.history = History(Pull(point.t, force, X))
        point.monitor = inertia(slack, delay * point.weight * X, contact)
        held = point.monitor < -_ROUNDED * np.abs(point.monitor).max()
        point.rank = int(np.count_nonzero(held))


def _correction(trial: Trial) -> float:
    """Return by how much a trial step corrects the slack."""
    return float(np.linalg.norm(trial.slack - trial.contact.slack, 2)) if len(trial.slack) else 0.0


def _changing(rank: int, trial: Trial) -> int:
    """Return the index of the first eigenvalue of the monitor that changes sign."""
    return rank if trial.rank > rank else rank - 1


def _false_position(low: float, high: float, f_low: float, f_high: float) -> float:
    """Return a point well inside the bracket, near the root of the secant."""
    inside = 0.02 * (high - low)
    if not (math.isfinite(f_low) and math.isfinite(f_high)) or f_low * f_high >= 0:
        return 0.5 * (low + high)
    root = low + (high - low) * f_low / (f_low - f_high)
    return min(max(root, low + inside), high - inside)


class _Counted:
    """A problem that counts what is asked of it."""

    def __init__(self, problem: SmoothProblem, statistics: Statistics) -> None:
        self._problem, self._statistics = problem, statistics
        self.push, self.combine, self.norm = problem.push, problem.combine, problem.norm
        self.advance = getattr(problem, "advance", None)

    def drift(self, t: float, z: Vector) -> Vector:
        self._statistics.drifts += 1
        return self._problem.drift(t, z)

    def contact(self, t: float, z: Vector, previous: Contact | None, support: Array) -> Contact:
        self._statistics.contacts += 1
        return self._problem.contact(t, z, previous, support)
