"""Optimizers as preconditioned descent ``w ← w − P(ν, t)⁻¹∇L(w)`` with a state ``ν``.

A method is what a flow needs to know of an optimizer: the preconditioner ``P(ν, t)``, the rate
``dν/dt = f(ν, g, t)`` of its state, and the discrete update of the state. The derivatives of
``P`` and ``f`` come from autodiff, so a new method is three functions (:class:`Preconditioned`).

Time counts updates. The first is t = 1, and ``ν_t``, which already contains the gradient of step
t, scales step t; a flow started at ``w₀`` therefore begins with ν updated once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from flows._errors import InvalidArgumentError

Schedule = Callable[[float], float]

# Step of the central difference that gives the rate of a learning-rate schedule.
_SCHEDULE_STEP = 1e-3


class Method(ABC):
    """A preconditioned method with learning rate ``η(t)`` and ``P(ν, t) = D(ν, t)/η(t)``.

    The method is locally stable while ``H ⪯ threshold · P``, that is while the effective
    sharpness ``λ_max(P⁻¹H)`` is at most ``threshold``.

    Parameters
    ----------
    lr : float or callable t -> float
        Learning rate, > 0, or a schedule: ``lr(t)`` scales update t = 1, 2, … and is evaluated
        at real t by the flows.
    """

    name: str
    threshold = 2.0
    reaction_needs_gradient = True

    def __init__(self, lr: float | Schedule) -> None:
        self._schedule = lr if callable(lr) else None
        self._lr = 0.0 if callable(lr) else _checked_rate(lr)

    def lr(self, t: float) -> float:
        """Return the learning rate of update ``t``."""
        return self._lr if self._schedule is None else _checked_rate(self._schedule(t))

    @abstractmethod
    def initial_state(self, w: Tensor) -> Tensor:
        """Return ν before the first gradient, in the dtype and device of the weights ``w``."""

    @abstractmethod
    def update(self, nu: Tensor, gradient: Tensor, t: float) -> Tensor:
        """Return ν after the gradient of step ``t``."""

    @abstractmethod
    def rate(self, nu: Tensor, gradient: Tensor, t: float) -> Tensor:
        """Return ``f(ν, g, t)``, shaped as ν."""

    @abstractmethod
    def scale(self, nu: Tensor, t: Tensor) -> Tensor:
        """Return ``D(ν, t)``, shape () or (d,), > 0, by torch operations on ν and t."""

    def preconditioner(self, nu: Tensor, t: float) -> Tensor:
        """Return the diagonal of ``P = D(ν, t)/η(t)``, shape () or (d,)."""
        return self.scale(nu, _time(t, nu)) / self.lr(t)

    def preconditioner_rate(self, nu: Tensor, nu_rate: Tensor, t: float) -> Tensor:
        """Return ``dP/dt = ∂P/∂ν·ν' + ∂P/∂t``, the total derivative along a path."""
        rate = self.scale_change(nu, nu_rate, t, 1.0) / self.lr(t)
        if self._schedule is None:
            return rate
        h = _SCHEDULE_STEP
        lr_rate = (self.lr(t + h) - self.lr(t - h)) / (2 * h)
        return rate - self.preconditioner(nu, t) * (lr_rate / self.lr(t))

    def preconditioner_change(self, nu: Tensor, change: Tensor, t: float) -> Tensor:
        """Return ``∂P/∂ν·x``, the change of P with a change x of ν."""
        return self.scale_change(nu, change, t, 0.0) / self.lr(t)

    def scale_change(self, nu: Tensor, change: Tensor, t: float, dt: float) -> Tensor:
        """Return ``∂D/∂ν·x + ∂D/∂t·dt``, the change of D with changes x of ν and dt of time."""
        now = _time(t, nu)
        return _derivative(self.scale, (nu, now), (change, torch.full_like(now, dt)))[1]

    def reaction(self, nu: Tensor, gradient: Tensor, t: float, a: Tensor, b: Tensor) -> Tensor:
        """Return ``½∇²_g f[a, b]``, shaped as ν: what an oscillation adds to the rate of ν."""

        def slope(g: Tensor) -> Tensor:
            return _derivative(lambda x: self.rate(nu, x, t), (g,), (a,))[1]

        return _derivative(slope, (gradient,), (b,))[1] / 2

    def rate_change(self, nu: Tensor, gradient: Tensor, t: float, change: Tensor) -> Tensor:
        """Return ``∂f/∂g·x``, the change of the rate with a change x of the gradient."""
        return _derivative(lambda g: self.rate(nu, g, t), (gradient,), (change,))[1]

    def relaxation(self, nu: Tensor, gradient: Tensor, t: float) -> float:
        """Return the rate at which the state relaxes, the size of ``−∂f/∂ν`` (0 if it grows)."""
        if not nu.numel():
            return 0.0
        probe = nu.abs() + nu.abs().mean()
        change = _derivative(lambda n: self.rate(n, gradient, t), (nu,), (probe,))[1]
        return max(0.0, -float((change * probe).sum() / (probe * probe).sum()))

    def describe(self) -> dict[str, float | str]:
        """Return the name and the hyperparameters, for provenance."""
        lr = self._lr if self._schedule is None else f"schedule, {self.lr(1.0):g} at first"
        return {"method": self.name, "lr": lr}

    def __repr__(self) -> str:
        values = {k: v for k, v in self.describe().items() if k != "method"}
        inner = ", ".join(f"{k}={v}" for k, v in values.items())
        return f"{type(self).__name__}({inner})"


class GD(Method):
    """Gradient descent, ``w ← w − η∇L(w)``: ``P = I/η``, no state.

    Parameters
    ----------
    lr : float or callable t -> float
        Learning rate η > 0, or a schedule.

    Examples
    --------
    >>> import flows, torch
    >>> method = flows.GD(0.1)
    >>> nu = method.initial_state(torch.zeros(3, dtype=torch.float64))
    >>> method.preconditioner(nu, 1.0).item()
    10.0
    """

    name = "gd"

    def initial_state(self, w: Tensor) -> Tensor:
        """Return the empty state."""
        return w.new_zeros(0)

    def update(self, nu: Tensor, gradient: Tensor, t: float) -> Tensor:
        """Return the empty state."""
        return nu

    def rate(self, nu: Tensor, gradient: Tensor, t: float) -> Tensor:
        """Return the empty rate."""
        return nu

    def scale(self, nu: Tensor, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def scale_change(self, nu: Tensor, change: Tensor, t: float, dt: float) -> Tensor:
        """Return 0."""
        return nu.new_zeros(())


class _Averaged(Method):
    """A method scaled by the root of an exponential moving average ν of squared gradients.

    ``ν_t = β₂ν_{t−1} + (1−β₂) s(g_t)``; the flow's rate is ``f = c (s(g) − ν)`` with
    ``c = (1−β₂)/β₂``, which makes the continuous average match the discrete one for linear
    targets (Lemma 4).
    """

    reaction_needs_gradient = False

    def __init__(
        self,
        lr: float | Schedule,
        beta2: float,
        eps: float = 0.0,
        bias_correction: bool = False,
    ) -> None:
        super().__init__(lr)
        if not (isinstance(beta2, int | float) and 0 < beta2 < 1):
            raise InvalidArgumentError(f"beta2 must lie strictly between 0 and 1, found {beta2!r}")
        if not (isinstance(eps, int | float) and math.isfinite(eps) and eps >= 0):
            raise InvalidArgumentError(f"eps must be a finite number ≥ 0, found {eps!r}")
        self.beta2 = float(beta2)
        self.eps = float(eps)
        self.bias_correction = bool(bias_correction)

    @abstractmethod
    def square(self, gradient: Tensor) -> Tensor:
        """Return ``s(g)``, shaped as ν."""

    def update(self, nu: Tensor, gradient: Tensor, t: float) -> Tensor:
        """Return ``β₂ν + (1−β₂)s(g)``."""
        return self.beta2 * nu + (1 - self.beta2) * self.square(gradient)

    def rate(self, nu: Tensor, gradient: Tensor, t: float) -> Tensor:
        """Return ``c (s(g) − ν)``, ``c = (1−β₂)/β₂``."""
        return (1 - self.beta2) / self.beta2 * (self.square(gradient) - nu)

    def relaxation(self, nu: Tensor, gradient: Tensor, t: float) -> float:
        """Return ``c``."""
        return (1 - self.beta2) / self.beta2

    def scale(self, nu: Tensor, t: Tensor) -> Tensor:
        """Return ``√(ν/(1−β₂ᵗ)) + ε`` (without bias correction, ``√ν + ε``)."""
        if self.bias_correction:
            nu = nu / (1 - self.beta2**t)
        return nu.sqrt() + self.eps

    def scale_change(self, nu: Tensor, change: Tensor, t: float, dt: float) -> Tensor:
        """Return ``∂D/∂ν·x + ∂D/∂t·dt``, 0 where ν = 0: a dead weight stays dead."""
        grown = self.beta2**t if self.bias_correction else 0.0
        relative = change / nu + dt * grown * math.log(self.beta2) / (1 - grown)
        root = (nu / (1 - grown)).sqrt()
        return torch.where(nu > 0, 0.5 * root * relative, 0.0)

    def describe(self) -> dict[str, float | str]:
        """Return the name and the hyperparameters."""
        return {
            **super().describe(),
            "beta2": self.beta2,
            "eps": self.eps,
            "bias_correction": int(self.bias_correction),
        }


class RMSPropNorm(_Averaged):
    """RMSProp with one scale for all weights: ``P = (√ν + ε)/η · I``, ν averages ``‖g‖²``.

    Parameters
    ----------
    lr : float or callable t -> float
        Learning rate η > 0, or a schedule.
    beta2 : float
        Decay of the average, in (0, 1).
    eps : float
        Added to the root, ≥ 0.
    bias_correction : bool
        Whether ν is divided by ``1 − β₂ᵗ``.

    References
    ----------
    Cohen, Damian et al. (2024), Section 4 and Appendix C.4.

    Examples
    --------
    >>> import flows, torch
    >>> method = flows.RMSPropNorm(0.1, beta2=0.9)
    >>> nu = method.update(torch.zeros(()), torch.tensor([3.0, 4.0]), t=1)
    >>> round(nu.item(), 6), round(method.preconditioner(nu, 1).item() ** 2, 4)
    (2.5, 250.0)
    """

    name = "rmsprop-norm"

    def initial_state(self, w: Tensor) -> Tensor:
        """Return 0."""
        return w.new_zeros(())

    def square(self, gradient: Tensor) -> Tensor:
        """Return ``‖g‖²``."""
        return gradient.square().sum()

    def reaction(self, nu: Tensor, gradient: Tensor, t: float, a: Tensor, b: Tensor) -> Tensor:
        """Return ``c ⟨a, b⟩``."""
        return (1 - self.beta2) / self.beta2 * (a * b).sum()


class RMSProp(_Averaged):
    """RMSProp: ``P = diag(√ν + ε)/η``, ν averages ``g²`` entry by entry.

    Parameters
    ----------
    lr : float or callable t -> float
        Learning rate η > 0, or a schedule.
    beta2 : float
        Decay of the average, in (0, 1).
    eps : float
        Added to the root, ≥ 0.
    bias_correction : bool
        Whether ν is divided by ``1 − β₂ᵗ``.

    References
    ----------
    Cohen, Damian et al. (2024), Section 5 and Appendix C.5.

    Examples
    --------
    >>> import flows, torch
    >>> method = flows.RMSProp(0.1, beta2=0.75)
    >>> nu = method.update(torch.zeros(2), torch.tensor([2.0, 4.0]), t=1)
    >>> nu.tolist(), method.preconditioner(nu, 1).tolist()
    ([1.0, 4.0], [10.0, 20.0])
    """

    name = "rmsprop"

    def initial_state(self, w: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(w)

    def square(self, gradient: Tensor) -> Tensor:
        """Return ``g²``."""
        return gradient.square()

    def reaction(self, nu: Tensor, gradient: Tensor, t: float, a: Tensor, b: Tensor) -> Tensor:
        """Return ``c a ⊙ b``."""
        return (1 - self.beta2) / self.beta2 * (a * b)


class Preconditioned(Method):
    """Any preconditioned method, given as functions; all derivatives by autodiff.

    Parameters
    ----------
    lr : float or callable t -> float
        Learning rate η > 0, or a schedule.
    initial_state : callable w -> ν
        State before the first gradient.
    update : callable (ν, g, t) -> ν
        Discrete update of the state with the gradient of step t.
    rate : callable (ν, g, t) -> ν'
        Its continuous counterpart.
    scale : callable (ν, t) -> D
        ``P = D/η``, shape () or (d,), > 0; t is a 0-dimensional tensor.
    name : str
        What results call the method.

    References
    ----------
    Cohen, Damian et al. (2024), Appendix C.7.

    Examples
    --------
    Descent on the sign of a smoothed gradient's size, that is RMSProp with a floor:

    >>> import flows, torch
    >>> method = flows.Preconditioned(
    ...     0.01,
    ...     initial_state=torch.ones_like,
    ...     update=lambda nu, g, t: 0.9 * nu + 0.1 * g**2,
    ...     rate=lambda nu, g, t: (g**2 - nu) / 9,
    ...     scale=lambda nu, t: (nu + 1e-4).sqrt(),
    ... )
    >>> method.preconditioner(torch.ones(2), 1.0).shape
    torch.Size([2])
    """

    def __init__(
        self,
        lr: float | Schedule,
        *,
        initial_state: Callable[[Tensor], Tensor],
        update: Callable[[Tensor, Tensor, float], Tensor],
        rate: Callable[[Tensor, Tensor, float], Tensor],
        scale: Callable[[Tensor, Tensor], Tensor],
        name: str = "preconditioned",
    ) -> None:
        super().__init__(lr)
        self.name = name
        self._initial_state, self._update = initial_state, update
        self._rate, self._scale = rate, scale

    def initial_state(self, w: Tensor) -> Tensor:
        """Return the state before the first gradient."""
        return self._initial_state(w)

    def update(self, nu: Tensor, gradient: Tensor, t: float) -> Tensor:
        """Return the state after the gradient of step ``t``."""
        return self._update(nu, gradient, t)

    def rate(self, nu: Tensor, gradient: Tensor, t: float) -> Tensor:
        """Return the rate of the state."""
        return self._rate(nu, gradient, t)

    def scale(self, nu: Tensor, t: Tensor) -> Tensor:
        """Return ``D(ν, t)``."""
        return self._scale(nu, t)


def _derivative(
    function: Callable[..., Tensor], point: tuple[Tensor, ...], along: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Return the value of a function and its derivative along a direction, by double backward."""
    value, derivative = torch.autograd.functional.jvp(
        function, point, along, create_graph=any(x.requires_grad for x in point)
    )
    return value, derivative


def _time(t: float, like: Tensor) -> Tensor:
    return torch.tensor(float(t), dtype=like.dtype, device=like.device)


def _checked_rate(lr: object) -> float:
    if isinstance(lr, int | float) and math.isfinite(lr) and lr > 0:
        return float(lr)
    raise InvalidArgumentError(f"lr must be a positive finite number, found {lr!r}")
