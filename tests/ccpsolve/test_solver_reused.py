"""A reused `CCPSolver` gives the answers of `solve_ccp`, and refuses what that refuses."""

import numpy as np
import pytest

import ccpsolve
from ccpsolve import CCPSolver, InvalidProblemError, Status, solve_ccp
from ccpsolve.testing import FAMILIES, family_problem


@pytest.mark.parametrize("k", [1, 4])
def test_answers_do_not_depend_on_what_was_solved_before(k):
    solver = CCPSolver(k)
    for family in FAMILIES:
        problem = family_problem(family, k, seed=5).problem
        alpha, beta = problem.alpha.copy(), problem.beta.copy()
        reused, once = solver.solve(alpha, beta), solve_ccp(alpha, beta, throw=False)
        assert reused.status is once.status
        assert reused.problem.symmetric == once.problem.symmetric
        np.testing.assert_array_equal(reused.X, once.X)
        np.testing.assert_array_equal(alpha, problem.alpha)
        np.testing.assert_array_equal(beta, problem.beta)
        reused.verify()


def test_later_solves_leave_earlier_answers_alone():
    solver, known = CCPSolver(3), family_problem("boundary", 3, seed=1)
    first = solver.solve(known.problem.alpha, known.problem.beta)
    X, S = first.X.copy(), first.S.copy()
    solver.solve(-np.eye(3), np.eye(6))
    np.testing.assert_array_equal(first.X, X)
    np.testing.assert_array_equal(first.S, S)


def test_a_starting_point_saves_steps():
    known = family_problem("boundary", 5, seed=2)
    data = known.problem.alpha, known.problem.beta
    solver = CCPSolver(5)
    assert solver.solve(*data, x0=known.X).iterations < solver.solve(*data).iterations


def test_other_forms_of_the_data_are_taken():
    eye = np.eye(2)
    forms = [np.eye(3).tolist(), np.eye(3, dtype=int), np.einsum("il,jm->ijlm", eye, eye), np.array]
    for beta in forms:
        solution = CCPSolver(2).solve([[2, 0], [0, -1]], beta)
        np.testing.assert_array_equal(solution.X, np.diag([2.0, 0.0]))
    rounded = np.array([[1.0, 0.5], [0.5 + 1e-15, 1.0]])
    averaged = CCPSolver(2).solve(rounded, np.eye(3)).problem.alpha
    np.testing.assert_array_equal(averaged, solve_ccp(rounded, np.eye(3)).problem.alpha)


@pytest.mark.parametrize(
    ("alpha", "beta", "message"),
    [
        (np.full((2, 2), np.nan), np.eye(3), "alpha has 4 NaN"),
        (np.eye(2), np.full((3, 3), np.inf), "beta has 9 NaN or infinite"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), np.eye(3), "alpha is not symmetric"),
        (np.eye(3), np.eye(6), "alpha has order 3; this solver is for 2"),
        (np.eye(2), np.eye(4), r"beta has shape \(4, 4\)"),
    ],
)
def test_wrong_data_are_named(alpha, beta, message):
    with pytest.raises(InvalidProblemError, match=message):
        CCPSolver(2).solve(alpha, beta)


def test_problems_without_solution_have_their_status():
    solution = CCPSolver(1).solve([[1.0]], [[0.0]])
    assert solution.status is Status.UNBOUNDED
    assert CCPSolver(0).solve(np.zeros((0, 0)), np.zeros((0, 0))).status is Status.SOLVED
    for k in (-1, 2.5, "two", True):
        with pytest.raises(ccpsolve.InvalidProblemError, match=f"k is {k!r}; allowed"):
            CCPSolver(k)
