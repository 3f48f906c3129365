"""Dense linear algebra inside kernels: LAPACK, and the loops that replace it, are right."""

import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest

from ccpsolve import _lapack

SIZES = [1, 2, 5, 16, 17, 40]


def from_python(kernel):
    """Wrap a kernel, which has no code for calls from Python."""
    return numba.njit(lambda *arguments: kernel(*arguments))


cholesky_factor = from_python(_lapack.cholesky_factor)
cholesky_solve = from_python(_lapack.cholesky_solve)
lu_factor, lu_solve = from_python(_lapack.lu_factor), from_python(_lapack.lu_solve)
eigh_rows, eigh_workspace_sizes = from_python(_lapack.eigh_rows), _lapack.eigh_workspace_sizes
triangular_solve_rows = from_python(_lapack.triangular_solve_rows)
gemm, gemv = from_python(_lapack.gemm), from_python(_lapack.gemv)


def positive_definite(rng, n):
    root = rng.standard_normal((n, n + 3))
    return root @ root.T


def symmetric(rng, k, kind):
    z = rng.standard_normal((k, k))
    z += z.T
    if kind == "zero":
        z *= 0.0
    elif kind == "diagonal":
        z = np.diag(z.diagonal())
    elif kind == "clustered":
        Q = np.linalg.qr(z)[0]
        z = (Q * np.where(np.arange(k) < k // 2, 1.0, -2.0)) @ Q.T
    elif kind == "tiny":
        z *= 1e-150
    elif kind == "block":
        z[: k // 2, k // 2 :] = z[k // 2 :, : k // 2] = 0.0
    return 0.5 * (z + z.T)


@pytest.mark.parametrize("n", SIZES)
def test_cholesky_solves(n):
    rng = np.random.default_rng(n)
    a, b = positive_definite(rng, n), rng.standard_normal(n)
    factor, x = a.copy(), b.copy()
    assert cholesky_factor(factor)
    cholesky_solve(factor, x)
    np.testing.assert_allclose(a @ x, b, rtol=0, atol=1e-11 * np.linalg.norm(b) * np.linalg.cond(a))
    np.testing.assert_allclose(np.tril(factor) @ np.tril(factor).T, a, atol=1e-12 * np.abs(a).max())


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bad", [-1.0, np.nan])
def test_cholesky_refuses_what_is_not_positive_definite(n, bad):
    a = positive_definite(np.random.default_rng(n), n)
    a[-1, -1] = bad
    assert not cholesky_factor(a)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("transposed", [False, True])
def test_triangular_systems_of_many_right_hand_sides(n, transposed):
    rng = np.random.default_rng(n)
    factor, rows = np.linalg.cholesky(positive_definite(rng, n)), rng.standard_normal((3, n))
    solved = rows.copy()
    triangular_solve_rows(transposed, factor, solved)
    again = solved @ (factor if transposed else factor.T)
    np.testing.assert_allclose(again, rows, rtol=0, atol=1e-11 * np.linalg.cond(factor))


@pytest.mark.parametrize("n", SIZES)
def test_lu_solves_unsymmetric_systems(n):
    rng = np.random.default_rng(n)
    a, b = rng.standard_normal((n, n)) + 3 * np.eye(n), rng.standard_normal(n)
    factor, x, pivots = a.copy(), b.copy(), np.empty(n, np.int32)
    assert lu_factor(factor, pivots)
    lu_solve(factor, pivots, x)
    np.testing.assert_allclose(a @ x, b, atol=1e-12 * np.linalg.cond(a))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7, 24, 25, 40])
@pytest.mark.parametrize("kind", ["random", "zero", "diagonal", "clustered", "tiny", "block"])
def test_eigenvectors_are_rows(k, kind):
    z = symmetric(np.random.default_rng(k), k, kind)
    rows, values = z.copy(), np.empty(k)
    size, integer_size = eigh_workspace_sizes(k)
    assert eigh_rows(rows, values, np.empty(size), np.empty(integer_size, np.int32))
    assert np.all(np.diff(values) >= 0)
    np.testing.assert_allclose(rows @ rows.T, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(rows.T * values @ rows, z, atol=1e-14 * np.abs(z).max() * k)


@pytest.mark.parametrize("k", [2, 5, 30])
def test_eigenvalues_of_nan_are_refused_or_nan(k):
    values = np.empty(k)
    size, integer_size = eigh_workspace_sizes(k)
    found = eigh_rows(
        np.full((k, k), np.nan), values, np.empty(size), np.empty(integer_size, np.int32)
    )
    assert not found or np.isnan(values).any()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_products(size, transpose_a, transpose_b):
    rng = np.random.default_rng(size)
    a, b, c = (
        rng.standard_normal(s) for s in ((size, size + 2), (size + 2, size + 1), (size, size + 1))
    )
    expected = 2.0 * a @ b + 0.5 * c
    a = np.ascontiguousarray(a.T) if transpose_a else a
    b = np.ascontiguousarray(b.T) if transpose_b else b
    gemm(transpose_a, transpose_b, 2.0, a, b, 0.5, c)
    np.testing.assert_allclose(c, expected, atol=1e-12)


def test_matrix_vector_product():
    rng = np.random.default_rng(0)
    a, x, y = rng.standard_normal((20, 30)), rng.standard_normal(30), np.empty(20)
    gemv(a, x, y)
    np.testing.assert_allclose(y, a @ x, atol=1e-13)


def test_loops_take_over_where_scipy_has_no_32_bit_routines():
    """The tests above pass again in a process in which SciPy's table of routines is empty."""
    script = f"""
        import sys
        import scipy.linalg.cython_lapack as table
        table.__pyx_capi__.clear()
        import pytest
        from ccpsolve import _lapack
        assert _lapack.BACKEND == "loops"
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not take_over", {__file__!r}]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
