"""The central flow as the adaptive integrator sees it.

The state of the integrator is the flat vector ``z = (w, ν)``, its force ``(½𝒯[X], ℛ[X])``, which
gives the velocity ``(−P⁻¹ ½𝒯[X], ℛ[X])``; see :mod:`flows.central` for the formulas.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ccpsolve import dvi
from flows._contact import CentralContact
from flows._relaxation import Relaxation
from flows._third_derivatives import Upkeep
from flows.methods import Method
from flows.objective import Objective
from flows.process import State
from flows.spectrum import CriticalSubspace, Spectrum

Array = np.ndarray

# Error of the critical eigenvectors, relative to that allowed of the velocity, where the force is
# all of it. On a network with four held directions and a force 1.7 times the velocity, errors five
# times as large make the flow four times less accurate, at no lower cost.
_ANGLE = 5.0
# Predicted eigenvectors are wrong by about this angle: where that is good enough, third derivatives
# are taken along them, which saves products with H.
_ROUGH = 0.3


class CentralProblem:
    """The DVI of a central flow (the `ccpsolve.dvi.SmoothProblem` protocol).

    Parameters
    ----------
    objective, method
        The problem.
    first_update : int
        The update that time 0 corresponds to.
    shape : torch.Size
        Shape of ν.
    subspace : CriticalSubspace
        The eigen-solver, kept warm.
    accuracy : float
        Error of the velocity that may be due to old third derivatives or rough eigenvectors,
        relative to it.
    mixed_term : bool
        See :class:`flows.central.Central`.
    """

    def __init__(
        self,
        objective: Objective,
        method: Method,
        first_update: int,
        shape: torch.Size,
        subspace: CriticalSubspace,
        *,
        accuracy: float = 1e-3,
        mixed_term: bool = False,
    ) -> None:
        self.objective, self.method = objective, method
        self.first_update, self.shape = first_update, shape
        self.subspace = subspace
        self.mixed_term = mixed_term
        self.relaxation: Relaxation | None = None
        self.upkeep = Upkeep(objective, accuracy)
        self._accuracy, self._speed = accuracy, 0.0
        self._latest: Spectrum | None = None

    def join(self, state: State) -> Tensor:
        """Return the flat state ``z``."""
        return torch.cat([state.w, state.nu.reshape(-1)])

    def split(self, z: Tensor) -> State:
        """Return weights and optimizer state of a flat state."""
        d = self.objective.dim
        return State(z[:d], z[d:].reshape(self.shape))

    def preconditioner(self, t: float, nu: Tensor) -> Tensor:
        """Return ``P(ν, t)``; raise where it is not positive."""
        p = self.method.preconditioner(nu, self.first_update + t)
        if not bool((torch.isfinite(p) & (p > 0)).all()):
            raise dvi.IntegrationError(
                f"the preconditioner is not positive and finite at step {t:g} "
                "(a weight without any gradient so far needs eps > 0)"
            )
        return p

    def drift(self, t: float, z: Tensor) -> Tensor:
        """Return ``(−P⁻¹g, f(ν, g))``."""
        return self.drift_at(t, z, self.objective.gradient(self.split(z).w))

    def drift_at(self, t: float, z: Tensor, gradient: Tensor) -> Tensor:
        """Return the drift where the gradient is known."""
        nu = self.split(z).nu
        if not bool(torch.isfinite(gradient).all()):
            raise dvi.IntegrationError(f"the gradient is not finite at step {t:g}")
        velocity = -gradient / self.preconditioner(t, nu)
        self._speed = float(velocity.norm())
        return self.join(State(velocity, self.method.rate(nu, gradient, self.first_update + t)))

    def push(self, t: float, z: Tensor, force: Tensor) -> Tensor:
        """Return ``(−P⁻¹q, r)`` for a force ``(q, r)``."""
        q, r = self.split(force)
        return self.join(State(-q / self.preconditioner(t, self.split(z).nu), r))

    def combine(self, columns: Tensor, x: Array) -> Tensor:
        """Return ``columns @ x``."""
        return columns @ torch.as_tensor(x).to(columns)

    def norm(self, z: Tensor, difference: Tensor) -> float:
        """Return ``‖Δw‖``, or what the relative change of P by Δν is worth if that is more.

        A change of the effective eigenvalues by ε counts as the way that w goes in a time ε.
        """
        w, nu = self.split(difference)
        size = float(w.norm())
        if not nu.numel():
            return size
        state = self.split(z)
        relative = (nu / state.nu.abs().clamp_min(torch.finfo(nu.dtype).tiny)).abs()
        V = self.subspace.vectors
        if nu.ndim and V is not None:
            relative = relative.clamp_max(1.0) @ V.square()
        return max(size, self._speed * float(relative.max()))

    def contact(
        self, t: float, z: Tensor, previous: dvi.Contact | None, multiplier: Array
    ) -> CentralContact:
        """Look at the critical directions at ``z``.

        Errors of the eigenvectors enter the force in first order: the larger its share in the
        velocity, the smaller they must be.
        """
        state = self.split(z)
        p = self.preconditioner(t, state.nu)
        before = previous if isinstance(previous, CentralContact) else None
        share = 0.0 if before is None else before.share(t, state, multiplier)
        angle = _ANGLE * self._accuracy / share if share else np.inf
        foreseen = start = resting = None
        if before is not None:
            if t == before.t and before.repeated:
                share = np.inf  # what was known, with which the state was moved here, misled
            if angle > _ROUGH:
                foreseen = before.foreseen(t, state, p, multiplier, share)
            start = before.predicted(t)
            if before.guard_rests(t):
                start, resting = start[:, :-1], before.spectrum
            start = torch.cat([start, self._found_since(before, start)], dim=1)
        spectrum = self.subspace.update(
            lambda V: self.objective.hvp(state.w, V),
            p,
            start=start,
            angle=angle,
            known=None if foreseen is None else foreseen[:2],
            resting=resting,
        )
        self._latest = spectrum
        return CentralContact(
            self, t, state, p, spectrum, before, multiplier, share, foreseen, resting is None
        )

    def _found_since(self, before: CentralContact, start: Tensor) -> Tensor:
        """Return the directions near the edge that a step found which was then rejected.

        A shorter step may not find them by itself.
        """
        assert self._latest is not None
        known = before.spectrum.above(self.subspace.level)
        near = self._latest.V[:, : self._latest.above(self.subspace.level)]
        basis = torch.linalg.qr(start)[0]
        outside = torch.linalg.svd(near - basis @ (basis.T @ near), full_matrices=False)[0]
        return outside[:, : max(near.shape[1] - known, 0)]
