"""Where the published fixed point goes wrong it says so; the default method does not."""

import numpy as np
import pytest
import scipy.linalg

from ccpsolve import Status
from ccpsolve.stationary import stationary_preconditioner
from tests.ccpsolve.stationary.problems import wishart

TRIDIAGONAL = np.array([[2.0, 1, 0], [1, 2, -1], [0, -1, 2]])


def default(H, c, **options):
    return stationary_preconditioner(np.full(len(H), c), H, 1.0, **options)


def published(H, c, **options):
    return default(H, c, method="fixed_point", **options)


def test_indefinite_hessian_flips_for_ever():
    H = np.diag([1.0, -3.0])
    sp = published(H, 0.1)
    assert sp.status is Status.ITERATION_LIMIT
    assert "cycle" in sp.message
    np.testing.assert_allclose(sp.p, [0.5, 1.5], rtol=1e-5)
    assert sp.primal == pytest.approx(2.0267, abs=1e-4)
    assert sp.gap > 0.1
    true = default(H, 0.1)
    assert true.gap <= 1e-8
    np.testing.assert_allclose(true.p, [0.5, 0.1], atol=1e-8)
    assert true.primal == pytest.approx(0.72, rel=1e-8)


def test_two_cycle_of_the_factor():
    H = np.array([[0.0, 1], [1, 0]])
    sp = published(H, 0.1)
    assert sp.status is Status.ITERATION_LIMIT
    assert "cycle" in sp.message
    np.testing.assert_allclose(sp.p, 0.5, rtol=1e-5)  # p is right, Σ is not
    true = default(H, 0.1)
    assert true.gap <= 1e-8
    assert true.primal == pytest.approx(1.04, rel=1e-8)
    np.testing.assert_allclose(true.D @ true.D.T, 0.24, atol=1e-6)


def test_rank_one_stops_at_a_false_fixed_point():
    stopped = []
    for seed in range(10):
        sp = published(TRIDIAGONAL, 0.05, rank=1, rng=np.random.default_rng(seed))
        if not sp.status.ok:
            stopped.append(sp)
    assert len(stopped) >= 5  # from most starts
    for sp in stopped:
        assert sp.dual == pytest.approx(3.009, abs=1e-3)
        assert sp.effective_sharpness == pytest.approx(2 * 2.39, abs=0.02)
        assert "not the solution" in sp.message
    true = default(TRIDIAGONAL, 0.05)
    assert true.gap <= 1e-8
    assert true.primal == pytest.approx(5.0046, abs=1e-4)


def test_the_rank_of_the_solution_is_not_enough():
    rng = np.random.default_rng(0)
    H, c = wishart(10, rng), 0.1
    true = default(H, c)
    assert true.gap <= 1e-8
    runs = [
        published(H, c, rank=true.rank, rng=np.random.default_rng(seed), tol=1e-6)
        for seed in range(20)
    ]
    stopped = [sp for sp in runs if not sp.status.ok]
    assert 0 < len(stopped) < 20
    for sp in stopped:
        assert sp.gap > 1e-6
        assert sp.dual < true.primal < sp.primal
        assert sp.effective_sharpness > 2


def test_rank_one_more_than_needed_succeeds():
    rng = np.random.default_rng(0)
    H, c = wishart(10, rng), 0.1
    needed = default(H, c).rank
    for seed in range(5):
        sp = published(H, c, rank=needed + 1, rng=np.random.default_rng(seed), tol=1e-6)
        assert sp.status is Status.SOLVED


def test_zero_is_a_fixed_point():
    sp = published(TRIDIAGONAL, 0.05, start=np.zeros((3, 2)))
    assert sp.status is Status.ITERATION_LIMIT
    assert sp.rank == 0
    assert default(TRIDIAGONAL, 0.05, start=np.zeros((3, 2))).gap <= 1e-8


def test_dead_weights():
    rng = np.random.default_rng(1)
    H = np.zeros((6, 6))
    H[:4, :4] = wishart(4, rng)
    g = np.array([0.3, 0, 0.1, 0, 0, 0.2])
    sp = stationary_preconditioner(g, H, 1.0)
    assert sp.gap <= 1e-8
    assert sp.p[4] == 0
    assert sp.p[5] == 0.2
    assert (sp.D[4:] == 0).all()
    sp.verify()
    # as published, D ← ½ν^(−1/2)HD is 0/0 there; the method takes it as 0
    fixed = stationary_preconditioner(g, H, 1.0, method="fixed_point")
    image = H @ fixed.D
    with np.errstate(invalid="ignore"):
        factor = 0.5 * image / np.sqrt(g**2 + (image**2).sum(1))[:, None]
    np.testing.assert_array_equal(np.isnan(factor).all(1), np.arange(6) == 4)
    assert fixed.status is Status.SOLVED
    assert fixed.gap <= 1e-8
    assert fixed.p[4] == 0


def test_negative_curvature_without_gradient():
    H, g = np.diag([1.0, -1.0]), np.array([0.1, 0.0])
    sp = stationary_preconditioner(g, H, 1.0)
    assert sp.gap <= 1e-8
    np.testing.assert_allclose(sp.p, [0.5, 0], atol=1e-8)
    fixed = stationary_preconditioner(g, H, 1.0, method="fixed_point")
    assert not fixed.status.ok
    assert fixed.p[1] > 0.4


def test_near_the_edge_of_stability_the_fixed_point_crawls():
    iterations = []
    for sharpness in (1.8, 1.98):
        sp = published(sharpness * np.eye(3), 1.0)
        assert sp.status is Status.SOLVED
        iterations.append(sp.iterations)
    assert iterations[1] > 5 * iterations[0]
    true = default(1.98 * np.eye(3), 1.0)
    assert true.gap == 0
    assert true.rank == 0


def test_the_nearer_the_edge_of_stability_the_less_a_budget_of_steps_reaches():
    rng = np.random.default_rng(0)
    H, c = wishart(10, rng), 0.5 + rng.random(10)
    H /= scipy.linalg.eigh(H, np.diag(c), eigvals_only=True)[-1]
    for below in (1e-2, 1e-4, 1e-6):
        options = {"method": "fixed_point", "max_iterations": 100}
        sp = stationary_preconditioner(c, (2 - below) * H, 1.0, **options)
        assert sp.status.ok == (below == 1e-2)
        assert sp.status.ok or "iterations allowed were spent" in sp.message
        true = stationary_preconditioner(c, (2 - below) * H, 1.0)
        assert true.gap == 0
        np.testing.assert_array_equal(true.p, c)


@pytest.mark.parametrize(
    ("H", "g", "p", "variance", "feasible"),
    [
        # λ_max(P⁻¹H) = 120; the minimiser has p = (2, 3)
        ((4.0, 6.0), (0.05, 0.05), (2.0, 0.05), ((1 - 0.025**2) / 4, 0.0), False),
        # a negative variance; the minimiser has p = g and no oscillation
        ((2.0, 2.0), (3.0, 3.0), (1.0, 1.0), (-2.0, -2.0), True),
    ],
)
def test_proposition_2_needs_both_inequalities(H, g, p, variance, feasible):
    """HΣ = 2PΣ and ν = g² + diag(HΣH) hold, H ⪯ 2P or Σ ⪰ 0 does not: not the minimiser."""
    H, g, p, variance = map(np.array, (H, g, p, variance))
    np.testing.assert_allclose(H * variance, 2 * p * variance)
    np.testing.assert_allclose(p**2, g**2 + H**2 * variance)
    assert (2 * p >= H).all() == feasible
    assert (variance >= 0).all() != feasible
    sp = stationary_preconditioner(g, np.diag(H), 1.0)
    assert sp.gap <= 1e-8
    np.testing.assert_allclose(sp.p, np.maximum(H / 2, g), rtol=1e-7)


def test_budgets_are_kept_and_said():
    sp = published(TRIDIAGONAL, 0.05, max_iterations=2)
    assert sp.iterations == 2
    assert "iterations allowed" in sp.message
    sp = published(TRIDIAGONAL, 0.05, rank=3, max_products=6)
    assert sp.iterations == 2
    assert "products allowed" in sp.message
