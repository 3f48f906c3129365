"""The stable flow: the optimizer with infinitely small steps, and no oscillation.

``dw/dt = −P⁻¹∇L(w)``. It knows no edge of stability, so it shows what the optimizer would do
without one; for gradient descent it is gradient flow.
"""

from __future__ import annotations

import math

from torch import Tensor

from flows.process import Observation, Process

# Euler steps of 1/10 as in Appendix B, shorter where the effective sharpness θ asks for it.
_SUBSTEPS = 10
_LARGEST_RATE = 0.5


class Stable(Process):
    """Euler steps of ``dw/dt = −P⁻¹∇L`` of length at most 1/10 and at most ``0.5/θ``."""

    name = "stable"
    _gradient: Tensor | None = None
    _sharpness = 0.0

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure loss, gradient norm and, if wanted, the effective eigenvalues."""
        loss, self._gradient = self.loss_and_gradient(self.w)
        norm = float(self._gradient.norm())
        if not spectrum:
            return Observation(loss, norm)
        values = self.measure_spectrum(self.w).values
        self._sharpness = float(values[0])
        return Observation(loss, norm, values)

    def advance(self) -> None:
        """Advance by one unit of time."""
        substeps = max(_SUBSTEPS, math.ceil(self._sharpness / _LARGEST_RATE))
        w, gradient = self.w, self._gradient
        for _ in range(substeps):
            if gradient is None:
                _, gradient = self.loss_and_gradient(w)
            w = w - gradient / (substeps * self.method.preconditioner(w))
            gradient = None
        self.w, self._gradient = w, None
        self.t += 1
