import time

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from ccpsolve import Status
from ccpsolve.stationary import StationaryProblem, certify_exactly, stationary_preconditioner
from ccpsolve.stationary._semidefinite import is_feasible, smallest_feasible_scale
from tests.ccpsolve.stationary.problems import FAMILIES, goe, wishart


def solve(H, c, **options):
    return stationary_preconditioner(np.asarray(c, float), H, 1.0, **options)


def largest(H, p):
    return scipy.linalg.eigh(H, np.diag(p), eigvals_only=True)[-1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("d", [10, 50, 100, pytest.param(300, marks=pytest.mark.slow)])
def test_certified_on_random_families(family, d):
    rng = np.random.default_rng(d)
    H = FAMILIES[family](d, rng)
    g = rng.standard_normal(d)
    g[: d // 5] = 0
    for lr in (1e-2, 1.0, 100.0):
        sp = stationary_preconditioner(g, H, lr)
        assert sp.status is Status.SOLVED
        assert sp.gap <= 1e-8
        assert sp.failure_probability == 0
        assert sp.rank <= np.ceil(np.sqrt(2 * d))
        sp.verify()


def test_learning_rates_over_six_decades():
    rng = np.random.default_rng(0)
    H, g = wishart(30, rng), rng.standard_normal(30)
    ranks = []
    for lr in 10.0 ** np.arange(-3, 4):
        sp = stationary_preconditioner(g, H, lr)
        assert sp.gap <= 1e-8
        ranks.append(sp.rank)
        np.testing.assert_allclose(sp.nu, (lr * sp.p) ** 2, rtol=1e-12)
    assert ranks[0] == 0  # stable
    assert ranks[-1] > 0


def test_stable_regime_is_exact():
    rng = np.random.default_rng(1)
    H, c = goe(20, rng), 3 + rng.random(20)
    sp = solve(H, c)
    np.testing.assert_array_equal(sp.p, c)
    assert sp.rank == 0
    assert sp.gap == 0
    assert sp.primal == sp.dual == pytest.approx(2 * c.sum())


def test_proposition_2():
    """H ⪯ 2P, Σ ⪰ 0, (2P − H)Σ = 0 and ν = g² + diag(HΣH) characterise the minimiser."""
    rng = np.random.default_rng(2)
    H, g, lr = wishart(25, rng), rng.standard_normal(25), 2.0
    g[:5] = 0
    sp = stationary_preconditioner(g, H, lr, tol=1e-13)
    covariance = sp.D @ sp.D.T
    assert largest(H, sp.p) == pytest.approx(2, rel=1e-7)
    np.testing.assert_allclose((2 * np.diag(sp.p) - H) @ sp.D, 0, atol=1e-5)
    np.testing.assert_allclose(g**2 + np.diag(H @ covariance @ H), sp.nu, rtol=1e-4)
    # and conversely: data built to satisfy the conditions are returned
    p, D = sp.p, sp.D
    again = stationary_preconditioner(g, H, lr, start=D)
    np.testing.assert_allclose(again.p, p, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_built_minimisers_are_found(seed):
    """A problem made from its solution: P, a critical E in its null space, c from stationarity."""
    rng = np.random.default_rng(seed)
    d, k = 12, 2
    p = 0.5 + rng.random(d)
    E = rng.standard_normal((d, k))
    E /= np.sqrt((E**2).sum(1).max() * 2.5)
    frame = np.linalg.qr(np.hstack([E, rng.standard_normal((d, d - k))]))[0][:, k:]
    slack = frame @ np.diag(0.5 + rng.random(d - k)) @ frame.T
    H = 2 * np.diag(p) - slack
    c = p * np.sqrt(1 - 2 * (E**2).sum(1))
    sp = solve(H, c, tol=1e-13)
    np.testing.assert_allclose(sp.p, p, rtol=1e-5)
    np.testing.assert_allclose(sp.D @ sp.D.T, 0.5 * E @ E.T, atol=1e-4)


def test_minimiser_is_unique():
    """Proposition 3: rotated and permuted coordinates and another start give the same p."""
    rng = np.random.default_rng(3)
    H, c = goe(15, rng), 0.1 * rng.random(15)
    order, signs = rng.permutation(15), rng.choice([-1.0, 1.0], 15)
    p = solve(H, c, tol=1e-12).p
    other = solve((signs[:, None] * H * signs)[np.ix_(order, order)], c[order], tol=1e-12).p
    np.testing.assert_allclose(other, p[order], rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(-8, 8))
def test_scaling_and_weak_duality(seed, d, exponent):
    rng = np.random.default_rng(seed)
    H, c = goe(d, rng), np.abs(rng.standard_normal(d)) * 10.0 ** rng.integers(-4, 2, d)
    c[rng.random(d) < 0.2] = 0
    sp = solve(H, c)
    assert sp.gap <= 1e-8
    assert sp.dual <= sp.primal * (1 + 1e-14)
    scaled = solve(10.0**exponent * H, 10.0**exponent * c)
    assert scaled.primal == pytest.approx(10.0**exponent * sp.primal, rel=2e-8)


def test_one_coordinate_in_closed_form():
    for h, c in ((2.0, 0.3), (-2.0, 0.3), (0.5, 0.3), (2.0, 0.0), (-2.0, 0.0)):
        p = max(h / 2, c)
        sp = solve(np.array([[h]]), [c])
        assert sp.p[0] == pytest.approx(p, abs=1e-8)
        assert sp.primal == pytest.approx(p + (c * c / p if p else 0), abs=1e-8)


def test_alternative_preconditioner_ignores_the_gradient():
    rng = np.random.default_rng(4)
    H = wishart(20, rng)
    with_zero = stationary_preconditioner(np.zeros(20), H, 0.1)
    without = stationary_preconditioner(rng.standard_normal(20), H, 0.1, gradient_term=False)
    np.testing.assert_array_equal(with_zero.p, without.p)
    np.testing.assert_allclose(2 * np.diag(without.D @ without.D.T) / 0.1**2, 0.5, rtol=1e-3)


def test_agrees_with_a_conic_solver():
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(5)
    H, c = goe(8, rng), 0.2 * rng.random(8)
    p = cvxpy.Variable(8)
    cost = cvxpy.sum(p) + sum(c[i] ** 2 * cvxpy.inv_pos(p[i]) for i in range(8))
    conic = cvxpy.Problem(cvxpy.Minimize(cost), [2 * cvxpy.diag(p) - H >> 0])
    conic.solve(solver="CLARABEL")
    sp = solve(H, c)
    assert sp.dual * (1 - 1e-6) <= conic.value <= sp.primal * (1 + 1e-6)
    np.testing.assert_allclose(sp.p, p.value, atol=1e-4)


def test_any_candidate_gives_valid_bounds():
    rng = np.random.default_rng(6)
    H, c = wishart(12, rng), 0.1 * rng.random(12)
    best = solve(H, c, tol=1e-10)
    problem = StationaryProblem(c, H, 1.0)
    for size in (0.1, 1.0, 10.0):
        for _ in range(5):
            p = size * rng.random(12)
            found = certify_exactly(problem, p, size * rng.standard_normal((12, 3)), 1e-8)
            assert found.dual <= best.primal * (1 + 1e-12)
            assert found.primal >= best.dual * (1 - 1e-12)
            assert np.linalg.eigvalsh(2 * np.diag(found.p) - H)[0] >= -1e-12
            assert (2 * (found.E**2).sum(1) <= 1 + 1e-12).all()


def test_feasibility_is_decided_at_the_boundary():
    rng = np.random.default_rng(7)
    H, p = wishart(30, rng), 0.5 + rng.random(30)
    scale = smallest_feasible_scale(H, p)
    assert scale == pytest.approx(largest(H, p) / 2, rel=1e-11)
    assert is_feasible(H, scale * p)
    assert not is_feasible(H, scale * (1 - 1e-11) * p)


@pytest.mark.slow
def test_two_thousand_coordinates():
    rng = np.random.default_rng(8)
    H, g = wishart(2000, rng), rng.standard_normal(2000)
    begin = time.process_time()  # of all threads, whatever else the machine does
    sp = stationary_preconditioner(g, H, 10.0)
    assert time.process_time() - begin <= 60
    assert sp.gap <= 1e-8
