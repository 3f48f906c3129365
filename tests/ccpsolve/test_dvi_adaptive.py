"""The adaptive integrator on DVIs with closed-form solutions."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg

import ccpsolve
from ccpsolve import dvi
from ccpsolve.dvi._impulses import on_constraint
from ccpsolve.dvi._trial import _solve, attempt
from ccpsolve.dvi.examples import EXAMPLES, disc, spectrahedron, wall


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


@pytest.mark.parametrize(
    ("matrix", "duration"), [([[1.0]], 2.0), ([[0.0, -1.0], [1.0, 0.0]], 6.0), ([[-1.0]], 5.0)]
)
def test_the_tolerance_is_honoured_where_there_is_no_constraint(matrix, duration):
    M = np.array(matrix)
    problem = dvi.ArrayProblem(
        f=lambda t, z: M @ z,
        A=lambda t, z: np.eye(1),
        B=lambda t, z, X: 0.0 * z,
        dA=lambda t, z, v: np.zeros((1, 1)),
    )
    z0 = np.eye(len(M))[0]
    for rtol in (1e-2, 1e-4):
        path = dvi.integrate(problem, z0, (0.0, duration), method="adaptive", rtol=rtol, atol=0.0)
        errors = [
            np.linalg.norm(z - scipy.linalg.expm(t * M) @ z0)
            for t, z in zip(path.t, path.states, strict=True)
        ]
        assert max(errors) < 3 * rtol * length(path)


@pytest.mark.parametrize(
    ("name", "interval", "coarsest", "decades"),
    [
        ("wall", (0.0, 0.4), 3, 3),
        ("disc", (1.4, 1.8), 3, 3),
        ("spectrahedron", (1.0, 1.4), 3, 3),
        ("rotating", (2.0, 2.4), 3, 3),
        ("index_two", (1.0, 1.4), 16, 3),  # first steps, of third order, must not be all
    ],
)
def test_second_order_in_the_step(name, interval, coarsest, decades):
    example, errors = EXAMPLES[name](), []
    start, end = interval
    for decade in range(decades + 1):
        h = (end - start) / (coarsest * 10**decade)
        integrator = dvi.AdaptiveIntegrator(
            example.problem,
            start,
            example.exact(start),
            rtol=1e-12,
            first_step=h,
            min_step=h,
            max_step=h,
        )
        worst = 0.0
        while integrator.t < end - 0.5 * h:
            integrator.step(end)
            error = np.linalg.norm(integrator.z - example.exact(integrator.t))
            worst = max(worst, error)
        assert not integrator.events
        errors.append(worst)
    slopes = np.log10(errors[:-1]) - np.log10(errors[1:])
    np.testing.assert_allclose(slopes, 2.0, atol=0.2)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"index_two"}))
def test_events_are_located_to_a_millionth(name):
    example = EXAMPLES[name]()
    known = np.array([t for t, _ in example.events])
    end = min(known[-1] + 0.1, example.interval[1])
    path = dvi.integrate(
        example.problem, example.z0, (0.0, end), method="adaptive", rtol=3e-7, atol=0.0
    )
    np.testing.assert_allclose([event.t for event in path.events], known, rtol=0, atol=1e-6)


@pytest.mark.parametrize("margin", [np.inf, 0.1])
@pytest.mark.parametrize("rtol", [3e-2, 1e-3])
def test_five_directions_enter_one_after_the_other(margin, rtol):
    targets = (3.0, 2.5, 2.1, 1.8, 1.6, 0.7, 0.4)
    example = spectrahedron(targets, np.linspace(0.2, 0.5, 7), margin=margin)
    path = follow(example, rtol=rtol, atol=0.0)
    assert [event.after for event in path.events] == [1, 2, 3, 4, 5]
    found = [event.t for event in path.events]
    np.testing.assert_allclose(found, [t for t, _ in example.events], atol=rtol)
    largest = max(np.linalg.eigvalsh(z.reshape(7, 7))[-1] for z in path.states)
    assert largest < 1 + rtol
    assert worst_error(example, path) < 3 * rtol * length(path)


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


def test_impulses_that_lead_away_from_the_constraint_are_not_taken():
    problem = dvi.ArrayProblem(
        f=lambda t, z: 0.0 * z,
        A=lambda t, z: np.array([[1.0 - z[0]]]),
        B=lambda t, z, X: X[0],
        dA=lambda t, z, v: np.array([[v[0]]]),  # of the wrong sign
    )
    integrator = dvi.AdaptiveIntegrator(problem, 0.0, np.array([1.2]))
    np.testing.assert_array_equal(integrator.z, [1.2])


def test_frames_are_followed_through_impulses():
    """A frame may lose a direction and find it again: the multiplier's coordinates go along."""
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])

    def look(slack, transport):
        n = len(slack) * (len(slack) + 1) // 2
        return SimpleNamespace(
            slack=np.diag(slack),
            transport=transport,
            columns=np.eye(3, n),
            velocity=lambda forces, h: forces,
            differentiate=lambda velocities: velocities[:n],
        )

    looks = [look([-0.5], turn[:1]), look([0.1, 0.2], np.eye(2, 1))]
    problem = SimpleNamespace(
        combine=lambda columns, x: columns @ x, contact=lambda t, z, before, X: looks.pop(0)
    )
    z, contact, transport = on_constraint(
        problem, 0.0, np.zeros(3), look([-1.0, -0.7], np.eye(2)), 1e-9
    )
    assert len(contact.slack) == 2
    np.testing.assert_allclose(z, [1.5, 0.0, 0.7], atol=1e-12)
    np.testing.assert_allclose(transport, np.eye(2, 1) @ turn[:1])


def test_noise_of_slacks_explains_no_displacement_along_the_constraint():
    """Where columns turn, a correction moves the state and hardly the slack."""
    example = disc()
    integrator = dvi.AdaptiveIntegrator(example.problem, 0.0, example.z0, slack_noise=1.0)
    while integrator.t < 1.5:
        integrator.step(2.0)
    point, control = integrator._point, integrator._error
    trial = attempt(example.problem, point, 0.05, 0.05)
    x, y = trial.star
    outwards, sideways = 0.1 * np.array([x, y]), 0.1 * np.array([-y, x])
    beyond = replace(trial, star=trial.star + outwards, needed=-outwards)
    beside = replace(trial, star=trial.star + sideways)
    excused, counted = (control.of_constraint(point, moved) for moved in (beyond, beside))
    assert counted == pytest.approx(0.1 / 12 / control.allowed(point, beside), rel=0.1)
    assert excused < 0.02 * counted


def test_statistics_tell_what_was_spent():
    path = follow(wall(), rtol=1e-2)
    statistics = path.statistics
    assert statistics.steps == len(path.steps) == len(path.t) - 1
    assert statistics.drifts > statistics.steps
    assert statistics.contacts >= statistics.steps
    assert statistics.solves > 0


@pytest.mark.parametrize(
    "options",
    [
        {"rtol": 0.0, "atol": 0.0},
        {"rtol": -1.0},
        {"rtol": np.nan},
        {"rtol": "small"},
        {"atol": None},
        {"event_tol": 0.0},
    ],
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


def test_where_nothing_can_be_extrapolated_steps_are_of_first_order():
    def wall(t):  # shakes while it is being hit
        return np.sin(1e3 * t) * (t > 0.9)

    problem = dvi.ArrayProblem(
        f=lambda t, z: -np.ones(1),
        A=lambda t, z: np.array([[z[0] - wall(t)]]),
        B=lambda t, z, X: X[0],
        dA=lambda t, z, v: v[:, None],
    )
    options = {"min_step": 1 / 32, "max_step": 1 / 32, "slack_tol": 0.01, "event_tol": 1 / 32}
    integrator = dvi.AdaptiveIntegrator(problem, 0.0, np.full(1, 0.5), **options)
    while integrator.t < 2:
        step = integrator.step(2.0)
        assert step.z1[0] >= wall(step.t1) - 1e-9
    assert integrator.statistics.restarted


@pytest.mark.parametrize("mean", [1.0, -1.0])
def test_columns_at_the_end_take_over_where_the_mean_ones_are_not_monotone(mean):
    class Contact:
        columns = np.array([[2.0]])

        def velocity(self, forces, h):
            return forces

        def differentiate(self, velocities):
            return velocities

    alpha, h = np.array([[1.0]]), 0.5
    columns, beta, solution = _solve(Contact(), h, alpha, np.array([[mean]]), np.zeros((1, 1)))
    taken = mean if mean > 0 else 2.0
    assert columns[0, 0] == taken
    assert beta[0, 0] * solution.X[0, 0] == pytest.approx(alpha[0, 0])
    assert solution.X[0, 0] == pytest.approx(1 / (h * taken))


@pytest.mark.parametrize("pressure", [1e-2, 1e-4])
def test_a_direction_that_hardly_pushes_leaves_without_a_search(pressure):
    """One direction is always held, the other, pushed by ε cos t, until π/2.

    The force that holds the first one is what limits steps.
    """
    problem = dvi.ArrayProblem(
        f=lambda t, z: np.array([[2.0 + np.sin(8 * t), 0.0], [0.0, pressure * np.cos(t)]]).ravel(),
        A=lambda t, z: np.eye(2) - z.reshape(2, 2),
        B=lambda t, z, X: -X.ravel(),
        dA=lambda t, z, v: -v.reshape(2, 2),
    )
    path = dvi.integrate(
        problem, np.eye(2).ravel(), (0.0, 2.5), method="adaptive", rtol=1e-2, atol=1e-2
    )
    (event,) = path.events
    assert (event.before, event.after) == (2, 1)
    assert abs(event.t - np.pi / 2) < 0.02
    found = path.statistics
    assert found.contacts < found.steps + found.rejected + 10


def curved_wall(curvature):
    """Return a curved wall that holds a point and takes it back to its axis, at that rate."""
    return dvi.ArrayProblem(
        f=lambda t, z: np.array([1.0, 0.2 * np.sin(t)]),
        A=lambda t, z: np.array([[1.0 - z[0] - 0.5 * curvature * z[1] ** 2]]),
        B=lambda t, z, X: -X[0, 0] * np.array([1.0, curvature * z[1]]),
        dA=lambda t, z, v: np.array([[-v[0] - curvature * z[1] * v[1]]]),
    )


def along(curvature, tolerance, **options):
    integrator = dvi.AdaptiveIntegrator(
        curved_wall(curvature), 0.0, np.eye(2)[0], rtol=tolerance, atol=tolerance, **options
    )
    while integrator.t < 6:
        integrator.step(6.0)
    return integrator


def test_a_force_that_changes_fast_does_not_shorten_steps():
    """Steps with an explicit correction of the force are unstable from 1/40 on."""
    coarse, fine = (along(20.0, tolerance, slack_tol=0.01) for tolerance in (1e-3, 1e-6))
    assert coarse.statistics.steps < 6 * 40 / 4
    assert np.linalg.norm(coarse.z - fine.z) < 1.5e-4


def test_where_steps_end_beyond_a_curved_wall_the_way_back_is_no_error_of_the_next():
    """However short, it has to go all of it: shorter steps, which go it faster, are no help."""
    coarse, fine = along(100.0, 1e-2), along(100.0, 1e-5, slack_tol=1e-3)
    assert np.linalg.norm(coarse.z - fine.z) < 3 * 1e-2 * 6


def test_a_correction_that_is_too_large_to_be_linear_is_looked_at_again():
    def slack(t, z):  # of a wall that shakes faster than steps can follow
        return (1 - np.exp(-10 * (0.1 * np.sin(40 * t) - z[0]))) / 10

    problem = dvi.ArrayProblem(
        f=lambda t, z: np.ones(1),
        A=lambda t, z: np.array([[slack(t, z)]]),
        B=lambda t, z, X: -X[0],
        dA=lambda t, z, v: (10 * slack(t, z) - 1) * v[:, None],
    )
    options = {"min_step": 1 / 32, "max_step": 1 / 32, "slack_tol": 0.02, "event_tol": 1 / 32}
    integrator = dvi.AdaptiveIntegrator(problem, 0.0, np.full(1, -0.2), **options)
    worst = 0.0
    while integrator.t < 2:
        integrator.step(2.0)
        worst = max(worst, -slack(integrator.t, integrator.z))
    assert worst < 5e-3
    assert not integrator.statistics.restarted


def test_a_step_over_an_event_is_no_longer_than_others():
    example = wall()
    integrator = dvi.AdaptiveIntegrator(
        example.problem, 0.0, example.z0, max_step=0.1, event_tol=0.5
    )
    while integrator.t < 7.5:
        step = integrator.step(7.5)
        assert step.t1 - step.t0 < 0.1 + 1e-9
    assert len(integrator.events) == 3


def test_rounding_of_states_does_not_shorten_steps():
    problem = dvi.ArrayProblem(
        f=lambda t, z: np.array([1e-3 * np.cos(t)], dtype=np.float32),
        A=lambda t, z: np.eye(1),
        B=lambda t, z, X: 0 * z,
        dA=lambda t, z, v: np.zeros((1, 1)),
    )

    integrator = dvi.AdaptiveIntegrator(
        problem,
        0.0,
        np.full(1, 10, dtype=np.float32),
        rtol=1e-3,
        rounding=float(np.finfo(np.float32).eps),
    )
    for _ in range(60):
        if integrator.t < 10:
            integrator.step(10.0)
    assert integrator.t == 10
    assert integrator.z.dtype == np.float32
    assert abs(integrator.z[0] - 10 - 1e-3 * np.sin(10)) < 2e-5


@pytest.mark.parametrize(("deferred", "order"), [(False, 2), (True, 3)])
def test_making_up_for_errors_gives_third_order_where_no_constraint_is_active(deferred, order):
    """A turning state and one that decays; steps of equal lengths, as no error is too large."""
    M = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -4.0]])
    problem = dvi.ArrayProblem(
        f=lambda t, z: M @ z,
        A=lambda t, z: np.eye(1),
        B=lambda t, z, X: 0.0 * z,
        dA=lambda t, z, v: np.zeros((1, 1)),
        stiffness=4.0,
    )
    z0, errors = np.array([1.0, 0.0, 1.0]), []
    for h in (0.1, 0.05, 0.025):
        integrator = dvi.AdaptiveIntegrator(
            problem, 0.0, z0, rtol=1.0, first_step=h, max_step=h, deferred=deferred
        )
        while integrator.t < 4.0:
            integrator.step(4.0)
        errors.append(np.linalg.norm(integrator.z - scipy.linalg.expm(4 * M) @ z0))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_making_up_for_errors_does_no_harm_at_events_or_where_a_constraint_is_active(name):
    example = EXAMPLES[name]()
    errors = []
    for deferred in (False, True):
        integrator = dvi.AdaptiveIntegrator(
            example.problem, *example.interval[:1], example.z0, rtol=1e-4, deferred=deferred
        )
        worst = 0.0
        while integrator.t < example.interval[1]:
            step = integrator.step(example.interval[1])
            worst = max(worst, float(np.linalg.norm(step.z1 - example.exact(step.t1))))
        errors.append(worst)
        assert [event.after for event in integrator.events] == [r for _, r in example.events]
    assert errors[1] < 1.5 * errors[0] + 1e-6
