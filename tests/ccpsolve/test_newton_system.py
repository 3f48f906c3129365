"""The linear system of a Newton step has one solution, however it is found."""

import numpy as np
import pytest

from ccpsolve import svec
from ccpsolve._known_problems import known_problem
from ccpsolve._numba import jit
from ccpsolve._solver.driver import allocate
from ccpsolve._solver.dual_system import dual_trial, factor_beta
from ccpsolve._solver.pair_system import boundary_trial, old_factor_trial
from ccpsolve._solver.scaling import prepare
from ccpsolve._solver.workspace import (
    BETA,
    PIVOT_RATIO,
    ROWS,
    STEP,
    TRIAL,
    VALUES,
    X,
    make_workspace,
)

GAMMA = 0.7


@jit
def trial(way, alpha, beta, r, rows, values, x, right, buffer, integers):
    ws = make_workspace(buffer, integers, alpha.shape[0])
    prepare(alpha, beta, 1, 0, ws)
    scaled = ws.operators[BETA].reshape(beta.shape)
    ws.squares[ROWS][:] = rows
    ws.spectra[VALUES][:] = values
    ws.vectors[X][:] = x
    ws.vectors[STEP][:] = right
    if way == 1:
        solved = factor_beta(ws) and dual_trial(r, GAMMA, ws)
    else:
        ws.scalars[PIVOT_RATIO] = 0.0  # rules the dual unknowns out
        solved = boundary_trial(scaled, r, GAMMA, 0.0, ws)
    if way == 2:
        old_factor_trial(scaled, r, GAMMA, ws)
    return solved, ws.vectors[TRIAL].copy()


@pytest.mark.parametrize(("k", "r"), [(2, 1), (5, 2), (7, 6), (12, 4), (12, 10), (16, 14), (17, 9)])
def test_dual_unknowns_and_the_kept_factor_give_the_step_of_the_direct_system(k, r):
    rng = np.random.default_rng(k)
    problem = known_problem(rng, k, r, condition=100.0).problem
    rows = np.linalg.qr(rng.standard_normal((k, k)))[0]
    values = np.concatenate([rng.uniform(1.0, 2.0, r), -rng.uniform(1.0, 2.0, k - r)])
    values = np.sort(values)[::-1]
    x = svec((rows.T * np.maximum(values, 0.0)) @ rows)
    right = rng.standard_normal(x.size)
    data = (problem.alpha, problem.beta, r, rows, values, x, right)
    answers = [trial(way, *data, *allocate(k)) for way in range(3)]
    solved, (direct, dual, kept) = zip(*answers, strict=True)
    assert all(solved)
    size = np.linalg.norm(direct - x)
    assert np.linalg.norm(dual - direct) <= 1e-11 * size
    assert np.linalg.norm(kept - direct) <= 1e-11 * size
