"""One trial of a half-explicit step, and the reduced problem at an instant.

From ``(t, z)``, with the force of the reaction extrapolated from the last steps::

    z*  = Runge–Kutta–Legendre step of  z' = f + push(force(t))  over h
    X   : 0 ⪯ X ⟂ slack(z*) + h DA[velocity(columns X − force)] ⪰ 0
    z₁  = z* + h velocity(columns X − force)

with the force at the middle of the step and the columns averaged over its two ends, which makes X
the mean over the step and the scheme second order. ``‖z₁ − z*‖`` measures how wrong the
extrapolation was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ccpsolve._errors import InvalidProblemError, SolveError
from ccpsolve._solution import Solution
from ccpsolve._solve import solve_ccp
from ccpsolve._symmetric import smat, svec, svec_basis
from ccpsolve.dvi._history import History, Pull, support
from ccpsolve.dvi._legendre import legendre_step, stages_for
from ccpsolve.dvi._smooth import Array, Contact, SmoothProblem, Vector
from ccpsolve.dvi._stiff_force import implicit

# Where β is singular to rounding its eigenvalues are at least this fraction of their mean.
_REGULARISATION = 1e-8
# A step that would need more stages is cut; beyond this product with the rate nobody counts.
_MAX_STAGES, _STIFFEST = 200, 1e6
# What is known of the slack beyond the linear part is taken into account to this accuracy, relative
# to the correction, by at most so many further solutions.
_BENT, _MAX_BENDS = 0.001, 8
# Beta is taken to have no smaller singular values than this, relative to the largest.
_RANK = 1e-6
# Held directions that turn by more than 60° within a step are taken for others.
_LEAST_COSINE = 0.5


@dataclass
class Point:
    """Where the integrator stands, and all it knows there."""

    t: float
    z: Vector
    drift: Vector
    contact: Contact
    looked: Vector  # the state that the contact was seen at
    slack: Array
    history: History
    rank: int
    monitor: Array
    weight: float = 0.0
    scale: float = 1.0
    earlier: tuple[float, float] | None = None  # how long ago, the smallest slack of a free one
    defect: Vector | None = None  # what the last step was found to be short of

    def value(self, index: int) -> float:
        """Return an eigenvalue of the monitor; infinity where none is known."""
        return float(self.monitor[index]) if index < len(self.monitor) else math.inf

    def rate(self, problem: SmoothProblem) -> Vector:
        """Return the velocity of the state, with the reaction as extrapolated to here."""
        force = self.history.force(self.t)
        return self.drift if force is None else self.drift + problem.push(self.t, self.z, force)


@dataclass(frozen=True)
class Trial:
    """The outcome of a step that is yet to be accepted.

    ``monitor`` holds the eigenvalues of ``S − cX`` at the end, ascending: as many are negative as
    directions are held, and one that changes sign is a direction entering or leaving. With the
    size w of β, ``c = w·scale``. ``needed`` is the smallest displacement that corrects the slack by
    as much; the rest of the correction's is due to columns that have changed. ``bent`` is the part
    of the change of the slack that is known not to be linear.
    """

    h: float
    z: Vector
    star: Vector
    rate0: Vector
    push: Vector | None
    contact: Contact
    transport: Array
    monitor: Array
    scale: float
    pull: Pull | None
    slack: Array
    solution: Solution | None
    complete: bool
    weight: float = 0.0
    needed: Vector | None = None
    bent: float = 0.0

    @property
    def rank(self) -> int:
        """Number of directions held at the end of the step."""
        return int(np.count_nonzero(self.monitor < 0))

    def value(self, index: int) -> float:
        """Return an eigenvalue of the monitor; infinity where none is known."""
        return float(self.monitor[index]) if index < len(self.monitor) else math.inf


def attempt(
    problem: SmoothProblem,
    point: Point,
    h: float,
    scale: float,
    *,
    complete: bool = False,
    begun: Trial | None = None,
) -> Trial:
    """Try a step h; ``scale`` is the time by which multipliers are compared with slacks.

    Unless it must be complete, a step in which another direction turns out to have entered ends
    with the slack, which says so: held directions, whose slack is of either sign where the step
    was predicted to end, are told from free ones by the multiplier. Such a step can be completed
    later: ``begun``.
    """
    t, history = point.t, point.history
    rate0 = point.rate(problem)
    star = begun.star if begun else _predict(problem, point, h, rate0)
    if not math.isfinite(problem.norm(star, star)):
        raise InvalidProblemError(f"the state is not finite at t = {t + h:.9g}")
    pulling = history.force(t + h)
    push = None if pulling is None else problem.push(t + h, star, pulling)
    k0 = len(point.contact.slack)
    expected = history.multiplier(t + h, k0)
    contact = begun.contact if begun else problem.contact(t + h, star, point.contact, expected)
    slack, k = contact.slack, len(contact.slack)
    last = history.last(k0)
    carried_X = point.weight * contact.transport @ last @ contact.transport.T
    raw = inertia(slack, scale * carried_X, contact)
    missed = len(raw) > point.rank and raw[point.rank] < 0
    free = not history and (k == 0 or np.linalg.eigvalsh(slack)[0] > 0)
    # After an event the prediction is too rough to say.
    if free or k == 0 or (missed and not complete and not history.is_constant):
        return Trial(
            h,
            star,
            star,
            rate0,
            push,
            contact,
            contact.transport,
            raw,
            scale,
            None,
            slack,
            None,
            free or k == 0,
        )
    turn = _turning(slack - h * carried_X, contact.transport @ support(last))
    Q = turn @ contact.transport
    carried = problem.combine(contact.carried, congruence(turn.T))
    mean = (contact.columns + carried) * 0.5
    force, offset = history.force(t + h / 2), np.zeros((k, k))
    if force is not None:
        offset = smat(h * contact.differentiate(contact.velocity(force[:, None], h))[:, 0])
    expected = Q @ history.multiplier(t + h / 2, k0) @ Q.T
    mean, beta, solution = _solve(contact, h, offset - slack, mean, expected)

    def corrected(X: Array) -> tuple[Vector, Vector]:
        """Return the change of the force, and the displacement by it."""
        change = problem.combine(mean, svec(X))
        if force is not None:
            change, moved = change - force, star - point.looked
            change = implicit(problem, contact, h, change, carried, Q @ last @ Q.T, moved)
        return change, contact.velocity(change[:, None], h)[:, 0] * h

    change, moved = corrected(solution.X)
    bend, known = np.zeros((k, k)), getattr(contact, "bend", None)
    for _ in range(_MAX_BENDS):
        if known is None:
            break
        found = known(moved)
        if np.linalg.norm(found - bend) <= _BENT * np.linalg.norm(offset - slack):
            break
        bend = found
        solution = solve_reduced(offset - slack - bend, beta, solution.X)
        change, moved = corrected(solution.X)
    X = solution.X
    pull = Pull(t + h / 2, change if force is None else force + change, X)
    z = star + moved
    corrected_by = svec(bend - offset) + beta @ svec(X)
    end = slack + smat(corrected_by)
    least = np.linalg.pinv(beta, rcond=_RANK) @ corrected_by
    needed = contact.velocity(problem.combine(mean, least)[:, None], h)[:, 0] * h
    X_end = 2 * X - Q @ history.multiplier(t, k0) @ Q.T
    weight = _size(beta) / h
    monitor = inertia(end, scale * weight * X_end, contact)
    return Trial(
        h,
        z,
        star,
        rate0,
        push,
        contact,
        Q,
        monitor,
        scale,
        pull,
        end,
        solution,
        True,
        weight,
        needed,
        float(np.linalg.norm(bend, 2)),
    )


def _solve(
    contact: Contact, h: float, alpha: Array, mean: Vector, x0: Array
) -> tuple[Vector, Array, Solution]:
    """Return the columns that give a solution, their β, and the solution.

    Where an ill-conditioned β of mean columns is not monotone, that of the columns at the end may
    still be: the step is then of first order, but ends on the constraint.
    """
    for columns in (mean, contact.columns):
        beta = h * contact.differentiate(contact.velocity(columns, h))
        try:
            return columns, beta, solve_ccp((alpha + alpha.T) / 2, beta, x0=x0)
        except SolveError:
            continue
    return columns, beta, solve_reduced(alpha, beta, x0)


def congruence(M: Array) -> Array:
    """Return the svec matrix of ``X ↦ M X Mᵀ``, shape (n_rows, n_columns)."""
    matrix: Array = svec(M @ svec_basis(M.shape[1]) @ M.T).T
    return matrix


def _turning(Z: Array, held: Array) -> Array:
    """Return the rotation, shape (k, k), that takes the held directions to where they are now.

    A frame may hold directions beside the held ones, which then turn inside it: to those in which
    the slack is smallest, where others are clearly apart, and where they have been otherwise. That
    is, to the lowest eigenvectors of ``Z = S − cX``. The multiplier turns along, so that its mean
    over the step goes with columns that are means as well.
    """
    k, r = held.shape
    if r in (0, k):
        return np.eye(k)
    vectors = np.linalg.eigh(Z)[1]
    cosines = np.linalg.svd(vectors[:, :r].T @ held, compute_uv=False)
    if cosines[-1] < _LEAST_COSINE:
        return np.eye(k)
    # The shortest turn: the polar factor of P_now P_held + (I − P_now)(I − P_held).
    before, now = _projection(held), vectors[:, :r] @ vectors[:, :r].T
    eye = np.eye(k)
    left, _, right = np.linalg.svd(now @ before + (eye - now) @ (eye - before))
    rotation: Array = left @ right
    return rotation


def _projection(basis: Array) -> Array:
    orthonormal = np.linalg.qr(basis)[0]
    projection: Array = orthonormal @ orthonormal.T
    return projection


def inertia(slack: Array, weighted_multiplier: Array, contact: Contact) -> Array:
    """Return the ascending eigenvalues of ``S − cX``, and the slacks outside the frame.

    As many are negative as directions are held.
    """
    values = np.linalg.eigvalsh(slack - weighted_multiplier)
    return np.sort(np.concatenate([values, contact.beyond]))


def _size(beta: Array) -> float:
    return float(np.trace(beta)) / len(beta)


def _predict(problem: SmoothProblem, point: Point, h: float, rate0: Vector) -> Vector:
    history = point.history

    def rate(s: float, z: Vector) -> Vector:
        force = history.force(s)
        velocity = problem.drift(s, z)
        velocity = velocity if force is None else velocity + problem.push(s, z, force)
        return velocity if owed is None else velocity + owed

    owed = None if point.defect is None else point.defect * (1 / h)
    stages = stages_of(point, h)
    if stages > _MAX_STAGES:
        raise InvalidProblemError(f"a step {h:.3g} would need more than {_MAX_STAGES} stages")
    first = rate0 if owed is None else rate0 + owed
    fast = getattr(point.contact, "fast", None)
    return legendre_step(rate, point.t, point.z, h, first, stages, fast)


def stages_of(point: Point, h: float) -> int:
    """Return the number of stages of a step."""
    return stages_for(h, min(point.contact.stiffness, _STIFFEST / h))


def solve_reduced(alpha: Array, beta: Array, x0: Array | None = None) -> Solution:
    """Solve CCP(α, β); with the symmetric part of β, made definite, where that has no solution."""
    alpha = (alpha + alpha.T) / 2
    try:
        return solve_ccp(alpha, beta, x0=x0)
    except SolveError:
        values, vectors = np.linalg.eigh((beta + beta.T) / 2)
        sizes = np.abs(values)  # not a shift: next to nothing to divide by makes X explode
        definite = np.maximum(sizes, _REGULARISATION * sizes.mean())
        return solve_ccp(alpha, (vectors * definite) @ vectors.T)


def instantaneous(
    contact: Contact, drift: Vector, slack: Array, delay: float
) -> tuple[Array, float]:
    """Return the multiplier that holds the constraint over a short time, and the size of β."""
    alpha = -smat(contact.differentiate(drift[:, None])[:, 0]) - contact.slack_rate
    beta = contact.differentiate(contact.velocity(contact.columns, 0.0))
    return solve_reduced(alpha - slack / delay, beta).X, _size(beta)
