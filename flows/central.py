"""The central flow: the time-averaged path of an oscillating optimizer.

With the oscillation covariance ``Σ = U X Uᵀ`` over the critical directions ``U``
(``H U = P U Λ``, ``UᵀPU = I``)::

    dw/dt = −P⁻¹(g + ½ 𝒯[X]),              𝒯[X] = Σ_ij X_ij ∇³L[u_i, u_j],
    dν/dt = f(ν, g) + ℛ[X],                 ℛ[X] = ½ Σ_ij X_ij ∇²_g f[Hu_i, Hu_j],
    0 ⪯ X ⟂ 2I − Λ ⪰ 0     for almost every t.

Reduced to the frame, the slack ``2I − Λ`` moves by ``−(α − β[X])`` with::

    α    = 𝒯ᵀ[−P⁻¹g] − 2 Uᵀ(dP/dt at X = 0)U
    β[X] = ½ 𝒯ᵀP⁻¹𝒯[X] + 2 Uᵀ(∂P/∂ν·ℛ[X])U

(Cohen, Damian et al. 2024, Definition 8 and Appendices B and C.7.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ccpsolve import CCPError, dvi, smat, svec
from flows._errors import InvalidArgumentError
from flows._svec import columns_of, scales, weighted_gram
from flows.methods import Method
from flows.objective import Objective
from flows.process import (
    Flow,
    Observation,
    Oscillation,
    ProcessStopped,
    Start,
    State,
    harmonic_step_size,
)
from flows.spectrum import CriticalSubspace, Spectrum

# Directions with θ > threshold − MARGIN enter the complementarity problem of a step.
MARGIN = 0.05


@dataclass(frozen=True)
class CentralPoint(dvi.Linearization[State]):
    """The central flow linearised at one point, with what is reported of it."""

    loss: float
    gradient: Tensor
    spectrum: Spectrum


class Central(Flow):
    """Central flow by explicit Euler steps with a position-level complementarity problem.

    Parameters
    ----------
    objective, method, start
        The problem, and where the flow starts.
    substeps : int
        Euler steps per unit of time; 4 as published.
    residual_tol : float
        Relative residual of the critical eigenvectors (`CriticalSubspace`).
    fresh_spectra : bool
        Compute every spectrum from scratch instead of from the vectors of the step before.
    mixed_term : bool
        Whether to keep the term ``∂f/∂g·½𝒯[X]`` of the rate of ν, which for RMSProp is
        ``c g ⊙ 𝒯[Σ]``. It is of the same order as ``ℛ[X]``; the published experiments drop it.
    """

    name = "central"

    def __init__(
        self,
        objective: Objective,
        method: Method,
        start: Start,
        *,
        substeps: int = 4,
        residual_tol: float = 1e-3,
        fresh_spectra: bool = False,
        mixed_term: bool = False,
    ) -> None:
        self.residual_tol, self.fresh_spectra = residual_tol, fresh_spectra
        super().__init__(objective, method, start)
        if substeps < 1:
            raise InvalidArgumentError(f"substeps must be at least 1, found {substeps}")
        self.substeps = substeps
        self.mixed_term = mixed_term
        self.solves = 0
        self._first: dvi.EulerStep[State] | None = None
        self._worst_residual = 0.0
        self._worst_bound = 0.0

    def _make_subspace(self) -> CriticalSubspace:
        """Track every direction near the threshold."""
        return CriticalSubspace(
            self.objective.dim, threshold=self.method.threshold, guards=1, tol=self.residual_tol
        )

    def measure_spectrum(self, w: Tensor, p: Tensor) -> Spectrum:
        """Return the top of the spectrum of ``P⁻¹H`` at ``w``."""
        if self.fresh_spectra:
            self.subspace = self._make_subspace()
        return super().measure_spectrum(w, p)

    @property
    def own_counts(self) -> dict[str, int]:
        """Complementarity problems solved."""
        return {"ccp": self.solves}

    def linearize(self, t: float, state: State) -> CentralPoint:
        """Return the reduced data of the flow at ``state`` (the DVI protocol)."""
        (w, nu), clock = state, self.first_update + t
        p = self.preconditioner(nu, clock)
        loss, gradient = self.loss_and_gradient(w)
        spectrum = self.measure_spectrum(w, p)
        k = spectrum.above(self.method.threshold - MARGIN)
        U = spectrum.frame(k)
        third = self._third(w, U)
        force = third / (p if p.ndim == 0 else p[:, None])
        velocity, rate = -gradient / p, self.method.rate(nu, gradient, clock)
        reaction = self._reaction(state, gradient, clock, spectrum.image(k), third)
        hardening = self.method.preconditioner_rate(nu, rate, clock)
        # In float64 whatever the network's precision, so that β ⪰ 0 survives rounding.
        root = p.double().sqrt()
        scaled = third.double() / (root if p.ndim == 0 else root[:, None])
        alpha = -scaled.T @ (gradient.double() / root) - 2 * weighted_gram(U, hardening)
        beta = 0.5 * scaled.T @ scaled
        if nu.numel():
            changes = (self.method.preconditioner_change(nu, x, clock) for x in reaction)
            beta = beta + 2 * columns_of([weighted_gram(U, change) for change in changes], beta)

        def advance(X: np.ndarray, dt: float) -> State:
            x = torch.as_tensor(svec(X)).to(w)
            pull = sum((c * r for c, r in zip(x, reaction, strict=True)), torch.zeros_like(nu))
            return State(w + dt * (velocity - 0.5 * (force @ x)), nu + dt * (rate + pull))

        return CentralPoint(
            slack=np.diag(self.method.threshold - spectrum.values[:k]),
            alpha=smat(_numpy(alpha)),
            beta=_symmetric(_numpy(beta)),
            advance=advance,
            loss=loss,
            gradient=gradient,
            spectrum=spectrum,
        )

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure the flow, and what it predicts of the oscillation around it."""
        step = self._first = self._step(0, self.state)
        point = step.linearization
        assert isinstance(point, CentralPoint)
        variance, axes = np.linalg.eigh(step.solution.X)
        variance, axes = variance[::-1], axes[:, ::-1]
        image = point.spectrum.image(point.k).double()
        covariance = torch.as_tensor(step.solution.X).to(image)
        directions = point.spectrum.dual_frame(point.k) @ torch.as_tensor(axes.copy()).to(self.w)
        oscillation = Oscillation(
            variance=np.maximum(variance, 0.0),
            directions=directions,
            predicted_loss=point.loss + float(np.trace(step.solution.X)),
            critical=point.k,
            natural_residual=self._worst_residual,
            error_bound=self._worst_bound,
            gradient_variance=((image @ covariance) * image).sum(1).to(self.w),
        )
        self._worst_residual = self._worst_bound = 0.0
        norm = float(point.gradient.norm())
        return Observation(
            point.loss,
            norm,
            point.spectrum.values,
            oscillation,
            gradient=point.gradient,
            step_size=harmonic_step_size(point.spectrum.root.square()),
        )

    def advance(self) -> None:
        """Advance by one unit of time."""
        step = self._first if self._first is not None else self._step(0, self.state)
        for substep in range(1, self.substeps):
            step = self._step(substep, step.state)
        self.state, self._first = step.state, None
        self.t += 1

    def _step(self, substep: int, state: State) -> dvi.EulerStep[State]:
        t = self.t + substep / self.substeps
        try:
            step = dvi.euler_step(self, t, state, 1.0 / self.substeps)
        except CCPError as error:
            raise ProcessStopped(f"at step {t:g}: {error}") from error
        certificate = step.solution.certificate
        self._worst_residual = max(self._worst_residual, certificate.natural_residual)
        self._worst_bound = max(self._worst_bound, certificate.error_bound)
        self.solves += 1
        return step

    def _third(self, w: Tensor, U: Tensor) -> Tensor:
        """Return 𝒯 as a matrix (d, n) acting on svec coordinates."""
        if U.shape[1] == 0:
            return U
        return self.objective.third_pairs(w, U) * torch.as_tensor(scales(U.shape[1])).to(w)

    def _reaction(
        self, state: State, gradient: Tensor, clock: float, HU: Tensor, third: Tensor
    ) -> list[Tensor]:
        """Return the columns of ℛ in svec coordinates, each shaped as ν."""
        nu, k = state.nu, HU.shape[1]
        columns = []
        for column, (i, j, scale) in enumerate(zip(*np.triu_indices(k), scales(k), strict=True)):
            pull = self.method.reaction(nu, gradient, clock, HU[:, i], HU[:, j]) * scale
            if self.mixed_term:
                shift = 0.5 * third[:, column]
                pull = pull + self.method.rate_change(nu, gradient, clock, shift)
            columns.append(pull)
        return columns


def _numpy(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.double().cpu().numpy()
    return array


def _symmetric(M: np.ndarray) -> np.ndarray:
    return (M + M.T) / 2
