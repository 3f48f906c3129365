"""The explicit Euler step with a position-level complementarity problem.

Over a step ``h`` the linearised slack must stay positive semidefinite::

    0 ⪯ X ⟂ UᵀAU − hα + hβ[X] ⪰ 0        i.e.  X = CCP(α − UᵀAU/h, β).

Posing the condition on the slack itself, and not on its derivative, corrects drift and lets
directions enter and leave the active set by themselves. First order. It is the scheme published
with the central flows (Cohen, Damian et al. 2024, Appendix B), and the baseline here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from ccpsolve._solution import Solution
from ccpsolve._solve import solve_ccp
from ccpsolve.dvi._problem import Linearization, Problem, State


@dataclass(frozen=True)
class EulerStep(Generic[State]):
    """One Euler step.

    Attributes
    ----------
    t, dt : float
        Start and length of the step.
    state : State
        The state at ``t + dt``.
    linearization : Linearization
        The reduced data at ``t``.
    solution : ccpsolve.Solution
        The certified solution of the step's complementarity problem; ``solution.X`` is the
        multiplier, constant over the step.
    """

    t: float
    dt: float
    state: State
    linearization: Linearization[State]
    solution: Solution


def euler_step(
    problem: Problem[State],
    t: float,
    state: State,
    dt: float,
    *,
    linearization: Linearization[State] | None = None,
) -> EulerStep[State]:
    """Advance a DVI by one explicit step of length ``dt``.

    Parameters
    ----------
    problem : Problem
        The DVI.
    t, dt : float
        Start and length (> 0) of the step.
    state : State
        The state at ``t``.
    linearization : Linearization, optional
        ``problem.linearize(t, state)`` when it is already at hand.

    Returns
    -------
    EulerStep

    Raises
    ------
    ccpsolve.SolveError
        If the complementarity problem of the step has no certified solution.
    """
    data = problem.linearize(t, state) if linearization is None else linearization
    solution = solve_ccp(data.alpha - data.slack / dt, data.beta)
    return EulerStep(t, dt, data.advance(solution.X, dt), data, solution)
