"""External solvers: their answers agree with the construction and are certified by us."""

import importlib
import sys

import numpy as np
import pytest

from ccpsolve import InvalidProblemError, MissingBackendError, Status, solve_ccp
from ccpsolve._solver.conic import conic_program, solve_conic
from ccpsolve._symmetric import svec
from ccpsolve.testing import family_problem, unattained_problem, unbounded_problem

METHODS = ["scs", "clarabel", "cvxpy"]
ACCURACY = {"scs": 1e-7, "clarabel": 1e-5, "cvxpy": 1e-3}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["boundary", "interior", "negative", "scaled", "nonsymmetric"])
def test_external_solvers_agree_with_the_construction(method, family):
    known = family_problem(family, 3, seed=11)
    solution = solve_conic(known.problem, method, tol=1e-8)
    scale = np.linalg.norm(known.X) or np.linalg.norm(known.problem.alpha)
    assert known.error(solution.X) <= ACCURACY[method] * scale
    assert known.error(solution.X) <= solution.certificate.error_bound + known.rounding
    assert solution.method == method
    solution.verify()


@pytest.mark.parametrize("method", METHODS)
def test_they_agree_with_ours(method):
    known = family_problem("generic", 4, seed=3)
    ours = solve_ccp(known.problem.alpha, known.problem.beta)
    theirs = solve_ccp(known.problem.alpha, known.problem.beta, method=method, tol=1e-5)
    bound = ours.certificate.error_bound + theirs.certificate.error_bound
    assert np.linalg.norm(ours.X - theirs.X) <= bound
    assert theirs.status.ok


@pytest.mark.parametrize("method", ["scs", "clarabel"])
def test_unbounded_problems_come_with_a_checked_ray(method):
    problem, _ = unbounded_problem()
    solution = solve_conic(problem, method, tol=1e-8)
    assert solution.status is Status.UNBOUNDED
    solution.verify()


@pytest.mark.parametrize("method", METHODS)
def test_an_unattained_infimum_is_never_called_solved(method):
    problem, _ = unattained_problem()
    assert solve_conic(problem, method, tol=1e-10).status is not Status.SOLVED


@pytest.mark.parametrize("method", METHODS)
def test_order_zero(method):
    solution = solve_ccp(np.zeros((0, 0)), np.zeros((0, 0)), method=method)
    assert solution.status is Status.SOLVED
    assert solution.X.shape == (0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_package_is_named_with_the_extra(method, monkeypatch):
    monkeypatch.setitem(sys.modules, method, None)
    problem = family_problem("generic", 2, seed=0).problem
    with pytest.raises(MissingBackendError, match=rf"{method} is not installed.*ccpsolve\[conic\]"):
        solve_conic(problem, method, tol=1e-8)
    with pytest.raises(ImportError):
        solve_conic(problem, method, tol=1e-8)


@pytest.mark.parametrize("family", ["boundary", "nonsymmetric", "rank_deficient"])
def test_the_cvxpy_problem_has_the_right_minimum(family):
    known = family_problem(family, 3, seed=2)
    value = known.problem.to_cvxpy().solve()
    at_solution = -0.5 * np.vdot(known.problem.alpha, known.X)
    expected = at_solution if known.problem.symmetric else 0.0
    assert value == pytest.approx(expected, abs=1e-5 * (1.0 + abs(at_solution)))


def test_the_cvxpy_problem_of_an_indefinite_operator_is_refused():
    with pytest.raises(InvalidProblemError, match="negative eigenvalue"):
        _problem(np.eye(2), np.diag([1.0, -1.0, 1.0])).to_cvxpy()
    with pytest.raises(InvalidProblemError, match="order 0"):
        _problem(np.zeros((0, 0)), np.zeros((0, 0))).to_cvxpy()


def _problem(alpha, beta):
    return importlib.import_module("ccpsolve").ConeComplementarityProblem(alpha, beta)


@pytest.mark.parametrize("family", ["boundary", "nonsymmetric"])
def test_the_standard_form_is_feasible_and_optimal_at_the_solution(family):
    known = family_problem(family, 4, seed=5)
    program = conic_program(known.problem)
    x = svec(known.X)
    slack = program.b - program.A @ x
    parts = slack.reshape(program.cones, -1)
    assert np.allclose(parts[0], x)
    if program.cones == 2:
        assert np.allclose(parts[1], svec(known.S), atol=1e-13)
    value = 0.5 * x @ (program.P @ x) + program.q @ x
    expected = -0.5 * np.vdot(known.problem.alpha, known.X) if known.problem.symmetric else 0.0
    assert value == pytest.approx(expected, abs=1e-13)
