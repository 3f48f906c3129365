"""The optimizer itself."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from flows.methods import Method
from flows.objective import Objective
from flows.process import Observation, Process, Start, State, harmonic_step_size


class Discrete(Process):
    """The iterates ``w ← w − P(ν, t)⁻¹∇L(w)``."""

    name = "discrete"
    _next: State | None = None

    def __init__(self, objective: Objective, method: Method, start: Start) -> None:
        super().__init__(objective, method, start)
        self._holds_gradient = start.holds_gradient

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure loss, gradient norm and, if wanted, the effective eigenvalues."""
        loss, gradient = self.loss_and_gradient(self.w)
        p = self._prepare(gradient)
        norm, step_size = float(gradient.norm()), harmonic_step_size(p)
        observation = Observation(loss, norm, gradient=gradient, step_size=step_size)
        if not spectrum:
            return observation
        return replace(observation, eigenvalues=self.measure_spectrum(self.w, p).values)

    @property
    def nu(self) -> Tensor:
        """The state after the gradient at ``w``, once observed."""
        return self.state.nu if self._next is None else self._next.nu

    def advance(self) -> None:
        """Take one optimizer step."""
        if self._next is None:
            self._prepare(self.loss_and_gradient(self.w)[1])
        assert self._next is not None
        self.state, self._next = self._next, None
        self.t += 1

    def _prepare(self, gradient: Tensor) -> Tensor:
        """Find the next state, and return the preconditioner that leads to it."""
        update = self.first_update + self.t
        nu = self.state.nu
        if self.t or not self._holds_gradient:
            nu = self.method.update(nu, gradient, update)
        p = self.preconditioner(nu, update)
        self._next = State(self.w - gradient / p, nu)
        return p
