"""The optimizer itself."""

from __future__ import annotations

from torch import Tensor

from flows.process import Observation, Process


class Discrete(Process):
    """The iterates ``w ← w − P⁻¹∇L(w)``."""

    name = "discrete"
    _gradient: Tensor | None = None

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure loss, gradient norm and, if wanted, the effective eigenvalues."""
        loss, self._gradient = self.loss_and_gradient(self.w)
        values = self.measure_spectrum(self.w).values if spectrum else None
        norm = float(self._gradient.norm())
        return Observation(loss, norm) if values is None else Observation(loss, norm, values)

    def advance(self) -> None:
        """Take one optimizer step."""
        gradient = self._gradient
        if gradient is None:
            _, gradient = self.loss_and_gradient(self.w)
        self.w = self.w - gradient / self.method.preconditioner(self.w)
        self._gradient = None
        self.t += 1
