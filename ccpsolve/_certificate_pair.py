r"""The pair of PSD matrices near a candidate that the certificate's bounds rest on.

``Y = Σ u uᵀ`` and ``T = Σ w wᵀ`` are *defined* by the float64 vectors u and w that an
eigendecomposition of ``Z = X − τS`` gives: both are PSD by construction, whatever its rounding
errors. Their entries, and the residual ``R = β[Y] − α − T``, are evaluated in twice the working
precision.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ccpsolve._certificate_work import norm
from ccpsolve._compensated import add_svec, gram, operator_residual
from ccpsolve._numba import jit

__all__ = ["evaluate_image", "refine_slack", "split", "subtract_slack"]

Array = NDArray[np.float64]


@jit(internal=True)
def split(step: float, factor: float, rows: Array, values: Array) -> None:
    """Turn eigenvectors of Z into the vectors u (``values`` 1) and w (``values`` −1) of the pair.

    u = √λ v for the positive eigenvalues λ of Z, w = √(−λ/τ) v for the others; the eigenvalues are
    ``factor`` times those in ``values``.
    """
    k = values.shape[0]
    for m in range(k):
        value = factor * values[m]
        length = math.sqrt(value) if value > 0.0 else math.sqrt(-value / step)
        values[m] = 1.0 if value > 0.0 else -1.0
        for i in range(k):
            rows[m, i] *= length


@jit(fast=False, internal=True)
def evaluate_image(
    columns: Array, a: Array, x: Array, rows: Array, signs: Array, vectors: Array
) -> None:
    """Write svec(β[Y] − α) as a pair to vectors 2 and 3, and svec(X − Y) to vector 5."""
    k = a.shape[0]
    point, point_low, image, image_low = vectors[0], vectors[1], vectors[2], vectors[3]
    gram(rows, signs, 1.0, point, point_low)
    at = 0
    for i in range(k):
        for j in range(i, k):
            weight = 1.0 if i == j else math.sqrt(2.0)
            vectors[5, at] = weight * ((x[i, j] - point[at]) - point_low[at])
            point[at], point_low[at] = add_svec(point[at], point_low[at], i == j, 0.0, 0.0)
            image[at], image_low[at] = add_svec(-a[i, j], 0.0, i == j, 0.0, 0.0)
            at += 1
    operator_residual(columns, point, point_low, image, image_low)


@jit(fast=False, internal=True)
def subtract_slack(rows: Array, signs: Array, vectors: Array) -> None:
    """Write svec(R), accurate to one rounding, to vector 0, and svec(T) to vector 4."""
    k = signs.shape[0]
    residual, image, image_low, t, t_low = (
        vectors[0],
        vectors[2],
        vectors[3],
        vectors[4],
        vectors[1],
    )
    gram(rows, signs, -1.0, t, t_low)
    at = 0
    for i in range(k):
        for j in range(i, k):
            high, low = add_svec(-t[at], -t_low[at], i == j, image[at], image_low[at])
            residual[at] = high + low
            t[at] *= 1.0 if i == j else math.sqrt(2.0)
            at += 1


@jit(internal=True)
def refine_slack(
    rows: Array, signs: Array, lower: float, residual: Array, matrix: Array, product: Array
) -> None:
    """Let T take up what it can of R, where the eigensolver left rounding errors.

    Adding ``Σ_n g_mn v_n`` to w_m, v_n = w_n or u_n, changes T by the part of R between the ranges
    of T and of v_n, to first order, with ``g_mn = w_m·Rv_n / (|v_n|²(|w_m|² + |v_n|²))`` for
    v_n = w_n, and without the last ``|v_n|²`` for u_n. The latter makes ``c = ⟨Y, T⟩`` positive,
    which pays only where λ_min(B) is small: there ``lower·|u_n|²`` takes its place. Any vectors are
    valid, and ``4‖R‖`` keeps g small where T is no larger than R.
    """
    k = signs.shape[0]
    at = 0
    for i in range(k):
        for j in range(i, k):
            matrix[i, j] = matrix[j, i] = residual[at] if i == j else residual[at] / math.sqrt(2.0)
            at += 1
    damping = 4.0 * norm(residual)
    for m in range(k):
        for i in range(k):
            product[m, i] = 0.0
            for j in range(k):
                product[m, i] += rows[m, j] * matrix[j, i]
    for m in range(k):
        for i in range(k):
            matrix[m, i] = 0.0
        if signs[m] > 0.0:
            continue
        size = _square(rows, m)
        for n in range(k):
            other = _square(rows, n)
            if other == 0.0:
                continue
            factor = 0.0
            for i in range(k):
                factor += product[m, i] * rows[n, i]
            partner = other if signs[n] < 0.0 else lower * other
            factor /= other * (size + partner + damping)
            for i in range(k):
                matrix[m, i] += factor * rows[n, i]
    for m in range(k):
        for i in range(k):
            rows[m, i] += matrix[m, i]


@jit(internal=True)
def _square(rows: Array, m: int) -> float:
    """Return the squared norm of a row."""
    total = 0.0
    for i in range(rows.shape[1]):
        total += rows[m, i] * rows[m, i]
    return total
