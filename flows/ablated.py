"""The ablated flows: the right preconditioner, but no regularisation of curvature.

``dw/dt = −P̄(w)⁻¹∇L(w)``: what an optimizer at the edge of stability would do if its oscillation
set its effective step sizes, as it does, and did not lower the sharpness. P̄ is stationary:

* RMSProp-Norm: ``P̄ = max(S/2, ‖∇L‖/η)·I`` with the sharpness ``S = λ_max(H)``, that is
  ``−(2/S)∇L`` at the edge (eq. 11, Figs 5 and 7);
* RMSProp: that of eq. 12 (Fig. 11).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flows._errors import InvalidArgumentError
from flows.methods import Method, RMSProp, RMSPropNorm
from flows.objective import Objective
from flows.process import Start
from flows.quasistatic import Quasistatic, Settled
from flows.spectrum import CriticalSubspace
from flows.stationary import settle_rmsprop
from flows.stationary_solver import StationarySolver


class Ablated(Quasistatic):
    """Ablated flow of RMSProp or RMSProp-Norm; see the module.

    Parameters
    ----------
    objective, method, start, substeps
        As for :class:`flows.quasistatic.Quasistatic`.
    """

    name = "ablated"

    def __init__(
        self, objective: Objective, method: Method, start: Start, *, substeps: int = 4
    ) -> None:
        super().__init__(objective, method, start, substeps=substeps)
        self.solver = StationarySolver(objective)
        # one eigenvalue of H itself, resolved wherever it is
        self._top = CriticalSubspace(objective.dim, level=math.inf, guards=1)

    @classmethod
    def require(cls, method: Method) -> None:
        """Refuse methods other than RMSProp and RMSProp-Norm, with the reason."""
        if isinstance(method, RMSProp | RMSPropNorm):
            return
        reason = (
            "without curvature term its central flow is the stable flow"
            if method.name == "gd"
            else "its stationary preconditioner is not known"
        )
        raise InvalidArgumentError(
            f"processes: 'ablated' is defined for rmsprop and rmsprop-norm, found "
            f"{method.name}: {reason}"
        )

    @property
    def own_counts(self) -> dict[str, int]:
        """As of the stationary flow, where semidefinite programs are solved."""
        return self.solver.counts if self.solver.solves else {}

    def settle(self, w: Tensor, t: float) -> Settled:
        """Return the stationary preconditioner at ``w``; ProcessStopped if there is none."""
        if isinstance(self.method, RMSProp):
            return settle_rmsprop(self, self.solver, w, t)
        loss, gradient = self.loss_and_gradient(w)
        spectrum = self._top.update(lambda V: self.objective.hvp(w, V), torch.ones_like(w[0]))
        lr = self.method.lr(self.first_update + t)
        p = (gradient.norm() / lr).clamp_min(float(spectrum.values[0]) / 2)
        return Settled(loss, gradient, p, (lr * p).square())

    def force(self, w: Tensor, settled: Settled, t: float) -> Tensor:
        """Return ``∇L``."""
        return settled.gradient
