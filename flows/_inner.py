"""The central flow between looks at the critical directions, in the optimizer's own steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ccpsolve import dvi
from flows._contact import CentralContact, CentralProblem
from flows.process import State

# Tracked directions with larger effective eigenvalues relax exponentially: a step of the
# optimizer would throw them across the valley.
_FAST = 1.0
_NOTHING = 1e-9  # a step too short to take


class SteppedProblem(CentralProblem):
    """A central flow whose smooth part is the optimizer (`ccpsolve.dvi.SteppedProblem`).

    With the force ``(q, r)`` of the oscillation, a step from ``(w, ν)`` is

    ``w ← w − P(ν)⁻¹(g(w) + q)``, ``ν ← update(ν, g(w)) + r/(1 + c)``,

    with c the rate at which ν relaxes, so that r adds to the average what it adds to the target of
    the flow. Along tracked directions with an effective eigenvalue θ > 1 the step is multiplied by
    ``(1 − e^{−θ})/θ``: these directions relax as in the flow. All others move as in the optimizer,
    that is by a factor ``1 − θ`` where the flow has ``e^{−θ}``.
    """

    unit = 1.0

    def drift(self, t: float, z: Tensor) -> Tensor:
        """Return ``(−P⁻¹g, f(ν, g))``; the gradient is kept for a step from there."""
        velocity = super().drift(t, z)
        self._known = z, -self.split(velocity).w * self.preconditioner(t, self.split(z).nu)
        return velocity

    def advance(
        self,
        t: float,
        z: Tensor,
        h: float,
        force: Callable[[float], Tensor | None],
        contact: dvi.Contact,
    ) -> Tensor:
        """Return the state after steps that end on whole times, the last one where h ends."""
        assert isinstance(contact, CentralContact)
        state = self.split(z)
        known, gradient = self._known
        if known is not z:
            gradient = self.objective.gradient(state.w)
        now, end = t, t + h
        while end - now > _NOTHING:
            dt = min(math.floor(now + _NOTHING) + 1, end) - now
            pull = force(now + dt / 2)
            q, r = (None, None) if pull is None else self.split(pull)
            slope = gradient if q is None else gradient + q
            w = state.w - self._move(state.nu, slope, now, dt, contact)
            gradient = self.objective.gradient(w)
            state = State(w, self._average(state.nu, gradient, r, now, dt))
            now += dt
        return self.join(state)

    def _move(
        self, nu: Tensor, gradient: Tensor, t: float, dt: float, contact: CentralContact
    ) -> Tensor:
        """Return ``dt P⁻¹g``, with what is tracked and fast relaxed."""
        root = self.preconditioner(t, nu).sqrt()
        values = contact.spectrum.values
        fast = int(np.count_nonzero(values > _FAST))
        V, theta = contact.spectrum.V[:, :fast], dt * torch.as_tensor(values[:fast])
        lost = (1 + torch.expm1(-theta) / theta).to(V)
        scaled = gradient / root
        return dt * (scaled - V @ (lost * (V.T @ scaled))) / root

    def _average(
        self, nu: Tensor, gradient: Tensor, r: Tensor | None, t: float, dt: float
    ) -> Tensor:
        """Return ν after a fraction dt of an update with the gradient at its end."""
        if not nu.numel():
            return nu
        update = self.first_update + t + dt
        change = self.method.update(nu, gradient, update) - nu
        if r is not None:
            rate = self.method.relaxation(nu, gradient, update)
            change = change + r.reshape(nu.shape) / (1 + rate)
        return nu + dt * change
