"""The certificate: its bounds against solutions known to 30 digits, and its residuals."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccpsolve import (
    ConeComplementarityProblem,
    InvalidProblemError,
    certify_ccp,
    solve_ccp,
    svec,
)
from ccpsolve._certificate import certify_problem
from ccpsolve._symmetric import psd_part
from ccpsolve.testing import (
    family_problem,
    known_problem,
    known_problems,
    orthogonal_matrix,
    unattained_problem,
    unbounded_problem,
)

from .high_precision import reference_solution

DEFINITE = [
    "generic",
    "interior",
    "boundary",
    "degenerate",
    "condition_1e4",
    "condition_1e8",
    "scaled",
    "congruence",
    "negative",
    "nonsymmetric",
]


@cache
def truth(name, k, seed):
    known = family_problem(name, k, seed)
    return known.problem, reference_solution(known.problem, known.X)


def scale_of(problem, X):
    norm_beta = np.linalg.norm(problem.beta, 2)
    return max(np.linalg.norm(X), np.linalg.norm(problem.alpha) / norm_beta)


def candidates(problem, X, rng, count):
    """Candidates from any source: noise of all sizes, inside and off the cone."""
    scale = scale_of(problem, X)
    for _ in range(count):
        size = 10.0 ** rng.uniform(-17.0, 0.0)
        direction = rng.standard_normal(X.shape)
        direction = (direction + direction.T) / np.linalg.norm(direction)
        kind = rng.integers(4)
        if kind == 0:
            yield X + size * scale * direction
        elif kind == 1:
            yield X * (1.0 + size * direction)
        elif kind == 2:
            inside = psd_part(X + size * scale * direction)
            yield 0.5 * (inside + inside.T)
        else:
            yield X


def check_bounds(problem, reference, X):
    """Assert that every bound holds for the candidate X; return bound/error."""
    certificate = certify_problem(problem, X)
    difference = reference.difference(X)
    error = np.linalg.norm(difference)
    v = svec(difference).astype(np.longdouble)
    square = float(v @ (problem.beta.astype(np.longdouble) @ v))
    assert error <= certificate.error_bound
    assert np.sqrt(max(square, 0.0)) <= certificate.error_bound_beta
    if problem.symmetric:
        gap = np.vdot(reference.slack, difference) + 0.5 * square  # ⟨S*, X*⟩ = 0
        assert abs(gap) <= certificate.gap_bound
        assert certificate.dual_bound <= reference.objective
    return certificate.error_bound / error if error > 0.0 else np.inf


@pytest.mark.parametrize("name", DEFINITE)
def test_bounds_are_never_below_the_truth(name):
    rng = np.random.default_rng(1)
    for k in (1, 2, 3, 4):
        problem, reference = truth(name, k, seed=k)
        for X in candidates(problem, reference.high, rng, 60):
            assert check_bounds(problem, reference, X) >= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFINITE)
def test_bounds_are_never_below_the_truth_in_ten_thousand_trials_per_family(name):
    rng = np.random.default_rng(2)
    for seed in range(100):
        problem, reference = truth(name, 1 + seed % 6, seed=1000 + seed)
        for X in candidates(problem, reference.high, rng, 100):
            assert check_bounds(problem, reference, X) >= 1.0


@pytest.mark.parametrize("name", ["generic", "boundary", "interior", "nonsymmetric"])
@pytest.mark.parametrize("size", [1e-2, 1e-6, 1e-10])
def test_bounds_are_linear_in_the_error(name, size):
    """At condition 10 a bound is within a factor 60 of the error, however small the error is."""
    for k in (2, 3, 4):
        problem, reference = truth(name, k, seed=50 + k)
        direction = np.random.default_rng(k).standard_normal((k, k))
        X = reference.high + size * (direction + direction.T)
        assert check_bounds(problem, reference, X) <= 60.0


@pytest.mark.parametrize("name", ["generic", "boundary", "interior", "negative"])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_bound_of_a_rounded_solution_is_rounding(name, k):
    problem, reference = truth(name, k, seed=90 + k)
    certificate = certify_problem(problem, reference.high)
    assert certificate.error_bound <= 2e-14 * scale_of(problem, reference.high)
    assert certificate.natural_residual <= 2e-15


@pytest.mark.parametrize("k", [2, 4, 6])
def test_the_bounds_of_a_rounded_solution_at_condition_1e4(k):
    for seed in range(5):
        problem, reference = truth("condition_1e4", k, seed)
        certificate = certify_problem(problem, reference.high)
        x = svec(reference.high)
        assert certificate.error_bound <= 1e-11 * np.linalg.norm(x)
        assert certificate.error_bound_beta <= 1e-11 * np.sqrt(x @ problem.beta @ x)


@pytest.mark.parametrize("k", [4, 6, 13, 21, 25, 29])
def test_the_bounds_of_an_answer_at_condition_1e4(k):
    """The solver goes on to the rounding level: its bound once was ten times larger at k = 29."""
    for seed in range(1000, 1004):
        problem = family_problem("condition_1e4", k, seed).problem
        solution = solve_ccp(problem.alpha, problem.beta)
        scale, x = scale_of(problem, solution.X), svec(solution.X)
        assert solution.certificate.error_bound <= 1e-11 * scale
        energy = np.sqrt(x @ problem.beta @ x)
        assert solution.certificate.error_bound_beta <= 1e-11 * energy


@pytest.mark.parametrize("k", [2, 5, 8])
def test_the_smallest_eigenvalue_is_bounded_closely_where_scales_are_mild(k):
    """A congruence that is not needed once cost a factor 100 at k = 2."""
    for seed in range(10):
        known = known_problem(np.random.default_rng(seed), k, 1, condition=1e4)
        certificate = certify_problem(known.problem, known.X)
        assert 0.5e-4 <= certificate.min_eig_beta <= 1.001e-4


@given(known_problems(["generic", "condition_1e4", "congruence", "nonsymmetric"], max_k=5))
@settings(max_examples=40, deadline=None)
def test_the_smallest_eigenvalue_is_bounded_from_below(known):
    certificate = certify_problem(known.problem, known.X)
    corners = np.cumsum([0, *range(known.problem.k, 1, -1)])
    C = known.problem.beta.diagonal()[corners] ** -0.25
    weight = np.outer(C, C)[np.triu_indices(known.problem.k)]
    equilibrated = known.problem.beta * np.outer(weight, weight)  # eigvalsh is accurate here
    lowest = np.linalg.eigvalsh(0.5 * (equilibrated + equilibrated.T))[0]
    upper = known.problem.beta.diagonal().min()
    assert 0.0 < certificate.min_eig_beta <= upper
    if weight.max() < 4 * weight.min():
        lowest_plain = np.linalg.eigvalsh(known.problem.beta + known.problem.beta.T)[0] / 2
        assert certificate.min_eig_beta <= lowest_plain * (1.0 + 1e-9)
        assert certificate.min_eig_beta >= 0.5 * lowest / weight.max() ** 2 / 16


def test_closed_form_at_order_one():
    certificate = certify_ccp([[3.0]], [[2.0]], [[1.75]])
    assert certificate.min_eig_X == 1.75
    assert certificate.min_eig_S == 0.5
    assert certificate.complementarity == 0.875
    assert certificate.objective == -2.1875
    assert 0.25 <= certificate.error_bound < 0.3
    assert 0.25 * np.sqrt(2.0) <= certificate.error_bound_beta < 0.3 * np.sqrt(2.0)
    assert certificate.gap_bound >= 0.0625
    assert certificate.dual_bound <= -2.25
    assert 0.0 < certificate.min_eig_beta <= 2.0


@given(known_problems(DEFINITE, max_k=5), st.floats(-12.0, 0.0), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_residuals_agree_with_their_definitions(known, exponent, seed):
    problem = known.problem
    noise = np.random.default_rng(seed).standard_normal(known.X.shape)
    scale = scale_of(problem, known.X)
    X = known.X + 10.0**exponent * scale * (noise + noise.T)
    certificate = certify_problem(problem, X)
    S = problem.apply(X) - problem.alpha
    norm_beta, norm_alpha = np.linalg.norm(problem.beta, 2), np.linalg.norm(problem.alpha)
    x_scale = max(np.linalg.norm(X), norm_alpha / norm_beta)
    if x_scale == 0.0:
        assert certificate.natural_residual == 0.0
        return
    step = x_scale / (norm_beta * np.linalg.norm(X) + norm_alpha)
    natural = np.linalg.norm(X - psd_part(X - step * S)) / x_scale
    s_scale = norm_beta * np.linalg.norm(X) + norm_alpha
    tiny = 1e-13
    assert abs(certificate.min_eig_X - np.linalg.eigvalsh(X)[0]) <= tiny * x_scale
    assert abs(certificate.min_eig_S - np.linalg.eigvalsh(S)[0]) <= tiny * s_scale
    assert abs(certificate.complementarity - np.vdot(X, S)) <= tiny * x_scale * s_scale
    # ‖β‖₂ in the definition is a scale, estimated here from below to some 10 %
    assert 0.8 * natural - tiny <= certificate.natural_residual <= 1.25 * natural + tiny
    if problem.symmetric:
        objective = 0.5 * np.vdot(X, problem.apply(X)) - np.vdot(problem.alpha, X)
        assert abs(certificate.objective - objective) <= tiny * x_scale * s_scale


@given(known_problems(["generic", "condition_1e4", "nonsymmetric"], max_k=4), st.integers(-60, 60))
@settings(max_examples=30, deadline=None)
def test_certificates_scale_exactly_with_powers_of_two(known, exponent):
    """(α, β, X) ↦ (sα, tβ, (s/t)X) multiplies bounds by s/t and leaves the natural residual."""
    s, t = 2.0 ** (3 * exponent), 2.0 ** (-2 * exponent)
    problem, X = known.problem, 0.5 * (known.X + known.X.T) + 1e-6
    plain = certify_problem(problem, X)
    scaled = certify_ccp(s * problem.alpha, t * problem.beta, (s / t) * X)
    assert scaled.natural_residual == plain.natural_residual
    assert scaled.error_bound == plain.error_bound * (s / t)
    assert scaled.error_bound_beta == pytest.approx(
        plain.error_bound_beta * s / np.sqrt(t), rel=1e-14
    )
    assert scaled.min_eig_S == plain.min_eig_S * s


def test_equivariance_under_orthogonal_changes_of_basis():
    rng = np.random.default_rng(3)
    known = known_problem(rng, 4, 2)
    Q = orthogonal_matrix(rng, 4)
    X = known.X + 1e-5 * np.eye(4)
    plain = certify_problem(known.problem, X)
    turned = certify_ccp(
        _symmetric(Q @ known.problem.alpha @ Q.T),
        lambda M: _symmetric(Q @ known.problem.apply(Q.T @ M @ Q) @ Q.T),
        _symmetric(Q @ X @ Q.T),
    )
    assert turned.error_bound == pytest.approx(plain.error_bound, rel=0.5)
    assert turned.natural_residual == pytest.approx(plain.natural_residual, rel=0.05)
    assert turned.min_eig_X == pytest.approx(plain.min_eig_X, rel=1e-9)


def _symmetric(M):
    return 0.5 * (M + M.T)


@pytest.mark.parametrize("exponent", [-60, 60])
@pytest.mark.parametrize("other", [-60, 60])
def test_scales_of_1e60_do_not_overflow(exponent, other):
    known = known_problem(
        np.random.default_rng(4), 3, 1, alpha_scale=10.0**exponent, beta_scale=10.0**other
    )
    certificate = certify_problem(known.problem, known.X)
    assert certificate.natural_residual <= 1e-14
    assert certificate.error_bound <= 1e-12 * np.linalg.norm(known.X)
    assert known.error(known.X) <= certificate.error_bound


def test_semidefinite_and_indefinite_operators_have_residuals_but_no_bounds():
    problem, _ = unbounded_problem()
    flat = certify_problem(problem, np.eye(2))
    assert np.isinf(flat.error_bound)
    assert np.isinf(flat.gap_bound)
    assert flat.min_eig_beta == 0.0
    assert not flat.is_bounded
    assert flat.natural_residual > 0.1
    indefinite = certify_ccp(np.eye(2), np.diag([1.0, -1.0, 1.0]), np.eye(2))
    assert np.isinf(indefinite.error_bound_beta)
    assert indefinite.dual_bound == -np.inf


def test_no_bound_is_claimed_where_the_smallest_eigenvalue_is_lost_to_rounding():
    Q = orthogonal_matrix(np.random.default_rng(5), 6)
    for smallest in (1e-17, 0.0, -1e-17):
        beta = (Q * [1.0, 1.0, 1.0, 1.0, 1.0, smallest]) @ Q.T
        assert np.isinf(certify_ccp(np.eye(3), 0.5 * (beta + beta.T), np.eye(3)).error_bound)


@pytest.mark.parametrize("k", [2, 6])
def test_bounds_exist_at_condition_1e12(k):
    known = known_problem(np.random.default_rng(6), k, k // 2, condition=1e12)
    certificate = certify_problem(known.problem, known.X)
    assert known.error(known.X) <= certificate.error_bound < 0.1


def test_non_symmetric_operators_have_error_bounds_but_no_objective():
    known = family_problem("nonsymmetric", 3, seed=0)
    certificate = certify_problem(known.problem, known.X)
    assert np.isfinite(certificate.error_bound)
    for value in (certificate.objective, certificate.dual_bound, certificate.gap_bound):
        assert np.isnan(value)


def test_vanishing_data():
    assert certify_ccp([[0.0]], [[1.0]], [[0.0]]).error_bound == 0.0
    assert certify_ccp([[0.0]], [[0.0]], [[3.0]]).natural_residual == 0.0
    assert certify_ccp([[1.0]], [[0.0]], [[3.0]]).natural_residual == pytest.approx(1.0)
    assert certify_ccp([[-1.0]], [[0.0]], [[3.0]]).natural_residual == pytest.approx(0.0, abs=1e-15)
    assert certify_ccp(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 0))).error_bound == 0.0


def test_residuals_fall_along_a_sequence_towards_an_unattained_infimum():
    problem, point = unattained_problem()
    certificates = [certify_problem(problem, point(t)) for t in (1e1, 1e2, 1e3)]
    residuals = [c.natural_residual for c in certificates]
    assert residuals[0] > 50 * residuals[1] > 2500 * residuals[2] > 0.0
    assert all(np.isinf(c.error_bound) for c in certificates)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.eye(2), r"X has shape \(2, 2\); the problem needs \(3, 3\)"),
        (np.full((3, 3), np.nan), "X has 9 NaN"),
        (np.triu(np.ones((3, 3))), "X is not symmetric"),
        (1j * np.eye(3), "X has dtype complex128"),
    ],
)
def test_bad_candidates_are_named(X, message):
    with pytest.raises(InvalidProblemError, match=message):
        certify_ccp(np.eye(3), np.eye(6), X)


def test_huge_candidates_give_infinite_bounds_not_wrong_ones():
    certificate = certify_ccp(np.eye(2), np.eye(3), np.diag([1e300, 1e300]))
    assert certificate.error_bound >= 1e300


def test_one_problem_type_for_all_forms_of_beta():
    known = known_problem(np.random.default_rng(7), 3, 2)
    problem = known.problem
    by_matrix = certify_ccp(problem.alpha, problem.beta, known.X)
    by_callable = certify_ccp(problem.alpha, problem.apply, known.X)
    assert by_callable.natural_residual == pytest.approx(by_matrix.natural_residual, abs=1e-14)
    assert isinstance(problem, ConeComplementarityProblem)
