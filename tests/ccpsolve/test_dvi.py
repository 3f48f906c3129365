"""The Euler scheme on DVIs with closed-form solutions."""

import numpy as np
import pytest

import ccpsolve
from ccpsolve import dvi


class Disc:
    """A constant wind to the right on the unit disc: ``A(z) = 1 − |z|²``.

    On the rim, at angle θ, the motion is θ' = −sin θ, so tan(θ/2) = tan(θ₀/2) e^{−t}.
    """

    def linearize(self, t, z):
        wind = np.array([1.0, 0.0])
        return dvi.Linearization(
            slack=np.array([[1.0 - z @ z]]),
            alpha=np.array([[2.0 * z @ wind]]),
            beta=np.array([[4.0 * z @ z]]),
            advance=lambda X, dt: z + dt * (wind - 2.0 * X[0, 0] * z),
        )


class Spectrahedron:
    """``Z' = C − X`` with ``I − Z ⪰ 0``; each eigenvalue of Z rises until it meets 1."""

    def __init__(self, C):
        self.C = C

    def linearize(self, t, Z):
        k = len(self.C)
        return dvi.Linearization(
            slack=np.eye(k) - Z,
            alpha=self.C,
            beta=np.eye(k * (k + 1) // 2),
            advance=lambda X, dt: Z + dt * (self.C - X),
        )


def rim_angle(theta0, t):
    return 2 * np.arctan(np.tan(theta0 / 2) * np.exp(-t))


def test_disc_first_order():
    # The wind first carries the point inside: compare with the exact piecewise solution.
    start, t1 = np.array([-0.6, 0.8]), 3.0
    entry = 1.2  # straight to the right, until x = +0.6 on the rim
    theta = rim_angle(np.arctan2(0.8, 0.6), t1 - entry)
    exact = np.array([np.cos(theta), np.sin(theta)])
    errors = []
    for dt in (0.04, 0.02, 0.01, 0.005):
        path = dvi.integrate(Disc(), start, (0.0, t1), dt=dt)
        errors.append(np.linalg.norm(path.states[-1] - exact))
    slopes = np.diff(np.log(errors)) / np.log(0.5)
    assert errors[-1] < 0.01
    assert np.all(slopes > 0.8)


def test_constraint_does_not_drift():
    path = dvi.integrate(Disc(), np.array([0.6, 0.8]), (0.0, 20.0), dt=0.05)
    radii = [np.linalg.norm(z) for z in path.states]
    assert max(radii) < 1 + 1e-3
    assert radii[-1] == pytest.approx(1.0, abs=1e-3)


def test_infeasible_start_is_corrected_in_one_step():
    path = dvi.integrate(Disc(), np.array([0.0, 1.05]), (0.0, 1.0), dt=0.1)
    assert np.linalg.norm(path.states[0]) > 1.04
    assert abs(np.linalg.norm(path.states[1]) - 1) < 0.01


def test_rank_grows_with_the_eigenvalues_that_reach_the_wall():
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    rates, start = np.array([1.0, 0.5, -0.2]), np.array([0.6, 0.7, 0.5])
    C, Z0 = Q @ np.diag(rates) @ Q.T, Q @ np.diag(start) @ Q.T
    path = dvi.integrate(Spectrahedron((C + C.T) / 2), Z0, (0.0, 1.0), dt=0.1)
    for t, Z in zip(path.t, path.states, strict=True):
        expected = np.minimum(1.0, start + rates * t)
        np.testing.assert_allclose(Q.T @ Z @ Q, np.diag(expected), atol=1e-10)
    ranks = [int(np.sum(np.linalg.eigvalsh(s.X) > 1e-9)) for s in path.solutions]
    assert ranks == [0] * 4 + [1] * 2 + [2] * 4
    assert all(s.status is ccpsolve.Status.SOLVED for s in path.solutions)


def test_rank_falls_when_the_drift_turns():
    class Turning(Spectrahedron):
        def linearize(self, t, Z):
            self.C = np.diag([1.0, 1.0 - 2.0 * t])
            return super().linearize(t, Z)

    path = dvi.integrate(Turning(np.zeros((2, 2))), np.eye(2), (0.0, 1.0), dt=0.1)
    ranks = [int(np.sum(np.linalg.eigvalsh(s.X) > 1e-9)) for s in path.solutions]
    assert ranks == [2] * 5 + [1] * 5


def test_no_nearly_active_direction():
    class Free:
        def linearize(self, t, z):
            empty = np.zeros((0, 0))
            return dvi.Linearization(empty, empty, empty, lambda X, dt: z + dt)

    path = dvi.integrate(Free(), 0.0, (0.0, 1.0))
    assert path.states[-1] == 1.0
    assert len(path.t) == 5


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"interval": (1.0, 0.0)}, "interval"),
        ({"interval": (0.0, np.inf)}, "interval"),
        ({"interval": (0.0, "end")}, "interval"),
        ({"interval": (0.0, 1.0, 2.0)}, "interval"),
        ({"interval": 1.0}, "interval"),
        ({"interval": (0.0, 1.0), "dt": "small"}, "dt"),
        ({"interval": (0.0, 1.0), "dt": 0.0}, "dt"),
        ({"interval": (0.0, 1.0), "dt": np.nan}, "dt"),
        ({"interval": (0.0, 1.0), "method": "rk4"}, "method"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(ccpsolve.InvalidProblemError, match=name):
        dvi.integrate(Disc(), np.zeros(2), arguments.pop("interval"), **arguments)


def test_empty_interval():
    path = dvi.integrate(Disc(), np.zeros(2), (1.0, 1.0))
    assert len(path.states) == 1
    assert path.solutions == []
