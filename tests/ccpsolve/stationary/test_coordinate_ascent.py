import numpy as np
import pytest
import scipy.sparse

from ccpsolve import InvalidProblemError, Status
from ccpsolve.stationary import stationary_preconditioner
from tests.ccpsolve.stationary.problems import goe, random_regular_laplacian


@pytest.mark.parametrize("size", [0.0, 0.1, 1.0])
def test_agrees_with_the_dense_method(size):
    rng = np.random.default_rng(0)
    H = goe(40, rng)
    c = size * np.abs(rng.standard_normal(40))
    dense = stationary_preconditioner(c, H, 1.0)
    sp = stationary_preconditioner(c, H, 1.0, method="coordinate_ascent", tol=1e-6)
    assert sp.status is Status.SOLVED
    assert sp.primal == pytest.approx(dense.primal, rel=2e-6)
    sp.verify()


def test_random_regular_graphs_are_regular():
    laplacian = random_regular_laplacian(50, 3, np.random.default_rng(1)).toarray()
    np.testing.assert_array_equal(np.diag(laplacian), 3)
    np.testing.assert_array_equal(laplacian.sum(axis=1), 0)
    assert set(np.unique(laplacian)) == {-1.0, 0.0, 3.0}


def test_needs_entries():
    with pytest.raises(InvalidProblemError, match="entries"):
        stationary_preconditioner(
            np.ones(4), lambda block: block + 0, 1.0, method="coordinate_ascent"
        )


def test_budget_is_reported():
    H = scipy.sparse.csr_array(goe(30, np.random.default_rng(3)))
    sp = stationary_preconditioner(
        np.ones(30) * 0.01, H, 1.0, method="coordinate_ascent", tol=1e-13, max_iterations=10
    )
    assert sp.iterations == 10
    assert sp.status is Status.ITERATION_LIMIT
    assert "sweeps" in sp.message


@pytest.mark.slow
def test_laplacian_of_a_large_sparse_graph():
    laplacian = random_regular_laplacian(5000, 3, np.random.default_rng(4))
    sp = stationary_preconditioner(np.zeros(5000), laplacian, 1.0, gradient_term=False, tol=1e-4)
    assert sp.method == "coordinate_ascent"
    assert sp.gap <= 1e-4
    assert sp.failure_probability == 0
