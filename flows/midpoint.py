"""The second-order midpoints of the optimizer: its path with the oscillation taken out.

``w*_t = ¼(w_{t−1} + 2w_t + w_{t+1})``. A component that flips its sign at every step (effective
eigenvalue 2) vanishes from the mean of three iterates with these weights, and what is left of it
is of second order in the change of its amplitude; a smooth path moves by ``¼w″`` only.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from flows.discrete import Discrete
from flows.methods import Method
from flows.objective import Objective
from flows.process import Observation, Process, Start, State


class Midpoint(Process):
    """Runs the optimizer, and is where the midpoints of its midpoints are.

    At the first step, which has none before it, it is at ``w_0``. The effective eigenvalues are
    those of ``P(ν_t, t)⁻¹H(w*_t)``.

    References
    ----------
    Cohen, Damian et al. (2024), Appendix B.
    """

    name = "midpoint"

    def __init__(self, objective: Objective, method: Method, start: Start) -> None:
        super().__init__(objective, method, start)
        self._now = self.state
        self._ahead = Discrete(objective, method, start)
        self._ahead.advance()

    @property
    def nu(self) -> Tensor:
        """The state after the gradient at the iterate ``w_t``."""
        return self._ahead.state.nu

    @property
    def iterate(self) -> Tensor:
        """The optimizer's iterate ``w_t``."""
        return self._now.w

    def observe(self, *, spectrum: bool) -> Observation:
        """Measure loss, gradient norm and, if wanted, the effective eigenvalues."""
        loss, gradient = self.loss_and_gradient(self.w)
        observation = Observation(loss, float(gradient.norm()), gradient=gradient)
        if not spectrum:
            return observation
        p = self.preconditioner(self.nu, self.first_update + self.t)
        return replace(observation, eigenvalues=self.measure_spectrum(self.w, p).values)

    def advance(self) -> None:
        """Take one optimizer step."""
        before, self._now = self._now.w, self._ahead.state
        self._ahead.advance()
        midpoint = (before + 2 * self._now.w + self._ahead.w) / 4
        self.state = State(midpoint, self._now.nu)
        self.t += 1
