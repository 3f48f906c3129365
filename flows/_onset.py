"""The onset of the oscillation: the optimizer, until what a central flow describes is there.

A central flow takes the oscillation to be as strong as it has to be at any time. In the optimizer
it must grow first, from rounding or from what is left of the start, while the effective sharpness
goes on rising. This overshoot moves the weights for good, and no central flow that begins before it
ends up where the optimizer does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from flows.midpoint import Midpoint
from flows.process import State
from flows.spectrum import Spectrum

# Most steps between two looks at the spectrum.
_LONGEST = 16
# The next look is after this fraction of the time in which the edge would be reached or left.
_AHEAD = 0.5
# An oscillation is told from rounding where it is this many times larger.
_VISIBLE = 100.0


class Onset:
    """Follows the midpoints of an optimizer until its oscillation has set in.

    Where the effective sharpness θ is above the threshold, an oscillation along that direction
    grows until it brings θ down. It has set in where θ has come back below the threshold and the
    oscillation along the top direction is stronger than when θ went above, or, as θ may stay above
    for long along with a strong oscillation, where this becomes weaker all the same. Training
    begins with steps of its own kind: there θ must first have been below.

    Parameters
    ----------
    optimizer : Midpoint
    look : callable (w, p) -> Spectrum
        The top of the spectrum of ``P⁻¹H``.

    Attributes
    ----------
    over : bool
        Whether the oscillation has set in.

    References
    ----------
    Damian, Nichani and Lee, "Self-stabilization", ICLR (2023), arXiv:2209.15594: how an oscillation
    grows beyond the edge and brings the sharpness down.
    """

    def __init__(self, optimizer: Midpoint, look: Callable[[Tensor, Tensor], Spectrum]) -> None:
        self._optimizer, self._look = optimizer, look
        self._threshold = optimizer.method.threshold
        self.over = False
        self._spectrum: Spectrum | None = None
        self._looked, self._next = 0, 0
        self._waiting = optimizer.first_update == 1  # until θ is below the threshold
        self._at_entry: float | None = None
        self._displacements: deque[Tensor] = deque(maxlen=4)

    @property
    def state(self) -> State:
        """The midpoint, and the optimizer's state with the gradient there."""
        return State(self._optimizer.w, self._optimizer.nu)

    def advance(self) -> None:
        """Take one step of the optimizer, and see whether its oscillation has set in."""
        optimizer = self._optimizer
        optimizer.advance()
        self._displacements.append(optimizer.iterate - optimizer.w)
        if optimizer.t >= self._next:
            self._judge()
        if self._at_entry is not None and self._weakens():
            self._judge()
            self.over = self.over or self._weakens()

    def measure(self) -> Spectrum:
        """Return the top of the spectrum at the midpoint."""
        optimizer = self._optimizer
        p = optimizer.preconditioner(optimizer.nu, optimizer.first_update + optimizer.t)
        return self._look(optimizer.w, p)

    def _judge(self) -> None:
        """Look at the spectrum, see where the oscillation is, and say when to look again."""
        optimizer, before = self._optimizer, self._spectrum
        self._spectrum = self.measure()
        theta = float(self._spectrum.values[0])
        size = float(self._along(1)[-1].abs())
        if theta <= self._threshold:
            self.over = self.over or (self._at_entry is not None and size > self._at_entry)
            self._waiting, self._at_entry = False, None
        elif self._at_entry is None and not self._waiting:
            self._at_entry = size
        elapsed, rise = optimizer.t - self._looked, 0.0
        if before is not None:
            rise = theta - float(before.values[0])
        away = self._threshold - theta
        steps = _AHEAD * elapsed * away / rise if rise * away > 0 else _LONGEST
        self._looked, self._next = optimizer.t, optimizer.t + int(min(max(steps, 1), _LONGEST))

    def _weakens(self) -> bool:
        """Whether the oscillation along the directions above the threshold has become weaker twice.

        Of what flips its sign at every step alone: a smooth path has displacements as well, and
        hides an oscillation that has just begun.
        """
        assert self._spectrum is not None
        if len(self._displacements) < 4:
            return False
        flips = torch.diff(self._along(self._spectrum.above(self._threshold)), dim=0)
        first, second, third = flips
        size = float((self._spectrum.root * self._optimizer.w).norm())
        noise = torch.finfo(flips.dtype).eps * size
        return (
            float(first @ second) < 0
            and float(second @ third) < 0
            and float(first.norm()) > float(second.norm()) > float(third.norm()) > _VISIBLE * noise
        )

    def _along(self, k: int) -> Tensor:
        """Return the last displacements along the first k directions, a row for each."""
        assert self._spectrum is not None
        return torch.stack(tuple(self._displacements)) @ self._spectrum.dual_frame(k)
