"""Flows of the weights alone, whose preconditioner is always at its stationary value for them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ccpsolve.stationary import StationaryPreconditioner
from flows.methods import Method
from flows.objective import Objective
from flows.process import Observation, Process, Start, State, harmonic_step_size


@dataclass(frozen=True, eq=False)
class Settled:
    """A place on such a flow.

    Attributes
    ----------
    loss : float
        Train loss L.
    gradient : Tensor, shape (d,)
        ``∇L``.
    p, nu : Tensor, shape () or (d,)
        The diagonal of P̄, and ν̄.
    solution : StationaryPreconditioner, optional
        Of RMSProp: P̄ and Σ* with their certificate.
    """

    loss: float
    gradient: Tensor
    p: Tensor
    nu: Tensor
    solution: StationaryPreconditioner | None = None


class Quasistatic(Process):
    """``dw/dt = −P̄(w)⁻¹ F(w)`` by explicit Euler steps.

    Parameters
    ----------
    objective, method, start
        The problem, and where the flow starts; of the start only the weights count.
    substeps : int
        Euler steps per unit of time.
    """

    def __init__(
        self, objective: Objective, method: Method, start: Start, *, substeps: int = 4
    ) -> None:
        self.require(method)
        super().__init__(objective, method, start)
        self.substeps = substeps
        self._settled: Settled | None = None

    @abstractmethod
    def settle(self, w: Tensor, t: float) -> Settled:
        """Return the stationary preconditioner at ``w``; ProcessStopped if there is none."""

    @abstractmethod
    def force(self, w: Tensor, settled: Settled, t: float) -> Tensor:
        """Return F, shape (d,)."""

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure loss, gradient norm and, if wanted, the effective eigenvalues."""
        settled = self._settled = self.settle(self.w, self.t)
        self.state = State(self.w, settled.nu)
        norm = float(settled.gradient.norm())
        step_size = harmonic_step_size(settled.p)
        if not spectrum:
            return Observation(settled.loss, norm, gradient=settled.gradient, step_size=step_size)
        # P must be definite for the eigen-solver, also where the loss depends on nothing
        p = settled.p.clamp_min(torch.finfo(settled.p.dtype).eps * float(settled.p.max()))
        values = self.measure_spectrum(self.w, p).values
        return Observation(
            settled.loss, norm, values, gradient=settled.gradient, step_size=step_size
        )

    def advance(self) -> None:
        """Advance by one unit of time."""
        w, nu = self.state
        for substep in range(self.substeps):
            t = self.t + substep / self.substeps
            settled = self._settled or self.settle(w, t)
            self._settled = None
            w = w - divided(self.force(w, settled, t), settled.p) / self.substeps
        self.state = State(w, nu)
        self.t += 1


def divided(x: Tensor, p: Tensor) -> Tensor:
    """Return ``P⁻¹x``, and 0 for weights on which the loss does not depend (p = 0, x = 0)."""
    smallest = torch.finfo(p.dtype).tiny
    return torch.where(p > smallest, x / p.clamp_min(smallest), torch.zeros_like(x))
