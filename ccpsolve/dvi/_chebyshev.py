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

import os
import numpy as np
_INDEX=float(os.environ.get('LAM','0.5'))


class _Stage(NamedTuple):
    """``Y_j = (1−μ−ν)Y_0 + μY_{j−1} + νY_{j−2} + h(μ̃F_{j−1} + γ̃F_0)``, at time c of the step."""

    mu: float
    nu: float
    mu_rate: float
    gamma_rate: float
    time: float


def stages_for(h: float, stiffness: float) -> int:
    """Return the number of stages, at least 2, for a step h of a problem with that stiffness."""
    # (s − 1)(s + 2λ + 1) ≥ (λ + 3/2) hρ
    half = _INDEX
    return max(2, math.ceil(math.sqrt((1+half)**2 + (half + 1.5) * h * stiffness) - half))


@lru_cache(maxsize=256)
def _coefficients(s: int) -> tuple[_Stage, ...]:
    # P_j and its first two derivatives at 1.
    j = np.arange(s + 1)
    first = j * (j + 2 * _INDEX) / (2 * _INDEX + 1)
    second = first * (j - 1) * (j + 2 * _INDEX + 1) / (2 * _INDEX + 3)
    w1 = first[s] / second[s]
    b = np.empty(s + 1)
    b[2:] = second[2:] / first[2:] ** 2
    b[:2] = b[2]
    time = np.zeros(s + 1)
    time[2:] = w1 * second[2:] / first[2:]
    time[1] = b[1] * w1
    stages = [_Stage(0.0, 0.0, time[1], 0.0, time[1])]
    for j in range(2, s + 1):
        scale = 2 * (j + _INDEX - 1) / (j + 2 * _INDEX - 1)
        mu = scale * b[j] / b[j - 1]
        nu = -(j - 1) / (j + 2 * _INDEX - 1) * b[j] / b[j - 2]
        stages.append(_Stage(mu, nu, mu * w1, (b[j - 1] - 1) * mu * w1, time[j]))
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
