"""The shipped problem generators keep their promises."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from ccpsolve import MissingBackendError
from ccpsolve._certificate import certify_problem
from ccpsolve.testing import (
    FAMILIES,
    family_problem,
    known_problem,
    known_problems,
    orthogonal_matrix,
    symmetric_matrices,
    unattained_problem,
    unbounded_problem,
)

from .high_precision import reference_solution


@given(known_problems(max_k=8))
@settings(max_examples=120, deadline=None)
def test_the_construction_solves_the_problem(known):
    assert certify_problem(known.problem, known.X).natural_residual <= 1e-14
    sizes = np.linalg.norm(known.X) * np.linalg.norm(known.S)
    assert abs(np.vdot(known.X, known.S)) <= 1e-13 * sizes


@given(st.integers(1, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_ranks_are_as_ordered(k, data):
    rank_X = data.draw(st.integers(0, k))
    rank_S = data.draw(st.integers(0, k - rank_X))
    seed = data.draw(st.integers(0, 999))
    known = known_problem(np.random.default_rng(seed), k, rank_X, rank_S)
    assert np.linalg.matrix_rank(known.X, tol=1e-8) == rank_X
    assert np.linalg.matrix_rank(known.S, tol=1e-8) == rank_S


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e8])
def test_the_condition_is_as_ordered(condition):
    known = known_problem(np.random.default_rng(0), 4, 2, condition=condition)
    values = np.linalg.eigvalsh(known.problem.beta)
    assert values[-1] / values[0] == pytest.approx(condition, rel=1e-6)


def test_scales_are_as_ordered():
    plain = known_problem(np.random.default_rng(1), 3, 2)
    scaled = known_problem(np.random.default_rng(1), 3, 2, alpha_scale=2.0**20, beta_scale=2.0**-9)
    assert np.array_equal(scaled.problem.alpha, plain.problem.alpha * 2.0**20)
    assert np.array_equal(scaled.problem.beta, plain.problem.beta * 2.0**-9)
    assert np.array_equal(scaled.X, plain.X * 2.0**29)
    assert scaled.rounding == plain.rounding * 2.0**29


@pytest.mark.parametrize(
    ("family", "holds"),
    [
        ("interior", lambda known: not known.S.any()),
        ("negative", lambda known: not known.X.any()),
        ("nonsymmetric", lambda known: not known.problem.symmetric),
        ("condition_1e12", lambda known: np.linalg.cond(known.problem.beta) > 1e11),
        ("rank_deficient", lambda known: np.linalg.matrix_rank(known.problem.beta) < 10),
        (
            "degenerate",
            lambda known: (
                np.linalg.matrix_rank(known.X, tol=1e-8) + np.linalg.matrix_rank(known.S, tol=1e-8)
                < 4
            ),
        ),
        ("congruence", lambda known: np.ptp(np.log10(known.problem.beta.diagonal())) > 2.0),
        ("boundary", lambda known: known.X.any() and known.S.any()),
    ],
)
def test_families_are_what_they_are_called(family, holds):
    for seed in range(5):
        assert holds(family_problem(family, 4, seed))


def test_the_same_seed_gives_the_same_problem():
    for name in FAMILIES:
        first, second = (family_problem(name, 3, seed=5) for _ in range(2))
        assert np.array_equal(first.problem.alpha, second.problem.alpha)
        assert np.array_equal(first.problem.beta, second.problem.beta)


@pytest.mark.parametrize("family", ["boundary", "condition_1e4", "congruence", "nonsymmetric"])
def test_rounding_bounds_the_distance_to_the_solution_of_the_stored_data(family):
    for seed in range(4):
        known = family_problem(family, 3, seed)
        reference = reference_solution(known.problem, known.X)
        assert np.linalg.norm(reference.difference(known.X)) <= known.rounding


def test_orthogonal_matrices_have_both_determinants():
    rng = np.random.default_rng(2)
    signs = [np.sign(np.linalg.det(orthogonal_matrix(rng, 3))) for _ in range(40)]
    assert {-1.0, 1.0} == set(signs)


def test_the_unbounded_problem_falls_along_its_ray():
    problem, ray = unbounded_problem()
    assert np.linalg.eigvalsh(ray)[0] >= 0.0
    assert not problem.apply(ray).any()
    assert np.vdot(problem.alpha, ray) > 0.0


def test_the_unattained_infimum_is_approached_but_not_reached():
    problem, point = unattained_problem()
    values = []
    for t in (1.0, 10.0, 1e3):
        X = point(t)
        assert np.linalg.eigvalsh(X)[0] >= -1e-15
        values.append(0.5 * np.vdot(X, problem.apply(X)) - np.vdot(problem.alpha, X))
    assert np.allclose(values, [0.0, -0.5 + 0.5e-2, -0.5 + 0.5e-6], atol=1e-12)


def test_strategies_shrink_to_small_problems():
    known = find(known_problems(), lambda _: True)
    assert known.problem.k == 1
    assert not find(symmetric_matrices(3), lambda _: True).any()
    assert find(symmetric_matrices(2), lambda X: X[0, 1] >= 1.0)[0, 1] == 1.0


def test_without_hypothesis_only_the_strategies_are_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert family_problem("generic", 2, seed=0).problem.k == 2
    with pytest.raises(MissingBackendError, match=r"hypothesis is not installed.*ccpsolve\[test\]"):
        known_problems()


def test_importing_the_generators_does_not_import_hypothesis():
    code = "import sys, ccpsolve.testing; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
