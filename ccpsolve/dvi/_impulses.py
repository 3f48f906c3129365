"""Impulses that move a state to the constraint."""

from __future__ import annotations

import math

import numpy as np

from ccpsolve._symmetric import svec
from ccpsolve.dvi._smooth import Array, Contact, SmoothProblem, Vector
from ccpsolve.dvi._trial import solve_reduced

# Looks at the constraint, that at the state given among them.
_MAX_LOOKS = 9


def on_constraint(
    problem: SmoothProblem,
    t: float,
    z: Vector,
    contact: Contact,
    infeasible: float,
    h: float = 0.0,
) -> tuple[Vector, Contact, Array]:
    """Return a state that violates the constraint by at most ``infeasible``, and the look there.

    With the coordinates of the frame of the first contact in that of the last, as `transport`.

    Impulses ``columns X`` with ``0 ⪯ X ⟂ A + DA[columns X] ⪰ 0`` move it, a few if the constraint
    is not linear; less what has decayed of them if they have acted over a time h. Where they do not
    get there, the state is the best of those tried.
    """
    transport = np.eye(len(contact.slack))
    best, least = (z, contact, transport), math.inf
    for left in reversed(range(_MAX_LOOKS)):
        violation = _violation(contact)
        if violation < least:
            best, least = (z, contact, transport), violation
        if least <= infeasible or not left:
            break
        slack, directions = contact.slack, contact.velocity(contact.columns, h)
        impulse = solve_reduced(-slack, contact.differentiate(directions))
        z = z + problem.combine(directions, svec(impulse.X))
        contact = problem.contact(t, z, contact, impulse.X)
        transport = contact.transport @ transport
    return best


def _violation(contact: Contact) -> float:
    """Return ``max(0, −λ_min(A))``."""
    return max(0.0, -float(np.linalg.eigvalsh(contact.slack)[0])) if len(contact.slack) else 0.0
