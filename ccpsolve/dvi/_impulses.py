"""Impulses that move a state to the constraint."""

from __future__ import annotations

import numpy as np

from ccpsolve._symmetric import svec
from ccpsolve.dvi._smooth import Contact, SmoothProblem, Vector
from ccpsolve.dvi._trial import solve_reduced

_MAX_IMPULSES = 8


def on_constraint(
    problem: SmoothProblem,
    t: float,
    z: Vector,
    contact: Contact,
    infeasible: float,
    h: float = 0.0,
) -> tuple[Vector, Contact]:
    """Return a state that violates the constraint by at most ``infeasible``, and the look there.

    Impulses ``columns X`` with ``0 ⪯ X ⟂ A + DA[columns X] ⪰ 0`` move it, a few if the constraint
    is not linear; less what has decayed of them if they have acted over a time h.
    """
    for _ in range(_MAX_IMPULSES):
        slack = contact.slack
        if not len(slack) or np.linalg.eigvalsh(slack)[0] >= -infeasible:
            break
        directions = contact.velocity(contact.columns, h)
        impulse = solve_reduced(-slack, contact.differentiate(directions))
        z = z + problem.combine(directions, svec(impulse.X))
        contact = problem.contact(t, z, contact, impulse.X)
    return z, contact
