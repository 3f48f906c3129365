"""The adaptive half-explicit integrator: steps accepted, rejected, cut at events."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ccpsolve._errors import CCPError
from ccpsolve.dvi._control import ACCEPTED, ErrorControl, StepSize, correction
from ccpsolve.dvi._dense import Event, Statistics, Step
from ccpsolve.dvi._events import changing, event_time, locate
from ccpsolve.dvi._history import History, Pull
from ccpsolve.dvi._impulses import on_constraint
from ccpsolve.dvi._onwards import begin_history, end_velocities, point_after
from ccpsolve.dvi._smooth import Array, Contact, SmoothProblem, Vector
from ccpsolve.dvi._trial import Point, Trial, attempt

# A smaller step with more than this fraction of the error of a larger one has inherited it.
_INHERITED = 0.8
# So has one of less than this fraction of the length first tried, whatever it is allowed: the way
# back from beyond the constraint is the same however short the step, and allows for errors itself.
_HOPELESS = 1e-3
# A step of the smallest length that corrects the slack by more than this multiple of what is
# allowed is not merely inaccurate: what it extrapolates has nothing to do with what comes.
_WILD = 10.0
# Beyond this fraction of what is allowed a correction may be too large to be linear; and what is
# left unknown of one that is not linear may be twice as much as what is known of it.
_UNSURE, _BENT = 0.25, 0.05
# A direction that enters is let in without being located if it goes over the edge by at most this
# fraction of its way there.
_NEARLY = 0.05
# Steps are given up below this fraction of the tolerance of event times.
_TOO_SHORT = 1e-3
# A drift that is known nearby may be wrong by this much, in errors allowed per unit of time.
_NEARBY = 1.0


class IntegrationError(CCPError):
    """The integrator cannot go on; the message says why."""


class AdaptiveIntegrator:
    """Integrate a DVI by half-explicit steps of second order, as long as the error allows.

    Parameters
    ----------
    problem : SmoothProblem
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
        A direction that enters or leaves is located to this time, or that of a step if it is
        shorter, or to this slack.
    slack_tol : float
        Largest correction of the slack within a step. After one of more than a quarter of it, or
        one that is known not to be linear by more than a twentieth, the constraint is looked at
        again, and a state beyond is moved to it.
    slack_noise : float
        Error of the slacks that the problem returns. A correction that it explains is not held
        against a step: what it displaces the state by does not add up from step to step.
    settling : float
        Errors in directions that decay are judged by their mean over a step and this time.
    rounding : float
        Relative rounding error of states: no step need be more accurate than that.
    deferred : bool
        Let every step make up for the error that was found in the one before: third order where no
        constraint is active, and more accurate at no cost where one is. Not over events.
    infeasible : float
        Largest violation ``−λ_min(A)`` that is left as it is, at the start and after a restart.

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
        settling: float = 0.0,
        rounding: float = 1e-14,
        deferred: bool = False,
        infeasible: float = 1e-9,
    ) -> None:
        self.statistics = Statistics()
        self.events: list[Event] = []
        self._problem = _Counted(problem, self.statistics)
        self._error = ErrorControl(
            self._problem, rtol, atol, slack_tol, slack_noise, settling, rounding
        )
        self._size = StepSize(first_step, min_step, max_step)
        self._event_tol, self._event_slack = event_tol, event_slack
        self._infeasible = infeasible
        self._deferred = deferred
        self._point = self._begin(t0, z0)

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
        size, first, unsure = self._size, True, False
        floor, least = [math.inf] * 2, [math.inf] * 2  # of motion, of the constraint
        longest = 0.0
        while True:
            point = self._point
            h = size.next(t_end - point.t, self._until_entry())
            longest = max(longest, h)
            trial = self._attempt(h, h)
            located = False
            if trial is not None and trial.rank != point.rank:
                if trial.rank > point.rank and self._entered():
                    continue
                whole = self._over_event(trial)
                located = whole is None
                trial = whole or self._at_event(trial)
            ratio, drift = self._error_ratio(trial)
            if trial is not None and ratio > ACCEPTED and self._may_refine(h, first):
                trial, ratio, drift = self._refined(trial, ratio, located)
            if trial is not None and trial.complete:
                if ratio <= ACCEPTED:
                    break
                kind = int(self._error.of_constraint(point, trial) > ACCEPTED)
                if self._is_final(trial, ratio, floor[kind], located):
                    break
                error = ratio * self._error.allowed(point, trial)
                if error > _INHERITED * least[kind] and trial.h < _HOPELESS * longest:
                    break
                floor[kind], least[kind] = ratio * trial.h, error
            self.statistics.rejected += 1
            first = False
            if h <= max(size.smallest, _TOO_SHORT * self._event_tol):
                trial = self._restarted(h)
                if trial is not None:
                    ratio, drift, located, unsure = ACCEPTED, None, True, True
                    break
                raise IntegrationError(
                    f"no step from t = {point.t:.9g} succeeds, down to {h:.2g}: the drift may not "
                    "be finite or smooth there, or rtol and atol may be out of reach"
                )
            size.rejected(h if trial is None else trial.h, ratio)
        drift = self._problem.drift(point.t + trial.h, trial.z) if drift is None else drift
        size.accepted(trial.h, ratio, cut=located or trial.h < size.wanted)
        step = self._accept(trial, drift, located or trial.rank > point.rank)
        corrected = correction(trial) / self._error.slack_tol
        if unsure or corrected > ACCEPTED:
            return self._verified(step)
        bent = trial.bent / self._error.slack_tol
        return self._looked_at(step) if corrected > _UNSURE or bent > _BENT else step

    def _begin(self, t: float, z: Vector) -> Point:
        """Return the first point; impulses move an infeasible start to the constraint."""
        contact = self._problem.contact(t, z, None, np.zeros((0, 0)))
        return self._fresh(t, *self._moved(t, z, contact)[:2])

    def _fresh(self, t: float, z: Vector, contact: Contact) -> Point:
        """Return a point without a past."""
        drift = self._problem.drift(t, z)
        point = Point(t, z, drift, contact, z, contact.slack, History(), 0, np.zeros(0))
        self._restart(point)
        return point

    def _verified(self, step: Step) -> Step:
        """Look again at the end of a step whose correction is too large to be relied upon.

        Impulses move the state to the constraint where it is beyond.
        """
        t, z, contact = step.t1, step.z1, step.contact
        contact = self._problem.contact(t, z, contact, step.multiplier)
        z, contact, _ = self._moved(t, z, contact)
        self._point = self._fresh(t, z, contact)
        X = self.multiplier
        return replace(step, z1=z, contact=contact, slack=contact.slack, X=X, multiplier=X)

    def _looked_at(self, step: Step) -> Step:
        """Look again at the end of a step, and go on from what is seen there."""
        point, t = self._point, step.t1
        contact = self._problem.contact(t, point.z, point.contact, self.multiplier)
        Q = contact.transport
        z, contact, moved = self._moved(t, point.z, contact, t - step.t0)
        if len(contact.slack) != len(point.slack):
            self._point = self._fresh(t, z, contact)
            X = self.multiplier
            return replace(step, z1=z, contact=contact, slack=contact.slack, X=X, multiplier=X)
        Q = moved @ Q
        self._point = replace(
            point,
            z=z,
            drift=point.drift if z is point.z else self._problem.drift(t, z),
            contact=contact,
            looked=z,
            slack=contact.slack,
            history=point.history.carried(Q),
        )
        X, multiplier = Q @ step.X @ Q.T, Q @ step.multiplier @ Q.T
        return replace(step, z1=z, contact=contact, slack=contact.slack, X=X, multiplier=multiplier)

    def _moved(
        self, t: float, z: Vector, contact: Contact, h: float = 0.0
    ) -> tuple[Vector, Contact, Array]:
        return on_constraint(self._problem, t, z, contact, self._infeasible, h)

    def _is_final(self, trial: Trial, ratio: float, floor: float, located: bool) -> bool:
        """Whether a smaller step is no help, given the error of a larger one.

        The error of a step over an event is of first order, and tolerated within that of its time.
        """
        corrected = correction(trial) / self._error.slack_tol
        if located and corrected <= ACCEPTED and trial.h <= self._event_tol:
            return True
        if corrected > _WILD:
            return False
        return trial.h <= self._size.smallest or ratio * trial.h > _INHERITED * floor

    def _restarted(self, h: float) -> Trial | None:
        """Return a step of first order: with the force that is right at its start, or with none.

        Where nothing else succeeds, if a smallest length was asked for.
        """
        if not self._size.smallest:
            return None
        known, afresh = self._point, replace(self._point)
        self._restart(afresh)
        trials = []
        for history in (afresh.history, History()):
            self._point = replace(known, history=history)
            trials.append(self._attempt(h, h, complete=True))
        self._point = known
        trial = min(filter(None, trials), key=correction, default=None)
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

        It need not where what enters or leaves moves the state by no more than the error allowed,
        as at the end of a step or where a direction only touches the edge. Where one leaves, which
        it does smoothly, the history goes on.
        """
        point, index = self._point, changing(self._point.rank, trial)
        if not trial.complete:
            nearly = self._event_slack + _NEARLY * abs(point.value(index))
            if -trial.value(index) > nearly:
                return None
            completed = self._attempt(trial.h, trial.h, complete=True, begun=trial)
            if completed is None:
                return None
            trial = completed
        if trial.rank == point.rank:
            return trial
        small = self._error.of_event(point, trial) <= self._error.allowed(point, trial)
        return trial if small else None

    def _until_entry(self) -> float:
        """Return when a direction enters if its slack goes on as linearly as it does.

        Infinity where events are to be located more precisely than that could be.
        """
        point = self._point
        now = point.value(point.rank)
        if point.earlier is None or now <= self._event_slack or not self._event_slack:
            return math.inf
        ago, then = point.earlier
        return ago * now / (then - now) if then > now else math.inf

    def _entered(self) -> bool:
        """Whether a direction enters here: its slack is as small as is asked for at an event."""
        point = self._point
        if point.value(point.rank) > self._event_slack:
            return False
        after = replace(point)
        self._restart(after)
        if after.rank <= point.rank:
            return False
        self.events.append(Event(point.t, point.rank, after.rank))
        self._point = after
        return True

    def _at_event(self, crossed: Trial) -> Trial | None:
        """Return a step that ends at the event; over it, if the event is where the step starts."""
        time_tol = min(self._event_tol, crossed.h)
        trial, end = locate(
            self._point,
            crossed,
            lambda h: self._attempt(h, crossed.h),
            lambda trial: self._attempt(trial.h, trial.h, complete=True, begun=trial),
            time_tol=time_tol,
            slack_tol=self._event_slack,
        )
        if trial is not None:
            return trial
        h = max(time_tol, end)
        begun = crossed if h == crossed.h else None
        return self._attempt(h, crossed.h, complete=True, begun=begun)

    def _may_refine(self, h: float, first: bool) -> bool:
        """Whether a step is worth repeating: a shorter one failed, or there is none."""
        return not first or (h <= self._size.smallest and self._point.history.is_constant)

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

    def _error_ratio(self, trial: Trial | None) -> tuple[float, Vector | None]:
        """Return the error over the allowed one, and the drift at the end if it was needed."""
        if trial is None or not trial.complete:
            return math.inf, None
        point = self._point
        ratio = self._error.of_constraint(point, trial)
        if ratio > ACCEPTED:
            return ratio, None
        drift = self._drift_after(trial)
        rate = self._rate_after(trial, drift)
        return max(ratio, self._error.of_motion(point, trial, rate)), drift

    def _drift_after(self, trial: Trial) -> Vector:
        """Return the drift at the end of a trial step; from the contact, if it is known there."""
        t, near = self._point.t + trial.h, getattr(trial.contact, "drift_near", None)
        if near is not None:
            error = _NEARBY * self._error.allowed(self._point, trial) / trial.h
            drift = near(t, trial.z, error)
            if drift is not None:
                return drift
        return self._problem.drift(t, trial.z)

    def _rate_after(self, trial: Trial, drift: Vector) -> Vector:
        """Return the velocity at the end of a trial step."""
        if trial.pull is None:
            return drift
        t = self._point.t + trial.h
        force = self._point.history.followed_by(trial.pull).force(t)
        return drift + self._problem.push(t, trial.z, force)

    def _accept(self, trial: Trial, drift: Vector, changed: bool) -> Step:
        point = self._point
        rate = self._rate_after(trial, drift)
        slopes = end_velocities(point, trial, rate)
        after = point_after(point, trial, drift)
        multiplier = after.history.multiplier(after.t, len(after.slack))
        event = None
        if changed:
            self._size.after_event()
            known = replace(after, history=History() if trial.pull is None else History(trial.pull))
            self._restart(after)
            overruled = after.rank < trial.rank or trial.rank < min(point.rank, after.rank)
            if trial.complete and overruled:
                # The slacks say that a direction enters, or leaves, and the rates do not. Rates are
                # wrong to first order in errors of the frame, slacks only to second order.
                after = known
        elif self._deferred and not point.history.is_constant:
            after.defect = self._error.defect(point, trial, drift)
        if after.rank != point.rank:
            event = Event(event_time(point, trial), point.rank, after.rank)
            self.events.append(event)
        self.statistics.steps += 1
        self._error.advance(point, trial)
        self._point = after
        return Step(
            point.t,
            after.t,
            point.z,
            trial.z,
            *slopes,
            point.contact,
            trial.contact,
            trial.slack,
            np.zeros_like(trial.slack) if trial.pull is None else trial.pull.X,
            multiplier,
            trial.solution,
            event,
        )

    def _restart(self, point: Point) -> None:
        """Begin a new history, as at an event."""
        begin_history(self._problem, point, max(0.5 * self._size.wanted, self._event_tol))


class _Counted:
    """A problem that counts what is asked of it."""

    def __init__(self, problem: SmoothProblem, statistics: Statistics) -> None:
        self._problem, self._statistics = problem, statistics
        self.push, self.combine, self.norm = problem.push, problem.combine, problem.norm

    def drift(self, t: float, z: Vector) -> Vector:
        self._statistics.drifts += 1
        return self._problem.drift(t, z)

    def contact(self, t: float, z: Vector, previous: Contact | None, multiplier: Array) -> Contact:
        self._statistics.contacts += 1
        return self._problem.contact(t, z, previous, multiplier)
