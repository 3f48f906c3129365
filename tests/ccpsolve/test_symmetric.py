"""svec and smat: the isometry between Sym_k and R^n."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccpsolve import InvalidProblemError, smat, svec
from ccpsolve._symmetric import order_of_svec, psd_part, svec_basis, svec_operator
from ccpsolve.testing import orthogonal_matrix, symmetric_matrices

orders = st.integers(0, 6)
pairs = orders.flatmap(lambda k: st.tuples(symmetric_matrices(k), symmetric_matrices(k)))


def test_layout_is_upper_triangle_row_by_row():
    X = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    r = np.sqrt(2.0)
    assert np.array_equal(svec(X), [1.0, 2.0 * r, 3.0 * r, 4.0, 5.0 * r, 6.0])


@given(pairs)
def test_svec_is_an_isometry_and_smat_its_inverse(pair):
    X, Y = pair
    scale = 1.0 + np.abs(X).sum() * np.abs(Y).max(initial=0.0)
    assert abs(svec(X) @ svec(Y) - np.vdot(X, Y)) <= 1e-14 * scale
    assert np.allclose(smat(svec(X)), X, rtol=1e-15, atol=0.0)
    assert np.array_equal(smat(svec(X)), smat(svec(X)).T)


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (0,)])
@pytest.mark.parametrize("k", [0, 1, 4])
def test_batches_equal_one_by_one(batch, k):
    X = np.random.default_rng(0).standard_normal((*batch, k, k))
    X = X + np.swapaxes(X, -1, -2)
    x = svec(X)
    assert x.shape == (*batch, k * (k + 1) // 2)
    assert smat(x).shape == X.shape
    for index in np.ndindex(*batch):
        assert np.array_equal(x[index], svec(X[index]))


def test_order_of_svec_inverts_n():
    assert [order_of_svec(k * (k + 1) // 2) for k in range(200)] == list(range(200))


@pytest.mark.parametrize("n", [2, 4, 5, 7])
def test_lengths_that_are_no_svec_are_refused(n):
    with pytest.raises(InvalidProblemError, match=f"length {n}"):
        smat(np.zeros(n))


@pytest.mark.parametrize("shape", [(3,), (2, 3), ()])
def test_svec_of_other_shapes_is_refused(shape):
    with pytest.raises(InvalidProblemError, match="svec needs"):
        svec(np.zeros(shape))


def test_smat_of_a_scalar_is_refused():
    with pytest.raises(InvalidProblemError, match="scalar"):
        smat(1.0)


def test_basis_is_orthonormal():
    basis = svec_basis(4)
    assert np.allclose(np.einsum("aij,bij->ab", basis, basis), np.eye(10), atol=1e-15)


def test_operator_matrix_acts_like_the_four_index_array():
    rng = np.random.default_rng(1)
    third = rng.standard_normal((7, 4, 4))
    third = third + third.transpose(0, 2, 1)
    B = np.einsum("dij,dlm->ijlm", third, third)
    X = rng.standard_normal((4, 4))
    X = X + X.T
    assert np.allclose(svec_operator(B) @ svec(X), svec(np.einsum("ijlm,lm->ij", B, X)))


@given(symmetric_matrices(4))
def test_psd_part_is_the_moreau_projection(X):
    P, N = psd_part(X), psd_part(-X)
    scale = 1.0 + np.abs(X).max()
    assert np.allclose(P - N, X, atol=1e-14 * scale)
    assert abs(np.vdot(P, N)) <= 1e-13 * scale**2
    assert np.linalg.eigvalsh(P).min() >= -1e-14 * scale


def test_psd_part_is_equivariant_under_orthogonal_changes_of_basis():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((5, 5))
    X = X + X.T
    Q = orthogonal_matrix(rng, 5)
    assert np.allclose(psd_part(Q @ X @ Q.T), Q @ psd_part(X) @ Q.T, atol=1e-14)
