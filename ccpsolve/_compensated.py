"""Arithmetic in twice the working precision, for residuals that a rigorous bound can rest on.

A number is carried as an unevaluated sum of two float64, ``high + low``. The error-free
transformations are those of Knuth and Dekker; accumulating their errors gives a dot product as
accurate as if computed with about 32 digits and then rounded (Ogita, Rump and Oishi, Accurate sum
and dot product, SIAM J. Sci. Comput. 26, 2005, doi:10.1137/030601818).

Everything here is compiled without reassociation or fused operations: both would destroy the
identities these functions rest on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccpsolve._numba import jit

__all__ = [
    "accumulate_product",
    "add_svec",
    "gram",
    "operator_residual",
    "two_product",
    "two_sum",
]

Array = NDArray[np.float64]

_SPLITTER = 134217729.0  # 2²⁷ + 1 (Dekker)
_ROOT2 = float(np.sqrt(2.0))
_ROOT2_LOW = -9.667293313452913e-17  # √2 − _ROOT2, so that the pair has 32 digits


@jit(fast=False, internal=True)
def two_sum(a: float, b: float) -> tuple[float, float]:
    """Return (s, e) with ``s = fl(a + b)`` and ``s + e = a + b`` exactly."""
    s = a + b
    z = s - a
    return s, (a - (s - z)) + (b - z)


@jit(fast=False, internal=True)
def two_product(a: float, b: float) -> tuple[float, float]:
    """Return (p, e) with ``p = fl(a·b)`` and ``p + e = a·b`` exactly."""
    p = a * b
    t = _SPLITTER * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = _SPLITTER * b
    b_high = t - (t - b)
    b_low = b - b_high
    return p, a_low * b_low - (((p - a_high * b_high) - a_low * b_high) - a_high * b_low)


@jit(fast=False, internal=True)
def accumulate_product(high: float, low: float, a: float, b: float) -> tuple[float, float]:
    """Return the pair ``high + low + a·b``."""
    p, e = two_product(a, b)
    high, f = two_sum(high, p)
    return high, low + (e + f)


@jit(fast=False, internal=True)
def gram(rows: Array, signs: Array, sign: float, high: Array, low: Array) -> None:
    """Write the upper triangle of ``Σ rows[m] rows[m]ᵀ``, m with ``signs[m] == sign``, as pairs.

    Runs along rows, so that every operation is elementwise and can use vector instructions.
    """
    k = signs.shape[0]
    start = 0
    for i in range(k):
        for j in range(k - i):
            high[start + j] = low[start + j] = 0.0
        for m in range(k):
            if signs[m] == sign:
                x = rows[m, i]
                for j in range(k - i):
                    p, e = two_product(x, rows[m, i + j])
                    s, f = two_sum(high[start + j], p)
                    high[start + j] = s
                    low[start + j] += e + f
        start += k - i


@jit(fast=False, internal=True)
def add_svec(
    entry_high: float, entry_low: float, diagonal: bool, high: float, low: float
) -> tuple[float, float]:
    """Return the pair ``high + low + w·entry``, where w is the svec weight 1 or √2."""
    if diagonal:
        s, e = two_sum(high, entry_high)
        return s, low + (e + entry_low)
    s, e = accumulate_product(high, low, entry_high, _ROOT2)
    return s, e + (entry_high * _ROOT2_LOW + entry_low * _ROOT2)


@jit(fast=False, internal=True)
def operator_residual(
    columns: Array, x_high: Array, x_low: Array, r_high: Array, r_low: Array
) -> None:
    """Add ``β x`` to the residual pair r in place; ``columns[b]`` is column b of β.

    Runs along columns, so that every operation is elementwise and can use vector instructions.
    """
    n = columns.shape[0]
    for b in range(n):
        x = x_high[b]
        tail = x_low[b]
        t = _SPLITTER * x
        x_up = t - (t - x)
        x_down = x - x_up
        for a in range(n):
            c = columns[b, a]
            p = c * x
            t = _SPLITTER * c
            c_up = t - (t - c)
            c_down = c - c_up
            e = c_down * x_down - (((p - c_up * x_up) - c_down * x_up) - c_up * x_down)
            h = r_high[a]
            s = h + p
            z = s - h
            r_low[a] += ((h - (s - z)) + (p - z)) + (e + c * tail)
            r_high[a] = s
