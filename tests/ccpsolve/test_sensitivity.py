"""Derivatives of the solution: central differences, adjointness, refusal where there are none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccpsolve import (
    ConeComplementarityProblem,
    InvalidProblemError,
    NotDifferentiableError,
    solve_ccp,
)
from ccpsolve._certificate import certify_problem
from ccpsolve._sensitivity import SolutionDerivative, solution_jvp, solution_vjp
from ccpsolve.testing import family_problem, known_problem, known_problems

STRICT = ["generic", "interior", "boundary", "negative", "scaled", "congruence", "nonsymmetric"]


def directions(problem, seed):
    """Draw directions of α and β, of the size of the entries they change."""
    rng = np.random.default_rng(seed)
    d_alpha = rng.standard_normal((problem.k, problem.k))
    d_beta = rng.standard_normal((problem.n, problem.n))
    if problem.symmetric:
        d_beta = d_beta + d_beta.T
    corners = np.cumsum([0, *range(problem.k, 1, -1)])
    stretch = np.outer(*2 * [problem.beta.diagonal()[corners] ** 0.25])
    weight = stretch[np.triu_indices(problem.k)]
    size = np.abs(problem.alpha / stretch).max() or 1.0
    return size * stretch * (d_alpha + d_alpha.T), np.outer(weight, weight) * d_beta


def central_difference(problem, d_alpha, d_beta, step):
    """Fourth-order central difference of the solution along a direction of the data."""

    def X(t):
        return solve_ccp(problem.alpha + t * d_alpha, problem.beta + t * d_beta, tol=1e-9).X

    first, second = X(step) - X(-step), X(2 * step) - X(-2 * step)
    return (8.0 * first - second) / (12.0 * step)


@given(known_problems(STRICT, max_k=5), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_jvp_agrees_with_central_differences(known, seed):
    problem = known.problem
    d_alpha, d_beta = directions(problem, seed)
    found = solution_jvp(problem, d_alpha, d_beta)
    expected = central_difference(problem, d_alpha, d_beta, step=2e-5)
    stretch = np.sqrt(np.outer(*2 * [np.abs(found).diagonal() + np.abs(known.X).diagonal()]))
    size = np.maximum(np.abs(found), stretch).max()
    assert np.abs(found - expected).max() <= 1e-6 * size


@given(known_problems(STRICT, max_k=5), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_vjp_is_the_adjoint_of_jvp(known, seed):
    problem = known.problem
    derivative = SolutionDerivative(problem)
    d_alpha, d_beta = directions(problem, seed)
    cotangent = np.random.default_rng(seed + 1).standard_normal(problem.alpha.shape)
    cotangent = cotangent + cotangent.T
    forward = np.vdot(cotangent, derivative.jvp(d_alpha, d_beta))
    alpha_gradient, beta_gradient = derivative.vjp(cotangent)
    backward = np.vdot(alpha_gradient, d_alpha) + np.vdot(beta_gradient, d_beta)
    terms = np.abs(alpha_gradient * d_alpha).sum() + np.abs(beta_gradient * d_beta).sum()
    assert abs(forward - backward) <= 1e-10 * terms


def test_closed_form_at_order_one():
    problem = ConeComplementarityProblem([[3.0]], [[2.0]])
    assert problem.jvp([[1.0]])[0, 0] == pytest.approx(0.5, rel=1e-15)
    assert problem.jvp(d_beta=[[1.0]])[0, 0] == pytest.approx(-0.75, rel=1e-15)
    assert not ConeComplementarityProblem([[-3.0]], [[2.0]]).jvp([[1.0]], [[1.0]]).any()


def test_the_derivative_of_the_projection_is_known():
    """For β = I, X = Π(α), whose derivative in the eigenbasis of α is a divided difference."""
    alpha = np.diag([2.0, 1.0, -3.0])
    direction = np.ones((3, 3))
    expected = np.array([[1.0, 1.0, 2 / 5], [1.0, 1.0, 1 / 4], [2 / 5, 1 / 4, 0.0]])
    found = solution_jvp(ConeComplementarityProblem(alpha, np.eye(6)), direction)
    assert np.allclose(found, expected, atol=1e-14)


def test_moving_along_the_scaling_of_the_data():
    """X(sα, tβ) = (s/t) X(α, β), so the derivative along (α, 0) is X and along (0, β) is −X."""
    known = known_problem(np.random.default_rng(0), 4, 2)
    problem = known.problem
    assert np.allclose(problem.jvp(problem.alpha), known.X, atol=1e-13)
    assert np.allclose(problem.jvp(d_beta=problem.beta), -known.X, atol=1e-13)


def test_a_given_solution_is_used_and_directions_take_every_form_of_beta():
    known = known_problem(np.random.default_rng(1), 3, 2)
    problem = known.problem
    solution = solve_ccp(problem.alpha, problem.beta)
    by_matrix = problem.jvp(d_beta=problem.beta, solution=solution)
    by_callable = problem.jvp(d_beta=problem.apply, solution=solution)
    assert np.allclose(by_matrix, by_callable, atol=1e-13)
    gradients = problem.vjp(np.eye(3), solution=solution)
    for ours, again in zip(gradients, solution_vjp(problem, np.eye(3)), strict=True):
        assert np.array_equal(ours, again)


@pytest.mark.parametrize("seed", range(8))
def test_degenerate_solutions_are_refused(seed):
    known = family_problem("degenerate", 4, seed)
    with pytest.raises(NotDifferentiableError, match="not strictly complementary"):
        known.problem.jvp(np.eye(4))


@pytest.mark.parametrize("alpha", [0.0, 1e-12])
def test_the_kink_at_order_one_is_refused(alpha):
    problem = ConeComplementarityProblem([[alpha, 0.0], [0.0, 1.0]], np.eye(3))
    with pytest.raises(NotDifferentiableError):
        problem.vjp(np.eye(2))


def test_degeneracy_hidden_by_conditioning_is_refused():
    """At condition 1e8 zero eigenvalues of the computed solution are far above rounding."""
    for seed in range(5):
        known = known_problem(np.random.default_rng(seed), 4, 1, 1, condition=1e8)
        with pytest.raises(NotDifferentiableError):
            known.problem.jvp(np.eye(4))


def test_a_solution_that_is_not_unique_is_refused():
    problem = ConeComplementarityProblem(np.diag([1.0, 0.0]), np.diag([1.0, 1.0, 0.0]))
    solution = solve_ccp(np.diag([1.0, -1.0]), np.eye(3))
    X = np.diag([1.0, 1.0])
    one_of_many = replace(
        solution, problem=problem, X=X, S=np.zeros((2, 2)), certificate=certify_problem(problem, X)
    )
    with pytest.raises(NotDifferentiableError, match="not unique"):
        problem.jvp(np.eye(2), solution=one_of_many)


def test_order_zero():
    problem = ConeComplementarityProblem(np.zeros((0, 0)), np.zeros((0, 0)))
    assert problem.jvp(np.zeros((0, 0))).shape == (0, 0)
    assert [part.shape for part in problem.vjp(np.zeros((0, 0)))] == [(0, 0), (0, 0)]


def test_bad_directions_are_named():
    problem = ConeComplementarityProblem(np.diag([1.0, -1.0]), np.eye(3))
    with pytest.raises(InvalidProblemError, match=r"d_alpha has shape \(1, 1\)"):
        problem.jvp([[1.0]])
    with pytest.raises(InvalidProblemError, match="d_alpha is not symmetric"):
        problem.jvp([[0.0, 1.0], [0.0, 0.0]])
    with pytest.raises(InvalidProblemError, match=r"d_beta has shape \(2, 2\)"):
        problem.jvp(d_beta=np.eye(2))
    with pytest.raises(InvalidProblemError, match="cotangent has 1 NaN"):
        problem.vjp([[np.nan, 0.0], [0.0, 0.0]])
    other = solve_ccp([[1.0]], [[1.0]])
    with pytest.raises(InvalidProblemError, match="solution has X of shape"):
        problem.jvp(np.eye(2), solution=other)
