"""The central flow by the adaptive integrator of `ccpsolve.dvi`."""

from __future__ import annotations

import math

import numpy as np
import torch

from ccpsolve import CCPError, dvi
from flows._central_problem import CentralProblem
from flows._contact import CentralContact
from flows._errors import FlowsError, InvalidArgumentError
from flows._onset import Onset
from flows.methods import Method
from flows.midpoint import Midpoint
from flows.objective import Objective
from flows.process import (
    Flow,
    Observation,
    Oscillation,
    ProcessStopped,
    Start,
    harmonic_step_size,
)
from flows.spectrum import CriticalSubspace

#: Error allowed per length of path by default: that of the published scheme (Euler, step 1/4).
RTOL = 5e-3

#: What `AdaptiveCentral` may begin with.
INNER = ("flow", "discrete")

_FIRST_STEP, _SMALLEST_STEP, _LARGEST_STEP = 1.0, 1 / 256, 16.0
# A direction that enters or leaves is located to this time, or to this slack relative to rtol.
_EVENT_TIME, _EVENT_SLACK = 0.05, 0.1
# Largest correction of the slack in a step: what the linearisation leaves is a part of it.
_SLACK = 0.08
# Largest violation of a start that is left as it is.
_INFEASIBLE = 0.01
# Errors that the loss pulls back are judged by their mean over a step and this time.
_SETTLING = 2.0
# Random vectors of a cold start: of the few directions near the edge where most flows begin.
_COLD_BLOCK = 3
# Error of eigenvalues relative to rtol.
_EIGENVALUE = 0.5


def require_rtol(rtol: object) -> None:
    """Raise unless ``rtol`` is a number strictly between 0 and 1."""
    if not (isinstance(rtol, int | float) and 0 < rtol < 1):
        raise InvalidArgumentError(f"rtol must lie strictly between 0 and 1, found {rtol!r}")


def require_inner(inner: object) -> None:
    """Raise unless ``inner`` is "flow" or "discrete"."""
    if inner not in INNER:
        raise InvalidArgumentError(f"inner must be 'flow' or 'discrete', found {inner!r}")


class AdaptiveCentral(Flow):
    """Central flow in steps as long as the error allows; the formulas are in :mod:`flows.central`.

    Parameters
    ----------
    objective, method, start
        The problem, and where the flow starts.
    rtol : float
        Error of the weights allowed per length of their path.
    max_step : float
        Longest step.
    residual_tol : float, optional
        Relative residual of the critical eigenvectors (`CriticalSubspace`); by default their
        eigenvalues are as accurate as ``rtol`` needs.
    mixed_term : bool
        See :class:`flows.central.Central`.
    inner : {"flow", "discrete"}
        With "discrete" the midpoints of the optimizer are followed until its oscillation has set
        in (:class:`flows._onset.Onset`), and the flow begins there. A flow from weights at which
        training begins ends up elsewhere than the optimizer: steps of a finite length are no flow,
        and the optimizer overshoots the edge before its oscillation is there.

    Attributes
    ----------
    began : int, optional
        When the flow began: 0, or with ``inner="discrete"`` when the oscillation had set in.
    """

    name = "central"

    def __init__(
        self,
        objective: Objective,
        method: Method,
        start: Start,
        *,
        rtol: float = RTOL,
        max_step: float = _LARGEST_STEP,
        residual_tol: float | None = None,
        mixed_term: bool = False,
        inner: str = "flow",
    ) -> None:
        require_rtol(rtol)
        require_inner(inner)
        self.rtol, self.max_step, self.residual_tol = float(rtol), max_step, residual_tol
        super().__init__(objective, method, start)
        self.began: int | None = 0
        self._onset: Onset | None = None
        if inner == "discrete":
            self.began = None
            self._onset = Onset(Midpoint(objective, method, start), self.measure_spectrum)
        self.problem = CentralProblem(
            objective,
            method,
            self.first_update,
            self.state.nu.shape,
            self.subspace,
            accuracy=self.rtol,
            mixed_term=mixed_term,
        )
        self._integrator: dvi.AdaptiveIntegrator | None = None
        self._step: dvi.Step | None = None
        self._ends = np.zeros(0), np.zeros(0)
        self._residual = self._bound = 0.0

    @property
    def own_counts(self) -> dict[str, int]:
        """Complementarity problems solved."""
        return {"ccp": 0 if self._integrator is None else self._integrator.statistics.solves}

    @property
    def events(self) -> list[dvi.Event]:
        """Directions that have come to the edge, or left it."""
        return [] if self._integrator is None else self._integrator.events

    @property
    def last_step(self) -> dvi.Step | None:
        """The step in which the present time lies; None at the start."""
        return self._step

    def _make_subspace(self) -> CriticalSubspace:
        """Track every direction near the threshold, as accurately as the steps need."""
        dim, threshold = self.objective.dim, self.method.threshold
        if self.residual_tol is not None:
            return CriticalSubspace(dim, threshold=threshold, guards=1, tol=self.residual_tol)
        return CriticalSubspace(
            dim,
            threshold=threshold,
            guards=1,
            eigenvalue_tol=_EIGENVALUE * self.rtol,
            block=_COLD_BLOCK,
        )

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure the flow, and what it predicts of the oscillation around it."""
        if self._onset is not None:
            return self._observe_onset(self._onset, spectrum=spectrum)
        self._begin()
        loss, gradient = self.loss_and_gradient(self.w)
        contact, X = self._contact(), self._multiplier()
        variance, axes = np.linalg.eigh(X)
        image = contact.spectrum.image(contact.k).double()
        covariance = torch.as_tensor(X).to(image)
        turned = torch.as_tensor(axes[:, ::-1].copy()).to(self.w)
        oscillation = Oscillation(
            variance=np.maximum(variance[::-1], 0.0),
            directions=contact.spectrum.dual_frame(contact.k) @ turned,
            predicted_loss=loss + float(np.trace(X)),
            critical=contact.k,
            natural_residual=self._residual,
            error_bound=self._bound,
            gradient_variance=((image @ covariance) * image).sum(1).to(self.w),
        )
        self._residual = self._bound = 0.0
        p = self.preconditioner(self.state.nu, self.first_update + self.t)
        return Observation(
            loss,
            float(gradient.norm()),
            self._eigenvalues(),
            oscillation,
            gradient=gradient,
            step_size=harmonic_step_size(p),
        )

    def advance(self) -> None:
        """Advance by one unit of time."""
        if self._onset is not None:
            self._onset.advance()
            self.t += 1
            self.state = self._onset.state
            if self._onset.over:
                self._onset, self.began = None, self.t
            return
        integrator, target = self._begin(), self.t + 1
        while integrator.t < target:
            try:
                self._step = step = integrator.step(math.inf)
            except (CCPError, FlowsError) as error:
                raise ProcessStopped(f"after step {integrator.t:g}: {error}") from error
            self._ends = self._ends[1], self._corrected(step)
            if step.solution is not None:
                certificate = step.solution.certificate
                self._residual = max(self._residual, certificate.natural_residual)
                self._bound = max(self._bound, certificate.error_bound)
        assert self._step is not None
        self.t = target
        self.state = self.problem.split(self._step.at(float(target)))

    def _observe_onset(self, onset: Onset, *, spectrum: bool) -> Observation:
        """Measure the optimizer where its oscillation has not set in."""
        loss, gradient = self.loss_and_gradient(self.w)
        p = self.preconditioner(self.state.nu, self.first_update + self.t)
        none = Oscillation(
            variance=np.zeros(0),
            directions=self.w.new_zeros((len(self.w), 0)),
            predicted_loss=loss,
            critical=0,
            natural_residual=0.0,
            error_bound=0.0,
            gradient_variance=torch.zeros_like(self.w),
        )
        return Observation(
            loss,
            float(gradient.norm()),
            onset.measure().values if spectrum else np.zeros(0),
            none,
            gradient=gradient,
            step_size=harmonic_step_size(p),
        )

    def _begin(self) -> dvi.AdaptiveIntegrator:
        """Return the integrator, made when it is first needed."""
        if self._integrator is None:
            try:
                self._integrator = dvi.AdaptiveIntegrator(
                    self.problem,
                    float(self.t),
                    self.problem.join(self.state),
                    rtol=self.rtol,
                    first_step=_FIRST_STEP,
                    min_step=_SMALLEST_STEP,
                    max_step=self.max_step,
                    event_tol=_EVENT_TIME,
                    event_slack=_EVENT_SLACK * self.rtol,
                    slack_tol=_SLACK,
                    slack_noise=_EIGENVALUE * self.rtol,
                    settling=_SETTLING,
                    rounding=torch.finfo(self.w.dtype).eps,
                    deferred=True,
                    infeasible=_INFEASIBLE,
                )
            except CCPError as error:
                raise ProcessStopped(f"at step {self.t}: {error}") from error
            self.state = self.problem.split(self._integrator.z)
            values = self._contact().spectrum.values
            self._ends = values, values
        return self._integrator

    def _contact(self) -> CentralContact:
        assert self._integrator is not None
        contact = self._integrator.contact if self._step is None else self._step.contact
        assert isinstance(contact, CentralContact)
        return contact

    def _multiplier(self) -> np.ndarray:
        """Return the multiplier at the present time, in the frame of the contact."""
        assert self._integrator is not None
        step = self._step
        if step is None:
            return self._integrator.multiplier
        position = 2 * (self.t - step.t0) / (step.t1 - step.t0) - 1
        values, vectors = np.linalg.eigh(step.X + position * (step.multiplier - step.X))
        positive: np.ndarray = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return positive

    def _corrected(self, step: dvi.Step) -> np.ndarray:
        """Return the effective eigenvalues at the end of a step.

        Measured before the state was moved to the edge; what that changes is known to first order.
        """
        assert isinstance(step.contact, CentralContact)
        values, k = step.contact.spectrum.values.copy(), len(step.slack)
        values[:k] = self.method.threshold - np.linalg.eigvalsh(step.slack)
        return values

    def _eigenvalues(self) -> np.ndarray:
        """Return the effective eigenvalues, linear in time between the ends of a step."""
        (before, after), step = self._ends, self._step
        if step is None:
            return self._contact().spectrum.values
        known = min(len(before), len(after))
        position = (self.t - step.t0) / (step.t1 - step.t0)
        values: np.ndarray = (1 - position) * before[:known] + position * after[:known]
        return values
