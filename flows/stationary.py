r"""The stationary flow: RMSProp with its preconditioner always at the stationary value.

At fixed weights ν tends to ν̄(w), and ``P̄ = diag(√ν̄)/η`` solves a semidefinite program
(:mod:`ccpsolve.stationary`). Where ν is fast, w alone moves (eq. 13)::

    dw/dt = −P̄(w)⁻¹ [∇L + ½∇⟨Σ, H⟩].

Two closures say which covariance Σ that is:

``"complementarity"``
    Σ = UXUᵀ over the critical directions, X the solution of the complementarity problem of the
    central flow (eq. 25) at ν = ν̄(w), as published: Σ holds the sharpness at the edge against
    the rate at which ν moves, which depends on β₂.
``"minimiser"``
    Σ*, the multiplier of ``H ⪯ 2P`` in the semidefinite program. It is the limit of the other
    for β₂ → 0, where ν follows w at once.

With Σ* there are two curvature terms: ``"exact"``, ``½∇⟨Σ*, H⟩ = (η²/4)Σᵢ(1 − gᵢ²/ν̄ᵢ)∇p̄ᵢ``, and
``"simplified"``, ``(η²/4)∇tr P̄``, which the talk gives and which lacks the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ccpsolve import CCPError
from flows._errors import FlowsError, InvalidArgumentError
from flows._stationary_terms import complementarity_term, exact_term, trace_term
from flows.methods import Method, RMSProp
from flows.objective import Objective
from flows.process import Process, ProcessStopped, Start
from flows.quasistatic import Quasistatic, Settled
from flows.stationary_solver import TOLERANCE, StationarySolver, require_rmsprop

CLOSURES = ("complementarity", "minimiser")
CURVATURE_TERMS = ("exact", "simplified")


class Stationary(Quasistatic):
    """Stationary flow of RMSProp by explicit Euler steps.

    ε > 0 is added to √ν̄ as the optimizer does, and left out where ν̄ is determined.

    Parameters
    ----------
    objective, method, start, substeps
        As for :class:`flows.quasistatic.Quasistatic`.
    closure : {"complementarity", "minimiser"}
        Which Σ; see the module.
    curvature : {"exact", "simplified"}
        Which curvature term; the second one with the closure "minimiser" alone.
    tol : float
        Certified relative gap of the preconditioner.

    References
    ----------
    Cohen, Damian et al. (2024), eqs. (12), (13) and (25).
    """

    name = "stationary"

    def __init__(
        self,
        objective: Objective,
        method: Method,
        start: Start,
        *,
        substeps: int = 4,
        closure: str = "complementarity",
        curvature: str = "exact",
        tol: float = TOLERANCE,
    ) -> None:
        super().__init__(objective, method, start, substeps=substeps)
        require_terms(closure, curvature)
        self.closure = closure
        self.curvature = curvature
        self.solver = StationarySolver(objective, tol=tol)

    @classmethod
    def require(cls, method: Method) -> None:
        """Refuse methods other than RMSProp, with the reason."""
        require_rmsprop(method, f"processes: {cls.name!r}")

    @property
    def own_counts(self) -> dict[str, int]:
        """Semidefinite programs solved, and Hessian-vector products they took."""
        return self.solver.counts

    def settle(self, w: Tensor, t: float) -> Settled:
        """Return the stationary preconditioner at ``w``; ProcessStopped if there is none."""
        return settle_rmsprop(self, self.solver, w, t)

    def force(self, w: Tensor, settled: Settled, t: float) -> Tensor:
        """Return ``∇L + ½∇⟨Σ, H⟩``, or what was chosen in its place."""
        solution, gradient, method = settled.solution, settled.gradient, self.method
        assert solution is not None
        assert isinstance(method, RMSProp)
        if solution.rank == 0:
            return gradient
        try:
            if self.closure == "complementarity":
                clock = self.first_update + t
                term = complementarity_term(self.objective, method, w, gradient, solution, clock)
            elif self.curvature == "exact":
                term = exact_term(self.objective, w, solution)
            else:
                term = trace_term(self.objective, w, gradient, solution)
        except (FlowsError, CCPError) as error:
            raise ProcessStopped(f"at step {t:g}: {error}") from error
        return gradient + term


def settle_rmsprop(process: Process, solver: StationarySolver, w: Tensor, t: float) -> Settled:
    """Return loss, gradient and stationary preconditioner of RMSProp at ``w``."""
    method = process.method
    assert isinstance(method, RMSProp)
    loss, gradient = process.loss_and_gradient(w)
    lr = method.lr(process.first_update + t)
    try:
        solution = solver.solve(w, gradient, lr)
    except (FlowsError, CCPError) as error:
        raise ProcessStopped(f"at step {t:g}: {error}") from error
    p = torch.as_tensor(solution.p + method.eps / lr).to(w)
    return Settled(loss, gradient, p, torch.as_tensor(solution.nu).to(w), solution)


def require_terms(closure: str, curvature: str) -> None:
    """Refuse closures and curvature terms that do not exist, or not together."""
    for name, value, allowed in (
        ("closure", closure, CLOSURES),
        ("curvature", curvature, CURVATURE_TERMS),
    ):
        if value not in allowed:
            raise InvalidArgumentError(
                f"{name} must be one of {', '.join(allowed)}, found {value!r}"
            )
    if curvature == "simplified" and closure != "minimiser":
        raise InvalidArgumentError(
            "curvature: 'simplified' is the gradient of tr P̄ and belongs to the closure "
            f"'minimiser', found closure {closure!r}"
        )
