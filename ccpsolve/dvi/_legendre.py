"""One second-order Runge–Kutta–Legendre step.

Explicit, with as many stages as the stiffness asks for: s stages are stable for
``hρ ≤ (s² + s − 2)/2``, with all eigenvalues near [−ρ, 0]. What decays fast is multiplied by ½ to
0.7 in a step; by up to 0.95 with Chebyshev polynomials, which take a tenth fewer stages.

References
----------
Meyer, Balsara and Aslam, J. Comput. Phys. 257 (2014), doi:10.1016/j.jcp.2013.08.021.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from ccpsolve.dvi._fast import FastCourse
from ccpsolve.dvi._smooth import FastDirections, Vector


class _Stage(NamedTuple):
    """``Y_j = (1−μ−ν)Y_0 + μY_{j−1} + νY_{j−2} + h(μ̃F_{j−1} + γ̃F_0)``, at time c of the step."""

    mu: float
    nu: float
    mu_rate: float
    gamma_rate: float
    time: float


def stages_for(h: float, stiffness: float) -> int:
    """Return the number of stages, at least 2, for a step h of a problem with that stiffness."""
    return max(2, math.ceil(math.sqrt(2.25 + 2 * h * stiffness) - 0.5))


@lru_cache(maxsize=256)
def _coefficients(s: int) -> tuple[_Stage, ...]:
    w1 = 4 / (s**2 + s - 2)
    b = [1 / 3, 1 / 3] + [(j**2 + j - 2) / (2 * j * (j + 1)) for j in range(2, s + 1)]
    stages = [_Stage(0.0, 0.0, b[1] * w1, 0.0, b[1] * w1)]
    for j in range(2, s + 1):
        mu = (2 * j - 1) / j * b[j] / b[j - 1]
        nu = -(j - 1) / j * b[j] / b[j - 2]
        time = w1 * (j**2 + j - 2) / 4
        stages.append(_Stage(mu, nu, mu * w1, (b[j - 1] - 1) * mu * w1, time))
    return tuple(stages)


def legendre_step(
    rate: Callable[[float, Vector], Vector],
    t: float,
    z: Vector,
    h: float,
    rate0: Vector,
    stages: int,
    fast: FastDirections | None = None,
) -> Vector:
    """Return the state after a step h of ``z' = rate(t, z)``; ``rate0`` is the rate at (t, z).

    Costs ``stages − 1`` evaluations of the rate. Along directions known to be fast, all stages are
    put where an exact solution takes them: the step is stable for any rate there.
    """
    first, *rest = _coefficients(stages)
    before, now, time = z, z + rate0 * (h * first.mu_rate), first.time
    course = None if fast is None else FastCourse(fast, z, rate0)
    now = now if course is None else course.put(h * time, now)
    for stage in rest:
        slope = rate(t + time * h, now)
        if course is not None:
            course.learn(h * time, now, slope)
        before, now = (
            now,
            z * (1 - stage.mu - stage.nu)
            + now * stage.mu
            + before * stage.nu
            + slope * (h * stage.mu_rate)
            + rate0 * (h * stage.gamma_rate),
        )
        time = stage.time
        now = now if course is None else course.put(h * time, now)
    return now


def embedded_error(z0: Vector, z1: Vector, rate0: Vector, rate1: Vector, h: float) -> Vector:
    """Return ``0.8(z₀ − z₁) + 0.4h(f₀ + f₁)``.

    Where the numerical z₁ is the exact one less ``γh³z‴``, that is ``(1/15 + 0.8γ)h³z‴``.
    """
    return (z0 - z1) * 0.8 + (rate0 + rate1) * (0.4 * h)


def lost_by(stages: int) -> float:
    """Return ``γ/(1/15 + 0.8γ)``: how much of the embedded error a smooth step is short of.

    From the coefficient of z³ in the stability polynomial,
    ``γ = 1/6 − (s² + s − 6)/(9(s² + s − 2))``: 1/12 with four stages, 1/18 with many.
    """
    product = stages**2 + stages
    gamma = 1 / 6 - (product - 6) / (9 * (product - 2))
    return gamma / (1 / 15 + 0.8 * gamma)
