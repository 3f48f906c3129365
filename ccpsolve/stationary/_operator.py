"""The Hessian as the methods see it: blocks of products H·V, counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from ccpsolve._errors import InvalidProblemError

__all__ = ["HessianOperator"]

Array = NDArray[np.float64]

# largest asymmetry, relative to the largest entry, that is taken for rounding and averaged away
_ASYMMETRY = 1e-8


class HessianOperator:
    """A symmetric d×d matrix H known entry by entry or only through products.

    Parameters
    ----------
    hessian : ndarray, scipy.sparse matrix, LinearOperator, or callable
        The matrix, or a map of blocks ``(d, m) -> (d, m)``, ``V ↦ H V``.
    dimension : int
        d, the length of the gradient.

    Attributes
    ----------
    products : int
        Columns that H has been applied to so far.

    Raises
    ------
    InvalidProblemError
        When the matrix has another shape, is not symmetric, not real or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> operator = HessianOperator(np.diag([1.0, 2.0]), 2)
    >>> operator.apply(np.ones((2, 1))).ravel(), operator.products
    (array([1., 2.]), 1)
    """

    def __init__(self, hessian: Any, dimension: int) -> None:
        self.dimension = dimension
        self.products = 0
        self.matrix: Array | scipy.sparse.csr_array | None = None
        if isinstance(hessian, LinearOperator):
            _check_shape(hessian.shape, dimension)
            self._product: Callable[[Array], Any] = hessian.matmat
        elif scipy.sparse.issparse(hessian):
            self.matrix = _symmetric_sparse(hessian, dimension)
            self._product = self.matrix.__matmul__
        elif callable(hessian):
            self._product = hessian
        else:
            self.matrix = _symmetric_dense(hessian, dimension)
            self._product = self.matrix.__matmul__

    def apply(self, block: Array) -> Array:
        """H·V of a block of columns.

        Parameters
        ----------
        block : ndarray, shape (d, m)
            The columns V.

        Returns
        -------
        ndarray, shape (d, m)
            Fresh float64 memory.

        Raises
        ------
        InvalidProblemError
            When the product has another shape or is not finite.
        """
        self.products += block.shape[1]
        if block.shape[1] == 0:
            return np.zeros_like(block)
        product = np.asarray(self._product(block))
        if product.shape != block.shape:
            raise InvalidProblemError(
                f"hessian maps a block of shape {block.shape} to shape {product.shape}; "
                "it must keep the shape"
            )
        if np.iscomplexobj(product):
            raise InvalidProblemError("hessian returned complex products; they must be real")
        if not np.isfinite(product).all():
            raise InvalidProblemError("hessian returned products with NaN or inf; allowed: finite")
        if product is block or np.may_share_memory(product, block):
            product = product.copy()
        return product.astype(np.float64, copy=False)

    def to_dense(self) -> Array:
        """All entries, shape (d, d), at the price of d products when only products are known.

        They are kept: the price is paid once.
        """
        if self.matrix is None:
            dense = self.apply(np.eye(self.dimension))
            self.matrix = (dense + dense.T) / 2
        if isinstance(self.matrix, np.ndarray):
            return self.matrix
        return np.asarray(self.matrix.toarray())


def _check_shape(shape: tuple[int, ...], dimension: int) -> None:
    if tuple(shape) != (dimension, dimension):
        raise InvalidProblemError(
            f"hessian has shape {tuple(shape)}; it must be ({dimension}, {dimension}) "
            "like the gradient"
        )


def _check_entries(values: Array) -> None:
    if np.iscomplexobj(values):
        raise InvalidProblemError("hessian is complex; allowed: a real symmetric matrix")
    if not np.isfinite(values).all():
        raise InvalidProblemError("hessian contains NaN or inf; allowed: finite entries")


def _check_symmetry(asymmetry: float, largest: float) -> None:
    if asymmetry > _ASYMMETRY * largest:
        raise InvalidProblemError(
            f"hessian is not symmetric: max|H - Hᵀ| = {asymmetry:.2g} for entries up to "
            f"{largest:.2g}; pass (H + Hᵀ)/2"
        )


def _symmetric_dense(hessian: Any, dimension: int) -> Array:
    array = np.asarray(hessian)
    if array.dtype == object:
        raise InvalidProblemError(
            f"hessian is a {type(hessian).__name__}; allowed: an array, a scipy.sparse matrix, "
            "a LinearOperator, or a callable on blocks (d, m)"
        )
    _check_shape(array.shape, dimension)
    _check_entries(array)
    dense = array.astype(np.float64)
    if dense.size:
        asymmetry = np.abs(dense - dense.T).max()
        _check_symmetry(asymmetry, np.abs(dense).max())
        if asymmetry > 0:
            dense = (dense + dense.T) / 2
    return dense


def _symmetric_sparse(hessian: Any, dimension: int) -> scipy.sparse.csr_array:
    _check_shape(hessian.shape, dimension)
    matrix = scipy.sparse.csr_array(hessian)
    _check_entries(matrix.data)
    matrix = matrix.astype(np.float64)
    transpose = scipy.sparse.csr_array(matrix.T)
    difference = matrix - transpose
    if difference.nnz:
        _check_symmetry(np.abs(difference.data).max(), np.abs(matrix.data).max())
        matrix = scipy.sparse.csr_array((matrix + transpose) / 2)
    matrix.sum_duplicates()
    return matrix
