"""Batches give the answers of single solves, certificates included."""

import numpy as np
import pytest

import ccpsolve
from ccpsolve import Status, solve_ccp, solve_ccp_batch
from ccpsolve.testing import FAMILIES, family_problem, unattained_problem, unbounded_problem


def stacked(problems):
    return np.array([p.alpha for p in problems]), np.array([p.beta for p in problems])


@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_same_answers_as_one_by_one(k):
    problems = [
        family_problem(family, k, seed).problem for family in FAMILIES for seed in range(12)
    ]
    batch = solve_ccp_batch(*stacked(problems), workers=2)
    assert len(batch) == len(problems)
    for index, problem in enumerate(problems):
        single = solve_ccp(problem.alpha, problem.beta)
        np.testing.assert_array_equal(batch.X[index], single.X)
        assert batch.status[index] is single.status
        assert batch[index].certificate == single.certificate or np.isnan(
            single.certificate.gap_bound
        )
        assert batch.certificates["error_bound"][index] == single.certificate.error_bound
        assert batch.iterations[index] == single.iterations
        assert batch.method[index] == single.method


def test_workers_do_not_change_the_answers():
    problems = [family_problem("boundary", 3, seed).problem for seed in range(300)]
    one = solve_ccp_batch(*stacked(problems), workers=1)
    three = solve_ccp_batch(*stacked(problems), workers=3)
    np.testing.assert_array_equal(one.X, three.X)
    np.testing.assert_array_equal(one.certificates, three.certificates)


def test_answers_verify_themselves():
    batch = solve_ccp_batch(*stacked([family_problem("generic", 3, s).problem for s in range(5)]))
    for solution in batch:
        solution.verify()


def test_problems_without_solution_do_not_stop_the_others():
    solvable = family_problem("boundary", 2, 0).problem
    problems = [solvable, unbounded_problem()[0], unattained_problem()[0], solvable]
    batch = solve_ccp_batch(*stacked(problems))
    names = [status.name for status in batch.status]
    assert names == ["SOLVED", "UNBOUNDED", "UNATTAINED", "SOLVED"]
    assert batch[1].ray is not None
    assert batch[-1].status is Status.SOLVED


def test_starting_points():
    problems = [family_problem("boundary", 3, seed).problem for seed in range(5)]
    data = stacked(problems)
    cold = solve_ccp_batch(*data)
    warm = solve_ccp_batch(*data, x0=cold.X)
    np.testing.assert_allclose(warm.X, cold.X, atol=1e-13)
    assert warm.iterations.sum() <= 5
    assert warm.iterations.sum() < cold.iterations.sum()


def test_one_operator_for_all():
    alphas = np.array([np.diag([2.0, -1.0]), np.eye(2)])
    np.testing.assert_allclose(
        solve_ccp_batch(alphas, np.eye(3)).X, [np.diag([2.0, 0.0]), np.eye(2)], atol=1e-15
    )


@pytest.mark.parametrize("shape", [(0, 3, 3), (4, 0, 0), (0, 0, 0)])
def test_empty_batches(shape):
    n = shape[1] * (shape[1] + 1) // 2
    batch = solve_ccp_batch(np.zeros(shape), np.zeros((shape[0], n, n)))
    assert batch.X.shape == shape
    assert len(batch.status) == len(batch) == shape[0]
    assert all(status is Status.SOLVED for status in batch.status)


def test_data_of_the_caller_stay_as_they_are():
    alphas, betas = stacked([family_problem("boundary", 3, 0).problem])
    alphas[0, 0, 1] *= 1.0 + 1e-13  # an asymmetry within rounding is averaged out
    before = alphas.copy()
    solve_ccp_batch(alphas, betas)
    np.testing.assert_array_equal(alphas, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: (a[0], b), "alphas has shape"),
        (lambda a, b: (a, b[:, :2]), "betas has shape"),
        (lambda a, b: (a * 1j, b), "alphas has dtype complex"),
        (lambda a, b: (np.where(a == a[1, 0, 0], np.nan, a), b), "problem 1 of the batch: alpha"),
        (lambda a, b: (a, np.where(b == b[1, 0, 0], np.inf, b)), "problem 1 of the batch: beta"),
        (lambda a, b: (np.triu(a), b), "problem 0 of the batch: alpha is not symmetric"),
    ],
)
def test_wrong_data_are_named(change, message):
    alphas, betas = stacked([family_problem("generic", 2, seed).problem for seed in range(3)])
    with pytest.raises(ccpsolve.InvalidProblemError, match=message):
        solve_ccp_batch(*change(alphas, betas))


@pytest.mark.parametrize(
    "options",
    [
        {"tol": 2.0},
        {"tol": "small"},
        {"workers": 0},
        {"workers": "all"},
        {"x0": np.zeros((1, 3, 3))},
    ],
)
def test_wrong_options_are_named(options):
    alphas, betas = stacked([family_problem("generic", 2, seed).problem for seed in range(3)])
    with pytest.raises(ccpsolve.InvalidProblemError, match=next(iter(options))):
        solve_ccp_batch(alphas, betas, **options)
