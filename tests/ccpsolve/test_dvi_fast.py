"""Steps with directions that are known to decay fast."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special

from ccpsolve.dvi._fast import phi_functions
from ccpsolve.dvi._legendre import legendre_step

RATE = 200.0
AXIS = np.array([0.6, -0.8, 0.0])


class Along:
    """The direction ``AXIS``, with a rate that may be off."""

    def __init__(self, rate):
        self.rates = np.array([rate])

    def coordinates(self, change):
        return np.array([AXIS @ change])

    def lift(self, coordinates):
        return AXIS * coordinates[0]


def motion(t, z):
    """A pendulum that turns, drawn at the rate 200 to a floor that moves with it."""
    x, y, u = 0.8 * z[0] + 0.6 * z[1], z[2], AXIS @ z
    across = np.array([0.8, 0.6, 0.0]) * y + np.array([0.0, 0.0, 1.0]) * (-np.sin(x) - 0.2 * u)
    return across - RATE * (u - 0.3 * np.cos(x + t)) * AXIS


def followed(h, stages, fast):
    z, t = np.array([1.0, 0.5, 0.0]), 0.0
    for _ in range(round(2 / h)):
        z = legendre_step(motion, t, z, h, motion(t, z), stages, fast)
        t += h
    return z


@pytest.fixture(scope="module")
def exact():
    start = np.array([1.0, 0.5, 0.0])
    return scipy.integrate.solve_ivp(
        motion, (0, 2), start, method="Radau", rtol=1e-11, atol=1e-12
    ).y[:, -1]


@pytest.mark.parametrize("rate", [RATE, 0.97 * RATE])
def test_second_order_with_two_stages_however_fast(exact, rate):
    """Explicit steps of the first length here would need 14 stages."""
    errors = [np.linalg.norm(followed(h, 2, Along(rate)) - exact) for h in (0.1, 0.05, 0.025)]
    assert errors[0] < 2e-2
    assert np.log2(errors[0] / errors[1]) > 1.7
    assert np.log2(errors[1] / errors[2]) > 1.7


def test_without_it_two_stages_are_unstable():
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.linalg.norm(followed(0.1, 2, None)) < 1e3


def test_a_decay_with_a_drive_linear_in_time_is_exact():
    def rate(t, z):
        return (1 + 3 * t - RATE * (AXIS @ z)) * AXIS

    for stages in (2, 3, 7):
        z = legendre_step(rate, 0.0, AXIS.copy(), 0.5, rate(0.0, AXIS), stages, Along(RATE))
        rest = (1 + 1.5) / RATE - 3 / RATE**2  # what is left after exp(−100)
        np.testing.assert_allclose(z, rest * AXIS, rtol=1e-11, atol=1e-15)


def test_phi_functions_are_accurate_near_zero():
    x = np.array([0.0, 1e-12, 9e-5, 1.1e-4, 1e-2, 3.0, 700.0])
    exact = np.array([[float(f) for f in _phi(v)] for v in x]).T
    np.testing.assert_allclose(phi_functions(x), exact, rtol=1e-11)


def _phi(x):
    """By their series, or directly where it is safe."""
    if x > 0.5:
        first = -np.expm1(-x) / x
        return first, (1 - first) / x
    terms, first, second = 1.0, 0.0, 0.0
    for n in range(1, 20):
        terms = (-x) ** (n - 1)
        first += terms / float(scipy.special.factorial(n))
        second += terms / float(scipy.special.factorial(n + 1))
    return first, second
