"""Arithmetic in twice the working precision, for residuals that a rigorous bound can rest on.

A number is carried as an unevaluated sum of two float64, ``high + low``. The error-free
transformations are Knuth's sum and a product whose error a fused multiply-add gives; accumulating
the errors makes a dot product as accurate as if computed with about 32 digits and then rounded
(Ogita, Rump and Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26, 2005,
doi:10.1137/030601818).

Everything here is compiled without reassociation or contraction by the compiler: both would destroy
the identities these functions rest on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
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

_ROOT2 = float(np.sqrt(2.0))
_ROOT2_LOW = -9.667293313452913e-17  # √2 − _ROOT2, so that the pair has 32 digits


def _fused_multiply_add(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Round ``a·b + c`` once: one instruction, or the C library's function without it."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


_fused: Any = intrinsic(_fused_multiply_add)


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
    return p, _fused(a, b, -p)


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
        for a in range(n):
            c = columns[b, a]
            p = c * x
            e = _fused(c, x, -p)
            h = r_high[a]
            s = h + p
            z = s - h
            r_low[a] += ((h - (s - z)) + (p - z)) + (e + c * tail)
            r_high[a] = s
