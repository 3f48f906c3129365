"""The adaptive integrator on DVIs with closed-form solutions."""

import numpy as np
import pytest

import ccpsolve
from ccpsolve import dvi
from ccpsolve.dvi.examples import EXAMPLES, disc, wall


def follow(example, **options):
    return dvi.integrate(
        example.problem, example.z0, example.interval, method="adaptive", **options
    )


def worst_error(example, path):
    return max(
        np.linalg.norm(z - example.exact(t)) for t, z in zip(path.t, path.states, strict=True)
    )


def length(path):
    return sum(
        np.linalg.norm(b - a) for a, b in zip(path.states[:-1], path.states[1:], strict=True)
    )


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@pytest.mark.parametrize("rtol", [1e-2, 1e-3, 1e-4, 1e-5])
def test_the_tolerance_is_honoured_within_a_factor_3(name, rtol):
    example = EXAMPLES[name]()
    path = follow(example, rtol=rtol, atol=0.0)
    assert worst_error(example, path) < 3 * rtol * length(path)
    assert [event.after for event in path.events] == [rank for _, rank in example.events]


def test_dense_output():
    example = disc()
    path = follow(example, rtol=1e-3)
    for t in np.linspace(*example.interval, 37):
        assert np.linalg.norm(path(t) - example.exact(t)) < 3e-3
    with pytest.raises(ccpsolve.InvalidProblemError, match="t must lie"):
        path(5.0)


def test_held_states_stay_on_the_constraint():
    example = disc()
    path = follow(example, rtol=1e-3)
    radii = [np.linalg.norm(z) for t, z in zip(path.t, path.states, strict=True) if t > 1.2]
    np.testing.assert_allclose(radii, 1.0, atol=1e-4)
    assert all(s.status is ccpsolve.Status.SOLVED for s in path.solutions if s is not None)


def test_infeasible_start_is_moved_to_the_constraint():
    path = dvi.integrate(disc().problem, np.array([0.0, 1.2]), (0.0, 0.5), method="adaptive")
    assert np.linalg.norm(path.states[0]) == pytest.approx(1.0, abs=1e-6)


def test_statistics_tell_what_was_spent():
    path = follow(wall(), rtol=1e-2)
    statistics = path.statistics
    assert statistics.steps == len(path.steps) == len(path.t) - 1
    assert statistics.drifts > statistics.steps
    assert statistics.contacts >= statistics.steps
    assert statistics.solves > 0


@pytest.mark.parametrize(
    "options", [{"rtol": 0.0, "atol": 0.0}, {"rtol": -1.0}, {"rtol": np.nan}, {"event_tol": 0.0}]
)
def test_bad_tolerances(options):
    with pytest.raises(ccpsolve.InvalidProblemError, match="tol"):
        follow(wall(), **options)


def test_a_drift_that_is_not_finite_is_an_error():
    problem = dvi.ArrayProblem(
        f=lambda t, z: np.array([1.0 if t < 0.5 else np.nan]),
        A=lambda t, z: np.array([[2.0 - z[0]]]),
        B=lambda t, z, X: -X[0],
        dA=lambda t, z, v: np.array([[-v[0]]]),
    )
    with pytest.raises(dvi.IntegrationError, match=r"no step from t = 0\.[45]"):
        dvi.integrate(problem, np.zeros(1), (0.0, 1.0), method="adaptive")
