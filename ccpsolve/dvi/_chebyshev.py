"""One second-order Runge–Kutta–Chebyshev step.

Explicit, with as many stages as the stiffness asks for: s stages are stable for
``hρ ≤ ⅔(s²−1)(1 − 2ε/15)``, with all eigenvalues near [−ρ, 0].

References
----------
Sommeijer, Shampine and Verwer, J. Comput. Appl. Math. 88 (1998),
doi:10.1016/S0377-0427(97)00219-7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from ccpsolve.dvi._smooth import Vector

_DAMPING = 2 / 13


class _Stage(NamedTuple):
    """``Y_j = (1−μ−ν)Y_0 + μY_{j−1} + νY_{j−2} + h(μ̃F_{j−1} + γ̃F_0)``, at time c of the step."""

    mu: float
    nu: float
    mu_rate: float
    gamma_rate: float
    time: float


def stages_for(h: float, stiffness: float) -> int:
    """Return the number of stages, at least 2, for a step h of a problem with that stiffness."""
    return max(2, math.ceil(math.sqrt(1 + 1.5 * h * stiffness / (1 - 2 * _DAMPING / 15))))


@lru_cache(maxsize=256)
def _coefficients(s: int) -> tuple[_Stage, ...]:
    w0 = 1 + _DAMPING / s**2
    T, dT, ddT = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for j in range(2, s + 1):
        T.append(2 * w0 * T[j - 1] - T[j - 2])
        dT.append(2 * T[j - 1] + 2 * w0 * dT[j - 1] - dT[j - 2])
        ddT.append(4 * dT[j - 1] + 2 * w0 * ddT[j - 1] - ddT[j - 2])
    w1 = dT[s] / ddT[s]
    b = [0.0, 0.0] + [ddT[j] / dT[j] ** 2 for j in range(2, s + 1)]
    b[0] = b[1] = b[2]
    time = [0.0, 0.0] + [w1 * ddT[j] / dT[j] for j in range(2, s + 1)]
    time[1] = time[2] / dT[2]
    stages = [_Stage(0.0, 0.0, b[1] * w1, 0.0, time[1])]
    for j in range(2, s + 1):
        mu_rate = 2 * b[j] * w1 / b[j - 1]
        decay = 1 - b[j - 1] * T[j - 1]
        stages.append(
            _Stage(2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], mu_rate, -decay * mu_rate, time[j])
        )
    return tuple(stages)


def chebyshev_step(
    rate: Callable[[float, Vector], Vector],
    t: float,
    z: Vector,
    h: float,
    rate0: Vector,
    stages: int,
) -> Vector:
    """Return the state after a step h of ``z' = rate(t, z)``; ``rate0`` is the rate at (t, z).

    Costs ``stages − 1`` evaluations of the rate.
    """
    first, *rest = _coefficients(stages)
    before, now, time = z, z + rate0 * (h * first.mu_rate), first.time
    for stage in rest:
        slope = rate(t + time * h, now)
        before, now = (
            now,
            z * (1 - stage.mu - stage.nu)
            + now * stage.mu
            + before * stage.nu
            + slope * (h * stage.mu_rate)
            + rate0 * (h * stage.gamma_rate),
        )
        time = stage.time
    return now


def chebyshev_error(z0: Vector, z1: Vector, rate0: Vector, rate1: Vector, h: float) -> Vector:
    """Return the estimate ``0.8(z₀ − z₁) + 0.4h(f₀ + f₁)`` of the local error, O(h³)."""
    return (z0 - z1) * 0.8 + (rate0 + rate1) * (0.4 * h)
