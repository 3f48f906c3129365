"""What every process (optimizer, central flow, stable flow) offers to a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flows._errors import FlowsError
from flows.methods import Method
from flows.objective import Objective
from flows.spectrum import CriticalSubspace, Spectrum

# Eigenvalues recorded of a process that does not need them to advance.
_EIGENVALUES_SHOWN = 5


# A loss this many times the first one (or this large) is divergence, long before overflow.
_DIVERGED = 1e8


class ProcessStopped(FlowsError):
    """A process cannot go on; the message says why."""


class State(NamedTuple):
    """Where a process is: weights ``w``, shape (d,), and the optimizer's state ``nu``."""

    w: Tensor
    nu: Tensor


@dataclass(frozen=True)
class Start:
    """Where processes begin: after ``updates`` optimizer steps, before the next gradient.

    A flow is one gradient ahead of the optimizer: its state at any time holds the gradient there.
    To begin where a flow is, say so with ``holds_gradient``; :meth:`flows.Run.start` does.

    Attributes
    ----------
    w : Tensor, shape (d,)
        Weights.
    nu : Tensor
        State of the optimizer, without the gradient at ``w`` unless ``holds_gradient``.
    updates : int
        Number of optimizer steps taken so far.
    holds_gradient : bool
        Whether ``nu`` already contains the gradient at ``w``, as in a flow.
    """

    w: Tensor
    nu: Tensor
    updates: int = 0
    holds_gradient: bool = False


@dataclass(frozen=True)
class Oscillation:
    """What a central flow says of the oscillation around it at one time.

    Attributes
    ----------
    variance : ndarray, shape (k,)
        Eigenvalues of ``X`` (``Σ = U X Uᵀ``, ``UᵀPU = I``), descending: the variance of
        ``qᵀUᵀPδ`` along each eigenvector ``q`` of ``X``, in units of the loss.
    directions : Tensor, shape (d, k)
        ``P U q``: the inner product with ``δ`` is the coordinate of ``δ`` along each eigenvector.
    predicted_loss : float
        Predicted time-average of the loss, ``L + tr X`` (eq. 7).
    critical : int
        Number of directions in the frame with a positive multiplier.
    gradient_variance : Tensor, shape (d,), optional
        ``diag(HΣH)``, which the oscillation adds to the time-average of ``g²``.
    natural_residual, error_bound : float
        Of the complementarity problem (worst over the last unit of time); the bound is on
        ``‖X − X*‖_F`` and certified.
    """

    variance: np.ndarray
    directions: Tensor
    predicted_loss: float
    critical: int
    natural_residual: float
    error_bound: float
    gradient_variance: Tensor | None = None


@dataclass(frozen=True)
class Observation:
    """What is recorded of a process at one time."""

    loss: float
    gradient_norm: float
    eigenvalues: np.ndarray = field(default_factory=lambda: np.zeros(0))
    oscillation: Oscillation | None = None
    gradient: Tensor | None = None
    step_size: float = math.nan


def harmonic_step_size(p: Tensor) -> float:
    """Return the harmonic mean ``d/tr P`` of the step sizes 1/p_i of the weights."""
    return 1 / float(p.mean())


class Process(ABC):
    """A trajectory of weights, advanced one optimizer step (unit of time) at a time.

    Attributes
    ----------
    name : str
        Name of the process in results.
    state : State
        Weights and optimizer state. In a flow, ``nu`` already contains the gradient at ``w``.
    t : int
        Number of units of time gone by.
    """

    name: str

    def __init__(self, objective: Objective, method: Method, start: Start) -> None:
        self.objective = objective
        self.method = method
        self.state = State(start.w.clone(), start.nu.clone())
        self.t = 0
        self.first_update = start.updates + 1
        self.subspace = self._make_subspace()
        self._largest_loss = math.inf

    @classmethod  # noqa: B027 - most processes take every method
    def require(cls, method: Method) -> None:
        """Raise InvalidArgumentError, with the reason, for methods without such a process."""

    @property
    def own_counts(self) -> dict[str, int]:
        """What the process counts beside the calls of the objective, by name."""
        return {}

    @property
    def w(self) -> Tensor:
        """Weights at time ``t``, shape (d,)."""
        return self.state.w

    @property
    def nu(self) -> Tensor:
        """The optimizer's state that contains the gradient at ``w``."""
        return self.state.nu

    @abstractmethod
    def observe(self, *, spectrum: bool) -> Observation:
        """Measure the process where it is.

        Parameters
        ----------
        spectrum : bool
            Whether the effective eigenvalues are wanted when they are not needed anyway.

        Raises
        ------
        ProcessStopped
            If the process cannot go on from here.
        """

    @abstractmethod
    def advance(self) -> None:
        """Advance by one unit of time. Call :meth:`observe` first."""

    def _make_subspace(self) -> CriticalSubspace:
        """Track a fixed number of eigenvalues: they are looked at, but move nothing."""
        return CriticalSubspace(
            self.objective.dim,
            threshold=self.method.threshold,
            level=math.inf,
            guards=_EIGENVALUES_SHOWN,
        )

    def measure_spectrum(self, w: Tensor, p: Tensor) -> Spectrum:
        """Return the top of the spectrum of ``P⁻¹H`` at ``w``."""
        return self.subspace.update(lambda V: self.objective.hvp(w, V), p)

    def loss_and_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        """Return ``L(w)`` and ``∇L(w)``; raise :class:`ProcessStopped` if not finite."""
        loss, gradient = self.objective.value_and_gradient(w)
        if not (np.isfinite(float(loss)) and bool(torch.isfinite(gradient).all())):
            raise ProcessStopped(f"the loss or its gradient is not finite after {self.t} steps")
        if abs(loss) > self._largest_loss:
            raise ProcessStopped(f"diverged: the loss is {loss:.3g} after {self.t} steps")
        if self._largest_loss == math.inf:
            self._largest_loss = _DIVERGED * max(1.0, abs(loss))
        return float(loss), gradient

    def preconditioner(self, nu: Tensor, t: float) -> Tensor:
        """Return ``P(ν, t)``; raise :class:`ProcessStopped` unless positive and finite."""
        p = self.method.preconditioner(nu, t)
        if not bool((torch.isfinite(p) & (p > 0)).all()):
            raise ProcessStopped(
                f"the preconditioner is not positive and finite after {self.t} steps "
                "(a weight without any gradient so far needs eps > 0)"
            )
        return p


class Flow(Process):
    """A process in continuous time; its state starts one update ahead, with the gradient at w₀."""

    def __init__(self, objective: Objective, method: Method, start: Start) -> None:
        super().__init__(objective, method, start)
        if start.nu.numel() and not start.holds_gradient:
            _, gradient = self.loss_and_gradient(start.w)
            nu = method.update(start.nu, gradient, self.first_update)
            self.state = State(self.state.w, nu)
