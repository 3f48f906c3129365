"""Matrix-constrained differential variational inequalities and their integration.

A DVI moves a state ``z`` under a drift ``f`` and a reaction that keeps a symmetric matrix
``A(z)`` positive semidefinite::

    z' = f(z) + B(z) X,      0 ⪯ X ⟂ A(z) ⪰ 0.

A problem shows itself to an integrator through :class:`Problem`: it linearises itself at a
point, in a small frame of the directions in which ``A`` is nearly singular. The state may be
anything (a NumPy array, a record of torch tensors): only k×k data cross the protocol.
"""

from ccpsolve.dvi._adaptive import AdaptiveIntegrator, IntegrationError
from ccpsolve.dvi._arrays import ArrayProblem
from ccpsolve.dvi._dense import Event, Statistics, Step
from ccpsolve.dvi._euler import EulerStep, euler_step
from ccpsolve.dvi._fast import phi_functions
from ccpsolve.dvi._history import support
from ccpsolve.dvi._integrate import Trajectory, integrate
from ccpsolve.dvi._problem import Linearization, Problem
from ccpsolve.dvi._smooth import Contact, FastDirections, SmoothProblem
from ccpsolve.dvi._trial import congruence

__all__ = [
    "AdaptiveIntegrator",
    "ArrayProblem",
    "Contact",
    "EulerStep",
    "Event",
    "FastDirections",
    "IntegrationError",
    "Linearization",
    "Problem",
    "SmoothProblem",
    "Statistics",
    "Step",
    "Trajectory",
    "congruence",
    "euler_step",
    "integrate",
    "phi_functions",
    "support",
]
