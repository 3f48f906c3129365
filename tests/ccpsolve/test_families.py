"""Random problems of every family: a sample of the study `bench.ccp_families`, and the study."""

import dataclasses

import numpy as np
import pytest

from bench import ccp_families
from bench.ccp_families import FURTHER, USUAL, Draw, check, natural_residual
from ccpsolve._certificate import certify_problem
from ccpsolve.testing import FAMILIES, family_problem


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_is_right(family):
    for index in range(30):
        answer = check(Draw(family, 1 + index % 15, 10**6 + index))
        assert not answer.failure, answer


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tenth_of_the_study(family):
    count = 10_000 // len(USUAL) if family in USUAL else 200
    for index in range(count):
        answer = check(Draw(family, 1 + index % 30, index))
        assert not answer.failure, answer


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_large_orders(family):
    for k in (31, 40, 50, 60):
        answer = check(Draw(family, k, k))
        assert not answer.failure, answer


@pytest.mark.parametrize("family", ["boundary", "nonsymmetric", "scaled"])
def test_the_independent_residual_agrees_with_the_certificate(family):
    problem = family_problem(family, 4, 0).problem
    noise = np.random.default_rng(0).standard_normal((4, 4))
    X = (noise + noise.T) * np.linalg.norm(problem.alpha) / np.linalg.norm(problem.beta)
    ours = natural_residual(problem, X, float(np.linalg.norm(problem.beta, 2)))
    certified = certify_problem(problem, X).natural_residual
    assert ours / 1.5 <= certified <= 1.5 * ours


def test_the_study_names_what_it_promises():
    todo = list(ccp_families.draws(100_000, 2000, 160, 0))
    usual = [draw for draw in todo if draw.family in USUAL and draw.k <= 30]
    assert len(USUAL) == 12
    assert len(usual) >= 100_000
    assert {draw.k for draw in usual} == set(range(1, 31))
    assert len(set(todo)) == len(todo)
    large = [draw for draw in todo if draw.k > 30]
    assert {draw.k for draw in large} == set(range(31, 61))
    assert {draw.family for draw in large} == set(FAMILIES)


def test_wrong_answers_fail(monkeypatch):
    def wrong(problem):
        solution = solve(problem)
        return dataclasses.replace(solution, X=solution.X * (1.0 + 1e-9))

    def broken(problem):
        raise ZeroDivisionError("a test")

    solve = ccp_families.solve_problem
    monkeypatch.setattr(ccp_families, "solve_problem", wrong)
    assert "natural residual" in check(Draw("boundary", 3, 0)).failure
    monkeypatch.setattr(ccp_families, "solve_problem", broken)
    assert "ZeroDivisionError" in check(Draw("boundary", 3, 0)).failure


def test_an_error_above_its_bound_fails():
    good = check(Draw("boundary", 3, 0))
    above = dataclasses.replace(good, error=2.0 * (good.bound + good.rounding))
    assert "bound" in ccp_families.failure_of(above)
    unbounded = dataclasses.replace(above, bound=np.inf)
    assert not ccp_families.failure_of(unbounded)


def test_a_small_study_writes_its_files_and_goes_on_from_them(tmp_path, monkeypatch, capsys):
    options = ["--processes", "1", "--further", "1", "--large", "0", "--out", str(tmp_path)]
    assert ccp_families.main(["--count", "12", *options]) == 0
    first = (tmp_path / "ccp_families.csv").read_text().splitlines()
    assert len(first) == 1 + 12 + len(FURTHER)
    table = (tmp_path / "ccp_families.md").read_text()
    assert all(f"| {family} |" in table for family in FAMILIES)
    monkeypatch.setattr(ccp_families, "_RESIDUAL", -1.0)
    assert ccp_families.main(["--count", "24", "--resume", *options]) == 1
    lines = (tmp_path / "ccp_families.csv").read_text().splitlines()
    assert lines[: len(first)] == first
    assert len(lines) == len(first) + 12
    assert "12 of 28 failed" in capsys.readouterr().out
