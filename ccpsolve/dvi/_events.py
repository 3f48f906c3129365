"""Where a function of the length of a step changes its sign."""

from __future__ import annotations

import math

import numpy as np

Sample = tuple[float, float]


class SignChange:
    """A bracket around a sign change, narrowed by parabolas through the last three samples.

    Parameters
    ----------
    low, high : (float, float)
        Arguments and values at both sides.
    before : (float, float), optional
        A sample further to the left.
    """

    def __init__(self, low: Sample, high: Sample, before: Sample | None = None) -> None:
        self.low, self.high, self._third = low, high, before
        self._widths = [math.inf, math.inf]

    @property
    def width(self) -> float:
        """Length of the bracket."""
        return self.high[0] - self.low[0]

    def proposal(self) -> float:
        """Return where to look next, well inside the bracket."""
        (a, f), (b, g) = self.low, self.high
        inside = 0.02 * (b - a)
        if self.width > 0.5 * self._widths[0] or not math.isfinite(f + g) or f * g >= 0:
            return 0.5 * (a + b)
        root = a + (b - a) * f / (f - g)
        if self._third is not None and math.isfinite(self._third[1]):
            samples = np.array([self.low, self.high, self._third])
            roots = np.roots(np.polyfit(samples[:, 0] - a, samples[:, 1], 2))
            within = [float(x.real) + a for x in roots if abs(x.imag) == 0 and 0 < x.real < b - a]
            root = within[0] if len(within) == 1 else root
        return min(max(root, a + inside), b - inside)

    def narrow(self, at: float, value: float, beyond: bool) -> None:
        """Take in a sample, beyond the sign change or before it."""
        self._widths = [self._widths[1], self.width]
        if beyond:
            self._third, self.high = self.high, (at, value)
        else:
            self._third, self.low = self.low, (at, value)
