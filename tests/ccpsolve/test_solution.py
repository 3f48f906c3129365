"""A solution checks itself against the data: tampering with any part of it is seen."""

from dataclasses import replace

import numpy as np
import pytest

from ccpsolve import Solution, Status, VerificationError
from ccpsolve._certificate import certify_problem
from ccpsolve.testing import FAMILIES, family_problem, unbounded_problem


def claimed_solution(known):
    problem, X = known.problem, 0.5 * (known.X + known.X.T)
    S = problem.apply(X) - problem.alpha
    return Solution(problem, X, S, Status.SOLVED, certify_problem(problem, X), 1, "construction")


@pytest.fixture
def solution():
    return claimed_solution(family_problem("boundary", 4, seed=0))


@pytest.mark.parametrize("family", FAMILIES)
def test_solutions_of_every_family_verify(family):
    for k in (1, 3, 6):
        solution = claimed_solution(family_problem(family, k, seed=k))
        assert solution.verify().natural_residual == solution.certificate.natural_residual


def test_another_X_is_seen(solution):
    with pytest.raises(VerificationError, match="recorded as"):
        replace(solution, X=solution.X + 1e-6 * np.eye(4)).verify()


def test_another_S_is_seen(solution):
    with pytest.raises(VerificationError, match="S differs from"):
        replace(solution, S=solution.S + 1e-6 * np.eye(4)).verify()


@pytest.mark.parametrize("name", ["natural_residual", "error_bound", "min_eig_S", "gap_bound"])
def test_a_flattering_certificate_is_seen(solution, name):
    worse = solution.X + 1e-3 * np.eye(4)
    honest = replace(
        solution,
        X=worse,
        S=solution.problem.apply(worse) - solution.problem.alpha,
        certificate=certify_problem(solution.problem, worse),
    )
    honest.verify()
    flattered = replace(honest.certificate, **{name: getattr(solution.certificate, name)})
    with pytest.raises(VerificationError, match=rf"certificate\.{name}"):
        replace(honest, certificate=flattered).verify()


def test_rays_are_checked():
    problem, ray = unbounded_problem()
    X = np.zeros((2, 2))
    certificate = certify_problem(problem, X)
    solution = Solution(
        problem, X, -problem.alpha, Status.UNBOUNDED, certificate, 0, "by hand", ray
    )
    solution.verify()
    for wrong, condition in (
        (-ray, "D ⪰ 0"),
        (np.eye(2), r"β\[D\] = 0"),
        (np.zeros((2, 2)), "⟨α, D⟩ > 0"),
    ):
        with pytest.raises(VerificationError, match=condition):
            replace(solution, ray=wrong).verify()
    with pytest.raises(VerificationError, match="no ray"):
        replace(solution, ray=None).verify()


def test_solutions_cannot_be_changed(solution):
    with pytest.raises(AttributeError):
        solution.X = np.eye(4)


def test_status_values_are_stable_and_say_what_to_do():
    assert [status.value for status in Status] == list(range(7))
    assert [status.name for status in Status if status.ok] == ["SOLVED", "ALMOST_SOLVED"]
    for status in Status:
        assert status.message.endswith(".")
        assert "\n" not in status.message
        assert Status(status.value) is status
