"""The central flow: the time-averaged path of an oscillating optimizer.

With the oscillation covariance ``Σ = U X Uᵀ`` over the critical directions ``U``
(``H U = P U Λ``, ``UᵀPU = I``)::

    dw/dt = −P⁻¹(∇L + ½ 𝒯[X]),     𝒯[X] = Σ_ij X_ij ∇³L[u_i, u_j],
    0 ⪯ X ⟂ 2I − Λ ⪰ 0     for almost every t.

Reduced to the frame, the slack ``2I − Λ`` moves by ``−(α − β[X])`` with
``α = 𝒯ᵀ[−P⁻¹∇L]`` and ``β = ½ 𝒯ᵀP⁻¹𝒯`` (Cohen, Damian et al. 2024, Definition 8 and App. B).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ccpsolve import CCPError, dvi, smat, svec
from flows._errors import InvalidArgumentError
from flows.methods import Method
from flows.objective import Objective
from flows.process import Observation, Oscillation, Process, ProcessStopped
from flows.spectrum import Spectrum

# Directions with θ > threshold − MARGIN enter the complementarity problem of a step.
MARGIN = 0.05


@dataclass(frozen=True)
class CentralPoint(dvi.Linearization[Tensor]):
    """The central flow linearised at one point, with what is reported of it."""

    loss: float
    gradient: Tensor
    spectrum: Spectrum


class Central(Process):
    """Central flow by explicit Euler steps with a position-level complementarity problem.

    Parameters
    ----------
    objective, method, w0
        The problem, and where the flow starts.
    substeps : int
        Euler steps per unit of time; 4 as published.
    """

    name = "central"

    def __init__(
        self, objective: Objective, method: Method, w0: Tensor, *, substeps: int = 4
    ) -> None:
        super().__init__(objective, method, w0)
        if substeps < 1:
            raise InvalidArgumentError(f"substeps must be at least 1, found {substeps}")
        self.substeps = substeps
        self.solves = 0
        self._first: dvi.EulerStep[Tensor] | None = None
        self._worst_residual = 0.0
        self._worst_bound = 0.0

    def linearize(self, t: float, state: Tensor) -> CentralPoint:
        """Return the reduced data of the flow at weights ``state`` (the DVI protocol)."""
        w, p = state, self.method.preconditioner(state)
        loss, gradient = self.loss_and_gradient(w)
        spectrum = self.measure_spectrum(w)
        k = spectrum.above(self.method.threshold - MARGIN)
        third = self._third(w, spectrum.frame(k))
        velocity = -gradient / p
        scaled = third / (p if p.ndim == 0 else p[:, None])

        def advance(X: np.ndarray, dt: float) -> Tensor:
            return w + dt * (velocity - 0.5 * (scaled @ torch.as_tensor(svec(X)).to(w)))

        return CentralPoint(
            slack=np.diag(self.method.threshold - spectrum.values[:k]),
            alpha=_smat(third.T @ velocity),
            beta=_symmetric(0.5 * (third.T @ scaled)),
            advance=advance,
            loss=loss,
            gradient=gradient,
            spectrum=spectrum,
        )

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure the flow, and what it predicts of the oscillation around it."""
        step = self._first = self._step(self.w)
        point = step.linearization
        assert isinstance(point, CentralPoint)
        variance, axes = np.linalg.eigh(step.solution.X)
        variance, axes = variance[::-1], axes[:, ::-1]
        spectrum_axes = point.spectrum.dual_frame(point.k)
        directions = spectrum_axes @ torch.as_tensor(axes.copy()).to(self.w)
        oscillation = Oscillation(
            variance=np.maximum(variance, 0.0),
            directions=directions,
            predicted_loss=point.loss + float(np.trace(step.solution.X)),
            critical=point.k,
            natural_residual=self._worst_residual,
            error_bound=self._worst_bound,
        )
        self._worst_residual = self._worst_bound = 0.0
        norm = float(point.gradient.norm())
        return Observation(point.loss, norm, point.spectrum.values, oscillation)

    def advance(self) -> None:
        """Advance by one unit of time."""
        step = self._first if self._first is not None else self._step(self.w)
        for _ in range(self.substeps - 1):
            step = self._step(step.state)
        self.w, self._first = step.state, None
        self.t += 1

    def _step(self, w: Tensor) -> dvi.EulerStep[Tensor]:
        try:
            step = dvi.euler_step(self, float(self.t), w, 1.0 / self.substeps)
        except CCPError as error:
            raise ProcessStopped(f"at step {self.t}: {error}") from error
        certificate = step.solution.certificate
        self._worst_residual = max(self._worst_residual, certificate.natural_residual)
        self._worst_bound = max(self._worst_bound, certificate.error_bound)
        self.solves += 1
        return step

    def _third(self, w: Tensor, U: Tensor) -> Tensor:
        """Return 𝒯 as a matrix (d, n) acting on svec coordinates."""
        if U.shape[1] == 0:
            return U
        first, second = np.triu_indices(U.shape[1])
        scale = np.where(first == second, 1.0, np.sqrt(2.0))
        return self.objective.third_pairs(w, U) * torch.as_tensor(scale).to(w)


def _smat(x: Tensor) -> np.ndarray:
    return smat(x.double().cpu().numpy())


def _symmetric(M: Tensor) -> np.ndarray:
    array = M.double().cpu().numpy()
    return (array + array.T) / 2
