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
from ccpsolve._solver.svec_kernels import copy
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
from ccpsolve._view import view

GAMMA = 0.7


@jit
def trial(way, alpha, beta, r, rows, values, x, right, buffer, integers, out):
    ws = make_workspace(buffer, integers, alpha.shape[0])
    prepare(alpha, beta, 1, 0, ws)
    scaled = view(ws.operators[BETA], beta.shape)
    for i in range(len(values)):
        copy(rows[i], ws.squares[ROWS, i])
    copy(values, ws.spectra[VALUES])
    copy(x, ws.vectors[X])
    copy(right, ws.vectors[STEP])
    if way == 1:
        solved = factor_beta(ws) and dual_trial(r, GAMMA, ws)
    else:
        ws.scalars[PIVOT_RATIO] = 0.0  # rules the dual unknowns out
        solved = boundary_trial(scaled, r, GAMMA, 0.0, ws)
    if way == 2:
        old_factor_trial(scaled, r, GAMMA, ws)
    copy(ws.vectors[TRIAL], out)
    return solved


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
    direct, dual, kept = steps = np.empty((3, x.size))
    assert all(trial(way, *data, *allocate(k), steps[way]) for way in range(3))
    size = np.linalg.norm(direct - x)
    assert np.linalg.norm(dual - direct) <= 1e-11 * size
    assert np.linalg.norm(kept - direct) <= 1e-11 * size
