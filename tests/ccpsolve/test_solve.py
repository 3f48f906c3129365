"""`solve_ccp` on problems with known solutions, and its invariances."""

import numpy as np
import pytest

import ccpsolve
from ccpsolve import Status, solve_ccp
from ccpsolve.testing import family_problem, known_problem, orthogonal_matrix

RANDOM_PROBLEMS = 2000


def random_problem(seed):
    """Any order to 12, rank of X* from 0 to k, condition to 1e6, scales from 1e-8 to 1e8."""
    rng = np.random.default_rng([seed, 2])
    k = int(rng.integers(1, 13))
    rank_X = int(rng.integers(0, k + 1))
    return known_problem(
        rng,
        k,
        rank_X,
        condition=10.0 ** rng.uniform(0, 6),
        alpha_scale=10.0 ** rng.uniform(-8, 8),
        beta_scale=10.0 ** rng.uniform(-8, 8),
    )


@pytest.mark.parametrize("block", range(10))
def test_random_problems_are_solved_to_rounding(block):
    for seed in range(block, RANDOM_PROBLEMS, 10):
        known = random_problem(seed)
        solution = solve_ccp(known.problem.alpha, known.problem.beta)
        assert solution.status is Status.SOLVED, (seed, solution)
        certificate = solution.certificate
        assert certificate.natural_residual <= 1e-10, (seed, solution)
        # the solution of the stored data lies within `rounding` of the X* that was drawn
        assert known.error(solution.X) <= certificate.error_bound + known.rounding, (seed, solution)


@pytest.mark.parametrize("k", [4, 6, 8, 13, 14, 17, 21, 25, 29])
def test_certified_bounds_are_small_up_to_condition_1e4(k):
    """Without refinement a third of these problems have bounds up to 6e-11."""
    for seed in (3, 11, 14, 23, 27):
        known = family_problem("condition_1e4", k, seed)
        solution = solve_ccp(known.problem.alpha, known.problem.beta)
        assert known.error(solution.X) <= solution.certificate.error_bound + known.rounding
        assert solution.certificate.error_bound <= 1e-11 * np.linalg.norm(solution.X)


@pytest.mark.parametrize("k", [2, 3, 5, 9])
def test_change_of_basis(k):
    """X(QαQᵀ, QβQᵀ) = Q X(α, β) Qᵀ."""
    rng = np.random.default_rng(k)
    known = known_problem(rng, k, k // 2, condition=1e3)
    Q = orthogonal_matrix(rng, k)
    W = np.array([ccpsolve.svec(Q @ E @ Q.T) for E in ccpsolve.smat(np.eye(known.problem.n))]).T
    turned = solve_ccp(Q @ known.problem.alpha @ Q.T, W @ known.problem.beta @ W.T)
    X = solve_ccp(known.problem.alpha, known.problem.beta).X
    np.testing.assert_allclose(turned.X, Q @ X @ Q.T, atol=1e-11)


@pytest.mark.parametrize(("s", "t"), [(2.0**40, 2.0**-30), (2.0**-120, 2.0**90)])
def test_scaling_by_powers_of_two_changes_no_bit(s, t):
    known = known_problem(np.random.default_rng(1), 6, 3)
    X = solve_ccp(known.problem.alpha, known.problem.beta).X
    scaled = solve_ccp(s * known.problem.alpha, t * known.problem.beta).X
    np.testing.assert_array_equal(scaled, (s / t) * X)


@pytest.mark.parametrize(("s", "t"), [(3.0, 1e-7), (1e60, 1e-60), (1e-60, 1e60)])
def test_scaling(s, t):
    known = known_problem(np.random.default_rng(2), 5, 2)
    X = solve_ccp(known.problem.alpha, known.problem.beta).X
    scaled = solve_ccp(s * known.problem.alpha, t * known.problem.beta)
    np.testing.assert_allclose(scaled.X * (t / s), X, rtol=0, atol=1e-13 * np.linalg.norm(X))
    assert scaled.status is Status.SOLVED


@pytest.mark.parametrize("alpha", [-2.0, 0.0, 3.0])
def test_order_one_has_a_closed_form(alpha):
    solution = solve_ccp([[alpha]], [[4.0]])
    np.testing.assert_array_equal(solution.X, max(0.0, alpha / 4.0))
    np.testing.assert_array_equal(solution.S, max(0.0, -alpha))


def test_order_zero():
    solution = solve_ccp(np.zeros((0, 0)), np.zeros((0, 0)))
    assert solution.X.shape == (0, 0)
    assert solution.status is Status.SOLVED


def test_negative_alpha_has_the_zero_solution():
    rng = np.random.default_rng(3)
    root = rng.standard_normal((4, 4))
    solution = solve_ccp(-root @ root.T, np.eye(10))
    assert not solution.X.any()
    assert solution.iterations == 0


def test_solution_verifies_itself():
    known = known_problem(np.random.default_rng(4), 4, 2)
    solve_ccp(known.problem.alpha, known.problem.beta).verify()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "simplex"}, "method is 'simplex'"),
        ({"tol": 0.0}, "tol is 0.0"),
        ({"tol": float("nan")}, "tol is nan"),
        ({"tol": "small"}, "tol is 'small'"),
        ({"tol": None}, "tol is None"),
        ({"x0": np.eye(3)}, "x0 has shape"),
        ({"x0": np.full((2, 2), np.nan)}, "x0 has 4 NaN"),
    ],
)
def test_wrong_options_are_named(arguments, message):
    with pytest.raises(ccpsolve.InvalidProblemError, match=message):
        solve_ccp(np.eye(2), np.eye(3), **arguments)
