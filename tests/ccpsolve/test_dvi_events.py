"""Sign changes within a step."""

import math

import numpy as np
import pytest

from ccpsolve.dvi._events import SignChange


def search(function, low, high, before=None, tolerance=1e-10, limit=60):
    """Return the end of the bracket and the number of samples it took."""
    before = None if before is None else (before, function(before))
    bracket = SignChange((low, function(low)), (high, function(high)), before)
    samples = 0
    while bracket.width > tolerance and samples < limit:
        at = bracket.proposal()
        assert bracket.low[0] < at < bracket.high[0]
        bracket.narrow(at, function(at), beyond=function(at) < 0)
        samples += 1
        if function(at) == 0:
            break
    return bracket, samples


def test_a_parabola_is_met_at_once():
    root = math.sqrt(2.0)
    bracket = SignChange((1.0, 1.0), (3.0, -7.0), (0.0, 2.0))  # 2 − x²
    assert bracket.proposal() == pytest.approx(root, abs=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: math.cos(x) - x,
        lambda x: 1e-3 - x**9,
        lambda x: math.exp(-5 * x) - 1e-2,
        lambda x: 1.0 if x < 0.3 else -1e-6,
    ],
)
def test_brackets_shrink_to_the_tolerance(function):
    bracket, samples = search(function, 0.0, 1.0, tolerance=1e-6)
    assert samples < 60
    assert bracket.width <= 1e-6 or function(bracket.proposal()) == pytest.approx(0, abs=1e-6)
    assert function(bracket.low[0]) >= 0 >= function(bracket.high[0])


def test_without_values_it_is_bisection():
    bracket = SignChange((0.0, np.inf), (1.0, -1.0))
    assert bracket.proposal() == 0.5
    assert SignChange((0.0, -1e-3), (1.0, -1.0)).proposal() == 0.5
