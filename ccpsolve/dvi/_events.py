"""Where in a step a direction enters or leaves.

The monitor, the ascending eigenvalues of ``S − cX``, is continuous through events: with rank r, its
eigenvalue r passes zero from above where a direction enters, and r − 1 from below where one leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ccpsolve.dvi._trial import Point, Trial

_MAX_SEARCH = 60
# Samples are taken at least this fraction of the bracket away from its ends.
_INSIDE = 0.02

Sample = tuple[float, float]


class SignChange:
    """A bracket around a sign change, narrowed by parabolas through the last three samples.

    Parameters
    ----------
    low, high : (float, float)
        Arguments and values at both sides.
    before : (float, float), optional
        A sample further to the left.
    """

    def __init__(self, low: Sample, high: Sample, before: Sample | None = None) -> None:
        self.low, self.high, self._third = low, high, before
        self._widths = [math.inf, math.inf]

    @property
    def width(self) -> float:
        """Length of the bracket."""
        return self.high[0] - self.low[0]

    def proposal(self) -> float:
        """Return where to look next, well inside the bracket.

        In the middle, if two samples have not halved it.
        """
        (a, f), (b, g) = self.low, self.high
        if self.width > 0.5 * self._widths[0] or not math.isfinite(f + g) or f * g >= 0:
            return 0.5 * (a + b)
        root = a + (b - a) * f / (f - g)
        if self._third is not None and math.isfinite(self._third[1]):
            samples = np.array([self.low, self.high, self._third])
            roots = a + np.roots(np.polyfit(samples[:, 0] - a, samples[:, 1], 2))
            within = [x.real for x in roots if x.imag == 0 and a < x.real < b]
            root = float(within[0]) if len(within) == 1 else root
        inside = _INSIDE * (b - a)
        return min(max(root, a + inside), b - inside)

    def narrow(self, at: float, value: float, *, beyond: bool) -> None:
        """Take in a sample, beyond the sign change or before it."""
        self._widths = [self._widths[1], self.width]
        if beyond:
            self._third, self.high = self.high, (at, value)
        else:
            self._third, self.low = self.low, (at, value)


def changing(rank: int, trial: Trial) -> int:
    """Return the index of the first eigenvalue of the monitor that changes sign."""
    return rank if trial.rank > rank else rank - 1


def event_time(point: Point, trial: Trial) -> float:
    """Return when the event of a step was: at its end, or where a multiplier vanished in it."""
    if trial.rank >= point.rank:
        return point.t + trial.h
    index = changing(point.rank, trial)
    before = point.value(index) * trial.scale / point.scale
    return point.t + trial.h * before / (before - trial.value(index))


def locate(
    point: Point,
    crossed: Trial,
    attempt: Callable[[float], Trial | None],
    complete: Callable[[Trial], Trial | None],
    *,
    time_tol: float,
    slack_tol: float,
) -> tuple[Trial | None, float]:
    """Return a trial step that ends at the event, and the end of the bracket around it.

    Parameters
    ----------
    point, crossed
        Where the steps start, and one that goes beyond the event.
    attempt, complete : callable
        Try a step of some length; complete one that was not.
    time_tol, slack_tol : float
        The step ends before the event by at most this time, or, where a direction enters, at most
        this slack before it or beyond.

    Returns
    -------
    trial : Trial or None
        None if a step fails, or if the event is where the steps start.
    end : float
        Length of the shortest step known to go beyond.
    """
    index, entering = changing(point.rank, crossed), crossed.rank > point.rank
    before = None
    if entering and point.earlier is not None:
        before = (-point.earlier[0], point.earlier[1])
    search = SignChange((0.0, point.value(index)), (crossed.h, crossed.value(index)), before)
    best: Trial | None = None
    for _ in range(_MAX_SEARCH):
        if search.width <= time_tol or (best and best.value(index) <= slack_tol):
            break
        trial = attempt(search.proposal())
        if trial is None:
            return None, search.high[0]
        value = trial.value(index)
        if trial.rank > point.rank and -value <= slack_tol:
            return (trial if trial.complete else complete(trial)), trial.h
        search.narrow(trial.h, value, beyond=trial.rank != point.rank)
        best = trial if trial.rank == point.rank else best
    return best, search.high[0]
