"""The stable flow: the optimizer with infinitely small steps, and no oscillation.

``dw/dt = −P(ν, t)⁻¹∇L(w)``, ``dν/dt = f(ν, ∇L, t)``. It knows no edge of stability, so it shows
what the optimizer would do without one; for gradient descent it is gradient flow.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from flows.process import Flow, Observation, ProcessStopped, State

# Euler steps of 1/10 as in Appendix B, shorter where the effective sharpness θ asks for it.
_SUBSTEPS = 10
_LARGEST_RATE = 0.5
# Beyond this effective sharpness one unit of time costs hundreds of gradients (and tells nothing
# new about an optimizer that cannot be there); the published experiments stop there too.
_LARGEST_SHARPNESS = 100.0


class Stable(Flow):
    """Euler steps of the stable flow, of length at most 1/10 and at most ``0.5/θ``.

    It stops where the effective sharpness θ is seen to be above 100.
    """

    name = "stable"
    _gradient: Tensor | None = None
    _sharpness = 0.0

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure loss, gradient norm and, if wanted, the effective eigenvalues."""
        loss, self._gradient = self.loss_and_gradient(self.w)
        norm = float(self._gradient.norm())
        observation = Observation(loss, norm, gradient=self._gradient)
        if not spectrum:
            return observation
        p = self.preconditioner(self.state.nu, self.first_update + self.t)
        values = self.measure_spectrum(self.w, p).values
        self._sharpness = float(values[0])
        if self._sharpness > _LARGEST_SHARPNESS:
            raise ProcessStopped(
                f"the effective sharpness is above {_LARGEST_SHARPNESS:g} after {self.t} steps, "
                "where the stable flow is too stiff to be worth following"
            )
        return replace(observation, eigenvalues=values)

    def advance(self) -> None:
        """Advance by one unit of time."""
        substeps = max(_SUBSTEPS, math.ceil(self._sharpness / _LARGEST_RATE))
        state, gradient = self.state, self._gradient
        for substep in range(substeps):
            if gradient is None:
                _, gradient = self.loss_and_gradient(state.w)
            clock = self.first_update + self.t + substep / substeps
            p = self.preconditioner(state.nu, clock)
            rate = self.method.rate(state.nu, gradient, clock)
            state = State(state.w - gradient / (substeps * p), state.nu + rate / substeps)
            gradient = None
        self.state, self._gradient = state, None
        self.t += 1
