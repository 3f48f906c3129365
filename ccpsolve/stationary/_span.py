"""A span of columns V with their products W = HV, kept in little memory.

Everything with a dimension d is done in blocks of rows, in place: beside V and W only vectors of
length d are alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ccpsolve.stationary._problem import StationaryProblem

__all__ = ["Ritz", "Span", "row_blocks", "weighted_gram"]

Array = NDArray[np.float64]

_ROWS = 1 << 14
_ENTRIES_AT_A_TIME = 1 << 21  # of a block that H is applied to
_IN_SPAN = 1e-13  # a unit column with less than this outside of the span is in it
_DEPENDENT = 1e-10  # directions of E shorter than this, relative, do not count
_PARALLEL = 1e-12  # Gram eigenvalues below this, of unit columns, are linear dependence


class Ritz(NamedTuple):
    """Ritz pairs of P⁻¹H: values descending, vectors V·T with (VT)ᵀP(VT) = I."""

    values: Array
    T: Array


class Span:
    """Columns V, products W = HV, A = VᵀHV, and the dual factor E = V·C.

    Parameters
    ----------
    problem : StationaryProblem
        The data.
    capacity : int
        Columns there is room for at first.
    """

    def __init__(self, problem: StationaryProblem, capacity: int) -> None:
        self.problem = problem
        self._V = np.empty((problem.d, capacity), order="F")
        self._W = np.empty((problem.d, capacity), order="F")
        self.columns = 0
        self.A: Array = np.zeros((0, 0))
        self.C: Array = np.zeros((0, 0))

    @property
    def capacity(self) -> int:
        """Columns there is room for."""
        return self._V.shape[1]

    @property
    def V(self) -> Array:
        """The columns, shape (d, m)."""
        return self._V[:, : self.columns]

    @property
    def W(self) -> Array:
        """Their products with H, shape (d, m)."""
        return self._W[:, : self.columns]

    def ritz(self, p: Array) -> tuple[Ritz, Array]:
        """Ritz pairs of P⁻¹H on the span, and the Gram matrix VᵀPV."""
        gram = weighted_gram(self.V, p)
        scale = 1 / np.sqrt(np.diagonal(gram))
        scaled = scale[:, None] * gram * scale
        values, T = scipy.linalg.eigh(scale[:, None] * self.A * scale, scaled)
        return Ritz(values[::-1], scale[:, None] * T[:, ::-1]), gram

    def append(self, block: Array, p: Array) -> tuple[int, Array]:
        """Add the part of a block outside of the span, P-orthonormalised, and its products.

        Parameters
        ----------
        block : ndarray, shape (d, b)
            Overwritten.
        p : ndarray, shape (d,)
            The metric.

        Returns
        -------
        added : int
            Columns that were new; as many products were spent.
        coefficients : ndarray, shape (m, b)
            ``block = V·coefficients`` for the enlarged V.
        """
        lengths = np.sqrt(np.diagonal(weighted_gram(block, p)))
        lengths = np.where(lengths > 0, lengths, 1.0)
        block /= lengths
        inside = self._remove_span(block, p)
        outside = np.sqrt(np.diagonal(weighted_gram(block, p)))
        fresh = outside > _IN_SPAN
        if not fresh.all():
            block = block[:, fresh]
        sizes = outside[fresh]
        block /= sizes
        self._remove_span(block, p)
        weights, axes = _eigh(weighted_gram(block, p))
        kept = weights > _PARALLEL
        weights, axes = weights[kept], axes[:, kept]
        old = self._reserve(len(weights))
        for rows in row_blocks(len(p)):
            self._V[rows, old : old + len(weights)] = block[rows] @ (axes / np.sqrt(weights))
        del block
        self._multiply(old)
        coefficients = np.zeros((self.columns, len(lengths)))
        coefficients[: len(inside)] = inside
        coefficients[len(inside) :, fresh] = np.sqrt(weights)[:, None] * axes.T * sizes
        return len(weights), coefficients * lengths

    def extend(self, fresh: Array, product: Array | None = None) -> None:
        """Add columns as they are, with their products where these are known."""
        old = self._reserve(fresh.shape[1])
        self._V[:, old : self.columns] = fresh
        del fresh
        self._multiply(old, product)

    def _reserve(self, count: int) -> int:
        """Make room for more columns; returns the place of the first."""
        old, new = self.columns, self.columns + count
        if new > self._V.shape[1]:
            self.resize(new)
        self.columns = new
        return old

    def _multiply(self, old: int, product: Array | None = None) -> None:
        """Fill in the products, A and C of the columns from ``old`` on."""
        width = max(_ENTRIES_AT_A_TIME // max(self.problem.d, 1), 2)
        if product is not None:
            self._W[:, old : self.columns] = product
        else:
            for first in range(old, self.columns, width):
                part = slice(first, min(first + width, self.columns))
                self._W[:, part] = self.problem.hessian.apply(self._V[:, part])
        cross = self.V.T @ self._W[:, old : self.columns]
        corner = (cross[old:] + cross[old:].T) / 2
        self.A = np.block([[self.A, cross[:old]], [cross[:old].T, corner]])
        self.C = np.vstack([self.C, np.zeros((self.columns - old, self.C.shape[1]))])

    def keep(self, T: Array, gram: Array) -> None:
        """Replace V by V·T, whose columns are P-orthonormal; E is projected on them."""
        self.C = T.T @ gram @ self.C
        self.A = T.T @ self.A @ T
        self.A = (self.A + self.A.T) / 2
        for rows in row_blocks(self.problem.d):
            self._V[rows, : T.shape[1]] = self.V[rows] @ T
            self._W[rows, : T.shape[1]] = self.W[rows] @ T
        self.columns = T.shape[1]

    def restart(self, p: Array, count: int) -> None:
        """Keep range(E) and beside it the largest Ritz vectors, ``count`` columns in all."""
        ritz, gram = self.ritz(p)
        others = ritz.T[:, self.share_of_E(gram, ritz.T) < 0.5]
        kept = np.hstack([self.C, others[:, : max(count - self.C.shape[1], 0)]])
        factor = np.linalg.cholesky(gram)
        axes, weights, _ = np.linalg.svd(factor.T @ kept, full_matrices=False)
        axes = axes[:, weights > _DEPENDENT * weights.max(initial=0.0)]
        self.keep(scipy.linalg.solve_triangular(factor.T, axes), gram)

    def share_of_E(self, gram: Array, T: Array) -> Array:
        """Squared cosine between each Ritz vector V·T and the range of E, in the P-metric."""
        if not self.C.shape[1]:
            return np.zeros(T.shape[1])
        weights, axes = np.linalg.eigh(self.C.T @ gram @ self.C)
        kept = weights > _DEPENDENT * weights[-1]
        range_of_E = self.C @ (axes[:, kept] / np.sqrt(weights[kept]))
        return _row_squares(T.T @ gram @ range_of_E)

    def resize(self, capacity: int) -> None:
        """Give back memory, or take more; one array at a time."""
        for name in ("_V", "_W"):
            moved = np.empty((self.problem.d, capacity), order="F")
            moved[:, : self.columns] = getattr(self, name)[:, : self.columns]
            setattr(self, name, moved)

    def dual_point(self) -> tuple[Array, float]:
        """C shrunk as a whole until E = V·C has ‖E_i‖² ≤ ½, and the dual value of that E."""
        longest = 0.0
        for rows in row_blocks(self.problem.d):
            longest = max(longest, float(_row_squares(self.V[rows] @ self.C).max(initial=0.0)))
        C = self.C * min(1.0, np.sqrt(0.5 / longest)) if longest > 0 else self.C
        value = float(np.trace(C.T @ self.A @ C))
        for rows in row_blocks(self.problem.d):
            z = _row_squares(self.V[rows] @ C)
            value += 2 * float(self.problem.c[rows] @ np.sqrt(np.maximum(1 - 2 * z, 0)))
        return C, value

    def residual_gram(self, ritz: Ritz, p: Array) -> Array:
        """RᵀPR of the residuals R = P⁻¹HU − UΘ of Ritz vectors U = V·T."""
        gram = np.zeros((len(ritz.values), len(ritz.values)))
        for rows in row_blocks(self.problem.d):
            residual = self.residual(ritz, p, rows)
            gram += residual.T @ (p[rows, None] * residual)
        return (gram + gram.T) / 2

    def residual(self, ritz: Ritz, p: Array, rows: slice = slice(None)) -> Array:
        """Rows of the residuals P⁻¹HU − UΘ."""
        residual = self.W[rows] @ ritz.T
        residual /= p[rows, None]
        residual -= self.V[rows] @ (ritz.T * ritz.values)
        return residual

    def _remove_span(self, block: Array, p: Array) -> Array:
        """Make a block P-orthogonal to V in place; returns what was removed, in terms of V."""
        removed = np.zeros((self.columns, block.shape[1]))
        if self.columns == 0:
            return removed
        gram = weighted_gram(self.V, p)
        for _ in range(2):
            cross = np.zeros_like(removed)
            for rows in row_blocks(len(p)):
                cross += self.V[rows].T @ (p[rows, None] * block[rows])
            step = scipy.linalg.solve(gram, cross, assume_a="pos")
            for rows in row_blocks(len(p)):
                block[rows] -= self.V[rows] @ step
            removed += step
        return removed


def row_blocks(d: int) -> Iterator[slice]:
    """Slices that cover range(d)."""
    return (slice(first, min(first + _ROWS, d)) for first in range(0, d, _ROWS))


def weighted_gram(V: Array, p: Array) -> Array:
    """VᵀPV, shape (m, m)."""
    gram = np.zeros((V.shape[1], V.shape[1]))
    for rows in row_blocks(len(p)):
        gram += V[rows].T @ (p[rows, None] * V[rows])
    return (gram + gram.T) / 2


def _eigh(matrix: Array) -> tuple[Array, Array]:
    if not matrix.size:
        return np.zeros(0), matrix
    values, vectors = np.linalg.eigh(matrix)
    return values, vectors


def _row_squares(matrix: Array) -> Array:
    return np.einsum("ij,ij->i", matrix, matrix)
