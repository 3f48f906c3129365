"""The benchmark runs, judges answers by its own residuals, and reports what it measured."""

import csv
import math

import numpy as np
import pytest

from bench import ccp
from bench.ccp_report import shifted_geometric_mean
from bench.ccp_solvers import Case
from ccpsolve.testing import family_problem


def test_a_small_run_writes_table_plot_and_numbers(tmp_path):
    solvers = ["ours, kernel, cold", "ours, kernel, warm", "ours, certificate", "SCS, direct"]
    families = ["boundary", "nonsymmetric"]
    options = ["--k", "2", "--seeds", "1", "--out", str(tmp_path), "--flows", str(tmp_path / "no")]
    ccp.main([*options, "--families", *families, "--solvers", *solvers])
    with (tmp_path / "ccp.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["family"], row["solver"]) for row in rows] == [
        (family, solver) for family in families for solver in solvers
    ]
    for row in rows:
        assert float(row["residual"]) <= 1e-8
        assert 0.0 < float(row["floors"]) < 1e6
    report = (tmp_path / "ccp.md").read_text()
    assert all(name in report for name in [*solvers, *families, "against the limits"])
    assert (tmp_path / "ccp.svg").stat().st_size > 1000


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    options = ["--k", "2", "--seeds", "1", "--out", str(tmp_path), "--flows", str(tmp_path / "no")]
    options += ["--solvers", "ours, kernel, cold", "--families", "boundary", "nonsymmetric"]
    measure = ccp.measure

    def interrupted(case, seed, solvers):
        if case.family == "nonsymmetric":
            raise KeyboardInterrupt
        return measure(case, seed, solvers)

    monkeypatch.setattr(ccp, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ccp.main(options)
    first = (tmp_path / "ccp.csv").read_text()
    assert first.count("boundary") == 1
    monkeypatch.setattr(ccp, "measure", measure)
    ccp.main([*options, "--resume"])
    whole = (tmp_path / "ccp.csv").read_text()
    assert whole.startswith(first)
    assert whole.count("boundary") == whole.count("nonsymmetric") == 1


def test_wrong_answers_are_not_successes(monkeypatch):
    known = family_problem("boundary", 2, seed=0)
    case = Case.make("boundary", known, seed=0)
    answers = {"nothing": None, "zero": np.zeros((2, 2)), "nan": np.full((2, 2), np.nan)}
    for name, X in answers.items():
        monkeypatch.setitem(ccp.PYTHON, name, lambda case, X=X: lambda: X)
    rows = {row.solver: row for row in ccp.measure(case, 0, list(answers))}
    assert math.isinf(rows["nothing"].residual)
    assert math.isinf(rows["nan"].residual)
    assert rows["zero"].residual > 0.01
    assert rows["zero"].error == pytest.approx(1.0)


def test_solvers_that_do_not_take_a_problem_are_left_out():
    known = family_problem("nonsymmetric", 2, seed=0)
    case = Case.make("nonsymmetric", known, seed=0)
    assert not list(ccp.measure(case, 0, ["cvxpy + CVXOPT (published)"]))


def test_the_shifted_geometric_mean_is_between_the_extremes():
    assert shifted_geometric_mean([2.0, 2.0]) == pytest.approx(2.0)
    assert 1.0 < shifted_geometric_mean([1.0, 100.0]) < 50.0
    assert math.isnan(shifted_geometric_mean([]))
