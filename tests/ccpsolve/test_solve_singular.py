"""Singular and indefinite β: each case has its status, and its proof."""

import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest

import ccpsolve
from ccpsolve import ConeComplementarityProblem, SolveError, Status, VerificationError, solve_ccp
from ccpsolve.testing import (
    family_problem,
    orthogonal_matrix,
    unattained_problem,
    unbounded_problem,
)


def embedded(small, k, seed):
    """Put a problem of order 2 beside well-posed directions, in a random basis of order k."""
    rng = np.random.default_rng(seed)
    n = k * (k + 1) // 2
    pairs = [(i, j) for i in range(k) for j in range(i, k)]
    places = [pairs.index(pair) for pair in [(0, 0), (0, 1), (1, 1)]]
    alpha, beta = np.diag(rng.standard_normal(k)), np.eye(n)
    alpha[:2, :2] = small.alpha
    beta[np.ix_(places, places)] = small.beta
    Q = orthogonal_matrix(rng, k)
    W = np.array([ccpsolve.svec(Q @ E @ Q.T) for E in ccpsolve.smat(np.eye(n))]).T
    return ConeComplementarityProblem(Q @ alpha @ Q.T, W @ beta @ W.T)


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_unbounded_comes_with_a_ray(k):
    problem = unbounded_problem()[0]
    problem = embedded(problem, k, seed=k) if k > 2 else problem
    solution = solve_ccp(problem.alpha, problem.beta, throw=False)
    assert solution.status is Status.UNBOUNDED
    D = solution.ray
    assert np.linalg.eigvalsh(D)[0] >= -1e-13
    assert np.linalg.norm(problem.apply(D)) <= 1e-13 * np.linalg.norm(D)
    assert np.vdot(problem.alpha, D) > 0.1 * np.linalg.norm(D)
    solution.verify()


def test_unbounded_of_order_one():
    with pytest.raises(SolveError, match="UNBOUNDED") as error:
        solve_ccp([[1.0]], [[0.0]])
    np.testing.assert_array_equal(error.value.solution.ray, [[1.0]])


def test_unbounded_without_symmetry():
    """x₂ ≥ 0 and −x₁ ≥ 1 have no solution x ≥ 0; D = e₂ proves it: −βᵀD = e₁, ⟨α, D⟩ = 1."""
    beta = np.zeros((3, 3))
    beta[0, 2], beta[2, 0], beta[1, 1] = 1.0, -1.0, 1.0
    solution = solve_ccp(np.diag([0.0, 1.0]), beta, throw=False)
    assert solution.status is Status.UNBOUNDED
    np.testing.assert_allclose(solution.ray, np.diag([0.0, 1.0]), atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_unattained_is_named(k):
    problem = unattained_problem()[0]
    problem = embedded(problem, k, seed=k) if k > 2 else problem
    solution = solve_ccp(problem.alpha, problem.beta, throw=False)
    assert solution.status is Status.UNATTAINED
    with pytest.raises(SolveError, match="UNATTAINED"):
        solve_ccp(problem.alpha, problem.beta)


@pytest.mark.parametrize("k", [2, 4, 7])
def test_unattained_has_a_sequence_of_falling_residual_and_growing_norm(k):
    problem = unattained_problem()[0]
    problem = embedded(problem, k, seed=1) if k > 2 else problem
    solution = solve_ccp(problem.alpha, problem.beta, throw=False)
    solution.verify()
    points = solution.sequence
    residuals = [
        ccpsolve.certify_ccp(problem.alpha, problem.beta, X).natural_residual for X in points
    ]
    norms = [np.linalg.norm(X) for X in points]
    assert all(np.linalg.eigvalsh(X)[0] >= -1e-12 * np.linalg.norm(X) for X in points)
    assert all(later < 0.1 * earlier for earlier, later in itertools.pairwise(residuals))
    assert all(later > 2.0 * earlier for earlier, later in itertools.pairwise(norms))


def test_a_solution_without_its_sequence_does_not_verify():
    problem = unattained_problem()[0]
    solution = solve_ccp(problem.alpha, problem.beta, throw=False)
    for sequence in (None, solution.sequence[::-1]):
        with pytest.raises(VerificationError, match="sequence"):
            replace(solution, sequence=sequence).verify()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", [unbounded_problem, unattained_problem])
def test_statuses_do_not_depend_on_scales(kind, seed):
    rng = np.random.default_rng(seed)
    problem = embedded(kind()[0], 3 + seed % 4, seed)
    s, t = 10.0 ** rng.uniform(-12, 12, 2)
    solution = solve_ccp(s * problem.alpha, t * problem.beta, throw=False)
    assert solution.status.name == kind.__name__.removesuffix("_problem").upper()
    solution.verify()


@pytest.mark.parametrize("gain", [1e-3, 1e-6, 1e-10])
def test_a_ray_of_small_gain_is_found(gain):
    solution = solve_ccp(np.diag([-1.0, gain]), np.diag([1.0, 1.0, 0.0]), throw=False)
    assert solution.status is Status.UNBOUNDED
    solution.verify()


@pytest.mark.parametrize("excess", [1e-15, 1e-16, -1e-16])
def test_a_gain_within_rounding_of_the_data_is_none(excess):
    """Once called unattained: α = −S with a zero eigenvalue of S blurred by rounding, and β = 0."""
    solution = solve_ccp(np.diag([-1.0, excess]), np.zeros((3, 3)))
    assert solution.status is Status.SOLVED


@pytest.mark.parametrize("family", ["few_weights", "indefinite_by_rounding"])
@pytest.mark.parametrize("seed", range(15))
def test_solvable_problems_are_not_called_unattained(family, seed):
    known = family_problem(family, 1 + seed % 9, 400 + seed)
    solution = solve_ccp(known.problem.alpha, known.problem.beta)
    assert solution.status is Status.SOLVED
    assert solution.certificate.natural_residual <= 1e-12


@pytest.mark.parametrize(
    ("family", "k", "seed"),
    [
        ("condition_1e12", 29, 1738),
        pytest.param("everything", 30, 479, marks=pytest.mark.slow),
    ],
)
def test_a_definite_problem_past_proof_is_not_called_unattained(family, k, seed):
    """No bound can be proved there, but the eigenvalues of β are no rounding errors."""
    known = family_problem(family, k, seed)
    solution = solve_ccp(known.problem.alpha, known.problem.beta)
    assert solution.certificate.min_eig_beta <= 0.0
    assert solution.status is Status.SOLVED
    assert solution.certificate.natural_residual <= 1e-12


@pytest.mark.parametrize("seed", range(60))
def test_rank_deficient_problems_with_a_solution_are_solved(seed):
    known = family_problem("rank_deficient", 1 + seed % 9, seed)
    solution = solve_ccp(known.problem.alpha, known.problem.beta)
    assert solution.status is Status.SOLVED
    assert solution.certificate.natural_residual <= 1e-12
    assert solution.certificate.error_bound == np.inf  # nothing can be proved of a singular β


def test_zero_beta_with_negative_alpha_has_the_zero_solution():
    solution = solve_ccp(-np.eye(3), np.zeros((6, 6)))
    assert solution.status is Status.SOLVED
    assert not solution.X.any()


def test_indefinite_beta_is_not_monotone():
    beta = np.diag([1.0, 1.0, -0.1])
    solution = solve_ccp(np.diag([1.0, -1.0]), beta, throw=False)
    assert solution.status is Status.NOT_MONOTONE
    assert solution.certificate.error_bound == np.inf
    with pytest.raises(SolveError, match="NOT_MONOTONE"):
        solve_ccp(np.diag([1.0, -1.0]), beta)


def test_beta_indefinite_from_rounding_is_taken_as_semidefinite(caplog):
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((10, 4))
    beta = factor @ factor.T
    beta -= 1e-15 * np.linalg.norm(beta, 2) * np.eye(10)  # smallest eigenvalue about −1e-15
    X = np.diag([1.0, 0.5, 0.0, 0.0])
    S = np.diag([0.0, 0.0, 1.0, 2.0])
    with caplog.at_level(logging.INFO, logger="ccpsolve"):
        solution = solve_ccp(ccpsolve.smat(beta @ ccpsolve.svec(X)) - S, beta)
    assert solution.status is Status.SOLVED
    assert "which is rounding: taken as 0" in caplog.text
