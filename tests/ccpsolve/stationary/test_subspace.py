import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.stationary import fixed_point_products
from bench.stationary_problems import network, spikes_and_bulk
from ccpsolve import Status
from ccpsolve.stationary import StationaryProblem, stationary_preconditioner
from ccpsolve.stationary._expansion import (
    expand,
    expand_hidden,
    open_combinations,
)
from ccpsolve.stationary._reduced import solve_reduced
from ccpsolve.stationary._span import Ritz, Span
from ccpsolve.stationary._start import from_factor
from tests.ccpsolve.stationary.problems import spiked


@pytest.mark.parametrize("size", [0.01, 0.3, 0.0])
def test_agrees_with_the_dense_method(size):
    rng = np.random.default_rng(0)
    H = spiked(120, rng)
    c = size * np.abs(rng.standard_normal(120))
    dense = stationary_preconditioner(c, H, 1.0)
    sp = stationary_preconditioner(c, lambda V: H @ V, 1.0)
    assert sp.status is Status.SOLVED
    assert sp.method == "subspace"
    assert sp.rank == dense.rank
    np.testing.assert_allclose(sp.p, dense.p, rtol=1e-2, atol=1e-6)
    assert sp.primal == pytest.approx(dense.primal, rel=2e-8)
    assert sp.failure_probability == 1e-6
    assert sp.products <= 120
    assert np.linalg.eigvalsh(2 * np.diag(sp.p) - H)[0] >= -1e-12 * sp.p.max()
    sp.verify()


def test_stable_regime_without_entries():
    rng = np.random.default_rng(1)
    H = spiked(60, rng)
    c = 20 + rng.random(60)
    sp = stationary_preconditioner(c, lambda V: H @ V, 1.0)
    assert sp.gap == 0
    assert sp.rank == 0
    np.testing.assert_array_equal(sp.p, c)


def test_products_counted_are_those_made():
    rng = np.random.default_rng(2)
    H, made = spiked(80, rng), []

    def hessian(block):
        made.append(block.shape[1])
        return H @ block

    sp = stationary_preconditioner(0.1 * np.ones(80), hessian, 1.0, tol=1e-4)
    assert sp.products == sum(made)


def test_warm_start_costs_less():
    hessian, g = spikes_and_bulk(3000)
    cold = stationary_preconditioner(g, hessian, 1.0, tol=1e-6)
    rng = np.random.default_rng(3)
    moved = g * (1 + 1e-3 * rng.standard_normal(3000))
    again = stationary_preconditioner(moved, hessian, 1.0, tol=1e-6)
    warm = stationary_preconditioner(moved, hessian, 1.0, tol=1e-6, start=cold)
    assert warm.status is Status.SOLVED
    assert warm.primal == pytest.approx(again.primal, rel=2e-6)
    assert warm.products < again.products


@pytest.mark.parametrize("seed", range(3))
def test_a_network_within_120_products(seed):
    hessian, g = network(seed)
    sp = stationary_preconditioner(g, hessian, 0.01, tol=1e-4)
    assert sp.gap <= 1e-4
    assert sp.rank >= 5
    assert sp.products <= 120
    moved, moved_g = network(seed, move=0.01)
    warm = stationary_preconditioner(moved_g, moved, 0.01, tol=1e-4, start=sp)
    assert warm.gap <= 1e-4
    assert warm.products <= 50
    again = stationary_preconditioner(moved_g, moved, 0.01, tol=1e-6)
    assert warm.dual <= again.primal
    assert again.dual <= warm.primal


def test_the_start_of_a_warm_solve_is_a_solution_for_the_new_gradient():
    """Before any product is spent; only the gradient has changed."""
    hessian, g = network()
    sp = stationary_preconditioner(g, hessian, 0.01, tol=1e-4)
    moved = g * np.exp(np.random.default_rng(5).standard_normal(len(g)))
    exact = stationary_preconditioner(moved, hessian, 0.01, tol=1e-6, start=sp)
    span = Span(StationaryProblem(moved, hessian, 0.01), 0)
    p = from_factor(span, sp.factor)
    away = np.linalg.norm(p - exact.p) / np.linalg.norm(exact.p)
    assert away < 0.02
    assert away < 0.1 * np.linalg.norm(sp.p - exact.p) / np.linalg.norm(exact.p)
    # E = V·C, and p is what E implies for LLᵀ
    E = span.V @ span.C
    image = sp.factor @ (sp.factor.T @ E)
    implied = np.sqrt(span.problem.c**2 + 0.5 * np.einsum("ij,ij->i", image, image))
    np.testing.assert_allclose(implied, p, rtol=1e-3)


def test_no_column_of_a_warm_start_repeats_another():
    hessian, g = network()
    sp = stationary_preconditioner(g, hessian, 0.01, tol=1e-4)
    span = Span(StationaryProblem(g, hessian, 0.01), 0)
    from_factor(span, sp.factor)
    assert span.columns >= sp.rank + 3
    assert np.linalg.cond(np.sqrt(sp.p)[:, None] * span.V) < 1.5


def test_a_warm_start_from_D_alone_or_from_a_problem_without_critical_directions():
    hessian, g = spikes_and_bulk(500)
    cold = stationary_preconditioner(g, hessian, 1.0, tol=1e-6)
    from_D = stationary_preconditioner(1.01 * g, hessian, 1.0, tol=1e-6, start=cold.D)
    stable = stationary_preconditioner(1e6 * g, hessian, 1.0, tol=1e-6)
    assert stable.rank == 0
    after_stable = stationary_preconditioner(1.01 * g, hessian, 1.0, tol=1e-6, start=stable)
    assert from_D.primal == pytest.approx(after_stable.primal, rel=2e-6)
    assert from_D.products < cold.products


def test_the_fixed_point_needs_five_times_the_products_on_a_network():
    hessian, g = network()
    sp = stationary_preconditioner(g, hessian, 0.01, tol=1e-4)
    exact = stationary_preconditioner(g, hessian, 0.01, tol=1e-7, start=sp)
    budget = 5 * sp.products
    assert fixed_point_products(g, hessian, 0.01, exact.primal, 1e-4, sp.rank + 1, budget) > budget


def test_the_bound_that_is_completed_is_certified():
    """A complement bound too high by itself, completed by the span, is checked densely."""
    hessian, g = network(1)
    sp = stationary_preconditioner(g, hessian, 0.01, tol=1e-4)
    scale = 1 / np.sqrt(sp.p)
    dense = scale[:, None] * hessian(np.diag(scale))
    assert np.linalg.eigvalsh(dense)[-1] <= 2 * (1 + 1e-12)


def test_budget_is_reported():
    hessian, g = spikes_and_bulk(2000)
    sp = stationary_preconditioner(g, hessian, 1.0, tol=1e-12, max_products=30)
    assert sp.status is Status.ITERATION_LIMIT
    assert sp.products <= 40
    assert "products allowed" in sp.message
    assert sp.gap > 1e-12


def test_reduced_problem_is_solved_to_rounding():
    """0 ⪯ Y ⟂ S(Y) = I − ½LᵀP⁻¹L ⪰ 0 at the answer, with degenerate directions."""
    rng = np.random.default_rng(4)
    L = rng.standard_normal((50, 4)) * [1.0, 1.0, 0.3, 1e-3]
    c = np.abs(rng.standard_normal(50))
    found = solve_reduced(L, c, tol=1e-14)
    slack = np.eye(4) - 0.5 * L.T @ (L / found.p[:, None])
    assert np.linalg.eigvalsh(found.Y)[0] >= -1e-12
    assert np.linalg.eigvalsh(slack)[0] >= -1e-9
    assert abs(np.vdot(found.Y, slack)) <= 1e-9 * np.trace(found.Y)
    assert found.value == pytest.approx(2 * found.p.sum() - np.trace(found.Y), rel=1e-14)


_MILLION = """
import tracemalloc
from bench.stationary_problems import spikes_and_bulk
from ccpsolve.stationary import stationary_preconditioner

hessian, g = spikes_and_bulk(2000)
stationary_preconditioner(g, hessian, 1.0, tol=1e-3)  # compiles
hessian, g = spikes_and_bulk(10**6)
tracemalloc.start()
sp = stationary_preconditioner(g, hessian, 1.0, tol=1e-3)
print(sp.gap, sp.products, tracemalloc.get_traced_memory()[1] / 8e6)
"""


@pytest.mark.slow
def test_a_million_coordinates():
    run = subprocess.run(
        [sys.executable, "-c", _MILLION],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        cwd=Path(__file__).parents[3],
    )
    gap, products, vectors = map(float, run.stdout.split())
    assert gap <= 1e-3
    assert products <= 120
    assert vectors <= 40  # of length d, the product's own included


def test_combinations_that_lag_behind_the_others_are_the_open_ones():
    ritz = Ritz(np.array([1.999, 1.9, 1.7, 1.3]), np.eye(4))
    squares = np.diag([0.003, 0.5, 0.4, 0.1])  # M exceeds 2 by 0.002, 0.4, 0.1 and not at all
    found = open_combinations(ritz, squares, complement=1.0, allowed=2e-5)
    np.testing.assert_allclose(np.abs(found), np.eye(4)[:, [1, 2, 0]], atol=1e-12)
    found = open_combinations(ritz, squares, complement=1.0, allowed=2e-5, lagging=0.2)
    np.testing.assert_allclose(np.abs(found), np.eye(4)[:, [1, 2]], atol=1e-12)
    assert open_combinations(ritz, 0 * squares, complement=1.0, allowed=2e-5).shape == (4, 0)


@pytest.mark.parametrize("size", [0.5, 1.0])
def test_an_estimate_that_the_dual_value_refutes_is_not_good_enough(size):
    """On a span that hardly sees the one critical direction all looks stable, but F says no."""
    d, seen = 50, 0.2
    h = np.r_[4.0, np.linspace(0, 0.3, d - 1)]
    problem = StationaryProblem(np.full(d, size), lambda V: h[:, None] * V, 1.0)
    span = Span(problem, 20)
    column = np.full((d, 1), np.sqrt((1 - seen**2) / (d - 1)))
    column[0] = seen
    span.extend(column)
    reduced = solve_reduced(span.W, problem.c, transform=span.A**-0.5)
    span.C = span.A**-0.5 @ reduced.root()
    added, estimate = expand(span, reduced.p, 1e-4, 4)
    assert added == 1
    assert estimate == np.inf


def test_residuals_that_together_refute_p_are_found_though_no_ritz_value_is_near():
    """Five Ritz vectors of value 0.9 share one residual: A has an eigenvalue of 2.5."""
    d, shared, value = 60, 5, 0.9
    A = np.zeros((d, d))
    A[range(shared), range(shared)] = value
    A[shared, :shared] = A[:shared, shared] = 0.9
    problem = StationaryProblem(np.full(d, 1e-3), lambda V: A @ V, 1.0)
    span = Span(problem, 20)
    span.extend(np.eye(d)[:, :shared])
    span.C = np.zeros((shared, 0))
    assert np.linalg.eigvalsh(A)[-1] > 2.4
    assert expand_hidden(span, np.ones(d), 1e-4, 4) == 1
    assert np.abs(span.V[:, -1]).argmax() == shared
    assert expand_hidden(span, 2 * np.ones(d), 1e-4, 4) == 0  # P = 2I: λ_max(P⁻¹H) < 1.5
