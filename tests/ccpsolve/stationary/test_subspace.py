import tracemalloc

import numpy as np
import pytest
import scipy.fft

from ccpsolve import Status
from ccpsolve.stationary import stationary_preconditioner
from ccpsolve.stationary._reduced import solve_reduced
from tests.ccpsolve.stationary.problems import spiked


def spikes_and_bulk(d, seed=0):
    """H·V of scaled spikes plus bulk, O(d log d) a column: a diagonal between cosine transforms."""
    rng = np.random.default_rng(seed)
    eigenvalues = 0.1 * rng.random(d)
    eigenvalues[rng.choice(d, 3, replace=False)] = [50.0, 40.0, 30.0]
    signs, scale = rng.choice([-1.0, 1.0], d), np.exp(0.5 * rng.standard_normal(d))

    def hessian(block):
        product = np.empty_like(block)
        for j in range(block.shape[1]):
            v = scipy.fft.dct(signs * scale * block[:, j], norm="ortho")
            v *= eigenvalues
            v = scipy.fft.idct(v, norm="ortho", overwrite_x=True)
            v *= signs
            v *= scale
            product[:, j] = v
        return product

    return hessian, 0.1 * rng.standard_normal(d)


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


@pytest.mark.slow
def test_a_million_coordinates():
    hessian, g = spikes_and_bulk(10**6)
    small, small_g = spikes_and_bulk(2000)
    stationary_preconditioner(small_g, small, 1.0, tol=1e-3)  # kernels are compiled untraced
    tracemalloc.start()
    sp = stationary_preconditioner(g, hessian, 1.0, tol=1e-3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sp.gap <= 1e-3
    assert sp.products <= 120
    assert peak <= 40 * 8 * 10**6
