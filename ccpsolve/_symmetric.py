r"""Symmetric matrices as vectors: the isometry `svec`, its inverse, and the PSD projection.

`svec : Sym_k → R^n` with ``n = k(k+1)/2`` reads the upper triangle row by row and multiplies
off-diagonal entries by √2, so that ``⟨X, Y⟩ = svec(X) · svec(Y)``. Every function here takes any
number of leading batch dimensions.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ccpsolve._errors import InvalidProblemError

__all__ = ["order_of_svec", "psd_part", "smat", "svec", "svec_basis", "svec_operator"]

Array = NDArray[np.float64]


class _Layout(NamedTuple):
    """Where entries of a k×k matrix go in its svec, and back."""

    upper: NDArray[np.intp]  # (n,) position of each svec entry in the raveled k×k matrix
    weight: Array  # (n,) 1 on the diagonal, √2 off it
    place: NDArray[np.intp]  # (k*k,) position of each raveled entry in the svec
    inverse_weight: Array  # (k*k,) 1 on the diagonal, 1/√2 off it


@lru_cache(maxsize=128)
def _layout(k: int) -> _Layout:
    rows, columns = np.triu_indices(k)
    weight = np.where(rows == columns, 1.0, np.sqrt(2.0))
    square = np.empty((k, k), dtype=np.intp)
    square[rows, columns] = square[columns, rows] = np.arange(rows.size)
    place = square.ravel()
    return _Layout(rows * k + columns, weight, place, 1.0 / weight[place])


def order_of_svec(n: int) -> int:
    """Return k with ``k(k+1)/2 = n``.

    Parameters
    ----------
    n : int
        Length of an svec.

    Returns
    -------
    int
        The order k of the matrix.

    Raises
    ------
    InvalidProblemError
        If no such k exists.

    Examples
    --------
    >>> from ccpsolve._symmetric import order_of_svec
    >>> order_of_svec(6)
    3
    """
    k = (isqrt(8 * n + 1) - 1) // 2
    if k * (k + 1) // 2 != n:
        raise InvalidProblemError(
            f"a vector of length {n} is no svec: the length must be k(k+1)/2 for an integer k"
        )
    return k


def svec(X: ArrayLike) -> Array:
    r"""Stack the upper triangle of symmetric matrices, off-diagonal entries times √2.

    .. math:: \mathrm{svec}(X) = (X_{11}, \sqrt2 X_{12}, …, \sqrt2 X_{1k}, X_{22}, …, X_{kk})

    Parameters
    ----------
    X : array_like, shape (..., k, k)
        Symmetric matrices; only the upper triangle is read.

    Returns
    -------
    ndarray, shape (..., n)
        With ``n = k(k+1)/2``; ``⟨X, Y⟩ = svec(X) @ svec(Y)``.

    Raises
    ------
    InvalidProblemError
        If the last two dimensions differ.

    Examples
    --------
    >>> import numpy as np
    >>> from ccpsolve import svec
    >>> svec([[1.0, 2.0], [2.0, 3.0]]) / [1, np.sqrt(2), 1]
    array([1., 2., 3.])
    """
    X = np.asarray(X, dtype=np.float64)
    if X.ndim < 2 or X.shape[-1] != X.shape[-2]:
        raise InvalidProblemError(f"X has shape {X.shape}; svec needs (..., k, k)")
    k = X.shape[-1]
    layout = _layout(k)
    flat: Array = X.reshape((*X.shape[:-2], k * k))
    return np.take(flat, layout.upper, axis=-1) * layout.weight


def smat(x: ArrayLike) -> Array:
    """Rebuild symmetric matrices from their svec; the inverse of `svec`.

    Parameters
    ----------
    x : array_like, shape (..., n)
        Vectors of length ``n = k(k+1)/2``.

    Returns
    -------
    ndarray, shape (..., k, k)
        Exactly symmetric matrices.

    Raises
    ------
    InvalidProblemError
        If n is not of the form k(k+1)/2.

    Examples
    --------
    >>> import numpy as np
    >>> from ccpsolve import smat
    >>> smat([1.0, np.sqrt(2) * 2.0, 3.0])
    array([[1., 2.],
           [2., 3.]])
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim < 1:
        raise InvalidProblemError("x is a scalar; smat needs shape (..., k(k+1)/2)")
    k = order_of_svec(x.shape[-1])
    layout = _layout(k)
    flat: Array = np.take(x, layout.place, axis=-1) * layout.inverse_weight
    return flat.reshape((*x.shape[:-1], k, k))


def svec_basis(k: int) -> Array:
    """Return the orthonormal basis of Sym_k whose coordinates are `svec`.

    Parameters
    ----------
    k : int
        Order of the matrices.

    Returns
    -------
    ndarray, shape (n, k, k)
        ``basis[a]`` is the matrix with ``svec(basis[a]) = e_a``.

    Examples
    --------
    >>> from ccpsolve._symmetric import svec_basis
    >>> svec_basis(2).shape
    (3, 2, 2)
    """
    return smat(np.eye(k * (k + 1) // 2))


def svec_operator(B: ArrayLike) -> Array:
    """Return the svec matrix of the operator ``X ↦ Σ_lm B_ijlm X_lm`` on Sym_k.

    Parameters
    ----------
    B : array_like, shape (k, k, k, k)
        The operator; its values on symmetric matrices must be symmetric.

    Returns
    -------
    ndarray, shape (n, n)
        ``svec(β[X]) = svec_operator(B) @ svec(X)``.

    Examples
    --------
    >>> import numpy as np
    >>> from ccpsolve._symmetric import svec_operator
    >>> eye = np.eye(2)
    >>> np.allclose(svec_operator(np.einsum("il,jm->ijlm", eye, eye)), np.eye(3))
    True
    """
    B = np.asarray(B, dtype=np.float64)
    on_pairs = svec(0.5 * (B + np.swapaxes(B, -1, -2)))  # (k, k, n): columns act on svec(X)
    return np.ascontiguousarray(svec(np.moveaxis(on_pairs, -1, 0)).T)


def psd_part(X: ArrayLike) -> Array:
    r"""Project symmetric matrices on the PSD cone, :math:`Π(X) = V \max(Λ, 0) V^T`.

    Parameters
    ----------
    X : array_like, shape (..., k, k)
        Symmetric matrices.

    Returns
    -------
    ndarray, shape (..., k, k)
        The nearest PSD matrices in the Frobenius norm.

    Examples
    --------
    >>> import numpy as np
    >>> from ccpsolve._symmetric import psd_part
    >>> psd_part(np.diag([2.0, -1.0]))
    array([[2., 0.],
           [0., 0.]])
    """
    values, vectors = np.linalg.eigh(np.asarray(X, dtype=np.float64))
    half = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
    return half @ np.swapaxes(half, -1, -2)
