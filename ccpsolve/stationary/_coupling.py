r"""A span, its coupling to the complement by A = P^{-1/2}HP^{-1/2}, and its elimination.

With Q = P^{1/2}VT orthonormal, Θ = QᵀAQ, R = (I − QQᵀ)AQ and B the restriction of A to the
complement of Q, ``xI − A ⪰ 0`` holds if ``xI − Θ ≻ 0`` and the Schur complement is nonnegative:

.. math:: B + R(xI - \Theta)^{-1}R^T \preceq xI .

A Lanczos bound on the left side proves λ_max(A) ≤ x with no other loss. Bounding B by u first, and
then R by RᵀR/(x − u), loses where Rayleigh quotients of R are far below u, as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._lanczos_bound import EigenvalueBound
from ccpsolve.stationary._operator import HessianOperator
from ccpsolve.stationary._span import weighted_gram

__all__ = ["Coupling"]

Array = NDArray[np.float64]

_CANCELLATION = 1e-14
_DEPENDENT = 1e-12  # Gram eigenvalues below this, relative to the largest, count as zero


class Coupling:
    """Θ and RᵀR of a span, and the operator on its complement.

    Parameters
    ----------
    p : ndarray, shape (d,)
        P > 0.
    basis, products : ndarray, shape (d, k)
        V and HV; they are referred to, not copied.

    Attributes
    ----------
    inner : ndarray, shape (m, m)
        Θ.
    residual : ndarray, shape (m, m)
        RᵀR.
    """

    def __init__(self, p: Array, basis: Array, products: Array) -> None:
        self._p, self._root = p, np.sqrt(p)
        self._basis, self._products = basis, products
        self._T = _orthonormalising(p, basis)
        inner = self._T.T @ (basis.T @ products) @ self._T
        self.inner = (inner + inner.T) / 2
        image = self._T.T @ weighted_gram(products, 1 / p) @ self._T
        # ‖AQ‖² − ‖QᵀAQ‖² by difference needs no further vectors; its rounding is added back
        residual = image - self.inner @ self.inner
        residual += _CANCELLATION * float(np.trace(image)) * np.eye(len(inner))
        self.residual = (residual + residual.T) / 2

    def orthonormal(self) -> Array:
        """Q, shape (d, m)."""
        Q: Array = self._basis @ self._T
        Q *= self._root[:, None]
        return Q

    def lift(self, x: float) -> float:
        """λ_max(R(xI − Θ)⁻¹Rᵀ), what the elimination may add to λ_max(B); ∞ unless xI − Θ ≻ 0."""
        values, axes = np.linalg.eigh(self.inner)
        if not values.size or not np.isfinite(x) or not values[-1] < x:
            return np.inf
        scaled = axes / np.sqrt(x - values)
        return float(np.linalg.eigvalsh(scaled.T @ self.residual @ scaled)[-1])

    def apply(self, hessian: HessianOperator, v: Array, x: float) -> Array:
        """Return (A + R(xI − Θ)⁻¹Rᵀ)v up to components in Q, for v ⟂ Q; A v for x = ∞."""
        y = v / self._root
        image = hessian.apply(y[:, None])[:, 0]
        if np.isfinite(x):
            image += self._products @ self._eliminated(self._components(y), x)
        image /= self._root
        return image

    def undeflated(self, bound: EigenvalueBound, x: float) -> EigenvalueBound:
        """Turn vectors of a Lanczos run with `apply` on the complement into columns Y and HY.

        The products are known up to what deflation took away and elimination put in. ``lowest``
        becomes a bound on B.
        """
        root = self._root[:, None]
        vectors = bound.vectors / root
        products = root * bound.products
        inside = self._components(vectors)
        if np.isfinite(x):
            put_in = self._eliminated(inside, x)
            products -= self._products @ put_in
            # of which the part in Q had been taken away
            inside = inside + self._rotated(put_in)
        products += self._p[:, None] * (self._basis @ (self._T @ inside))
        # B alone lies below the sum that was bounded by at most the lift
        lowest = bound.lowest - self.lift(x) if np.isfinite(x) else bound.lowest
        return replace(bound, vectors=vectors, products=products, lowest=lowest)

    def _components(self, vectors: Array) -> Array:
        """QᵀA P^{1/2}·vectors."""
        components: Array = self._T.T @ (self._products.T @ vectors)
        return components

    def _eliminated(self, components: Array, x: float) -> Array:
        """T(xI − Θ)⁻¹·components."""
        weights = np.linalg.solve(x * np.eye(len(self.inner)) - self.inner, components)
        combination: Array = self._T @ weights
        return combination

    def _rotated(self, put_in: Array) -> Array:
        """QᵀAP^{1/2}V·put_in."""
        rotated: Array = self._T.T @ (self._basis.T @ (self._products @ put_in))
        return rotated


def _orthonormalising(p: Array, basis: Array) -> Array:
    """T with (VT)ᵀP(VT) = I and range(VT) = range(V)."""
    gram = weighted_gram(basis, p)
    weights, axes = np.linalg.eigh(gram) if gram.size else (np.zeros(0), gram)
    kept = weights > _DEPENDENT * weights.max(initial=0.0)
    return axes[:, kept] / np.sqrt(weights[kept])
