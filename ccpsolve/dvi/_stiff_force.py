"""Where the force of the reaction changes fast with the state.

Where it pulls back harder by K of what the state is displaced by, at the rate κ, steps with an
extrapolated force are unstable beyond ``hκ = ½``: the columns at their end are those of the
predicted state, which is not where the step ends. With ``F(z + δ) ≈ F(z) + Kδ``, the force is
corrected by the solution d of

    d = (columns X − F) + ½ h K velocity(d)

instead of ``columns X − F``. In a direction in which ``K velocity`` is −κ, this makes the step one
of the trapezoidal rule, stable for every κ; and it leaves the order as it is whatever K is, because
``columns X − F`` is O(h²).

K is known from two looks: of the symmetric matrices of rank one, the one that gives the change Δ of
the force along a displacement δ, ``ΔΔᵀ/(Δ·δ)``, where Δ takes the state back. If Δ = Kδ with a
symmetric definite K, its κ is never above the largest one of K. The part of Δ that changes the
slack is left to the multiplier.
"""

from __future__ import annotations

import numpy as np

from ccpsolve._symmetric import svec
from ccpsolve.dvi._smooth import Array, Contact, Matrix, SmoothProblem, Vector

# Beta is taken to have no smaller singular values than this, relative to the largest.
_RANK = 1e-6


def implicit(
    problem: SmoothProblem,
    contact: Contact,
    h: float,
    change: Vector,
    carried: Matrix,
    X: Array,
    moved: Vector,
) -> Vector:
    """Return the correction d of the force for an explicit one; it moves the slack by as much.

    Parameters
    ----------
    problem, contact, h
        The problem, and the look at the end of the step.
    change : vector
        The explicit correction, ``columns X − F``.
    carried : matrix
        The columns at the look before, in the frame of this one.
    X : ndarray, shape (k, k)
        The multiplier that tells which columns matter.
    moved : vector
        The displacement from there to here.
    """
    columns = contact.columns
    difference = problem.combine(columns - carried, svec(X))
    answer = contact.velocity(difference[:, None], h)
    answers = contact.velocity(columns, h)
    beta, seen = contact.differentiate(answers), contact.differentiate(answer)
    along: Array = (np.linalg.pinv(beta, rcond=_RANK) @ seen)[:, 0]
    difference = difference - problem.combine(columns, along)
    answer = answer[:, 0] - problem.combine(answers, along)
    work, back = float(difference @ moved), h * float(difference @ answer)
    if work * back >= 0:
        return change
    displaced = h * float(difference @ contact.velocity(change[:, None], h)[:, 0])
    return change + difference * (0.5 * displaced / (work - 0.5 * back))
