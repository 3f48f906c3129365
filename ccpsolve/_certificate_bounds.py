r"""The rigorous part of the certificate: how far the candidate can be from the solution.

The bounds are evaluated in the coordinates ``X = C X' C`` with ``C_i ≈ β_iiii^(−1/4)`` rounded to
powers of two, in which β has a diagonal about 1, for the pair of `ccpsolve._certificate_pair`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ccpsolve._certificate_pair import evaluate_image, refine_slack, subtract_slack
from ccpsolve._certificate_work import UNIT_ROUNDOFF, Work, inner, norm
from ccpsolve._numba import jit

__all__ = ["equilibrate", "error_bounds"]

Array = NDArray[np.float64]

_MILD = 16.0  # ratio of the C_i up to which all are made equal: λ_min(B) is then not weakened
_LARGEST_EXPONENT = 100  # of the congruence, met only where β has (almost) zeros on its diagonal


@jit(internal=True)
def equilibrate(
    columns: Array, a: Array, x: Array, s: Array, congruence: Array, weight: Array
) -> tuple[bool, float]:
    """Pass to the coordinates ``X' = C⁻¹XC⁻¹``, exactly, for C holds powers of two.

    Returns whether all C_i are equal, and the largest factor ``C_i C_j`` of the way back.
    """
    k, n = a.shape[0], weight.shape[0]
    largest, smallest = 0.0, np.inf
    at = 0
    for i in range(k):
        value = columns[at, at]
        exponent = -math.frexp(value)[1] // 4 if value > 0.0 else 0
        congruence[i] = math.ldexp(1.0, min(max(exponent, -_LARGEST_EXPONENT), _LARGEST_EXPONENT))
        largest, smallest = max(largest, congruence[i]), min(smallest, congruence[i])
        at += k - i
    if largest <= _MILD * smallest:
        congruence[:] = smallest = largest
    at = 0
    for i in range(k):
        for j in range(k):
            scale = congruence[i] * congruence[j]
            a[i, j] *= scale
            s[i, j] *= scale
            x[i, j] /= scale
            if j >= i:
                weight[at] = scale
                at += 1
    for b in range(n):
        for m in range(n):
            columns[b, m] *= weight[b] * weight[m]
    return largest == smallest, largest * largest


@jit(internal=True)
def error_bounds(work: Work, symmetric: bool, lower: float, largest: float, out: Array) -> None:
    """Write the error bounds, the bound of λ_min(B) and, for symmetric β, those of the objective.

    ``lower`` and ``work.factor`` come from `prove_definite`: B ⪰ lower·I and B ⪰ LLᵀ; ``largest``
    comes from `equilibrate`. The distance from X* to the candidate is at most that to Y,
    ``(ρ + √(ρ² + 4c))/2`` with ``ρ = ‖R‖_{B⁻¹}`` and ``c = ⟨Y, T⟩``, plus that from Y to X.
    """
    columns, a, vectors, k = work.columns, work.a, work.vectors, work.a.shape[0]
    residual, t, difference, z = vectors[0], vectors[4], vectors[5], vectors[6]
    evaluate_image(columns, a, work.x, work.rows, work.values, vectors)
    subtract_slack(work.rows, work.values, vectors)
    refine_slack(work.rows, work.values, lower, residual, work.spare, work.turned)
    subtract_slack(work.rows, work.values, vectors)
    n = z.shape[0]
    trace_y, trace_t, c = _pair_sizes(work.rows, work.values)
    tail = 4.0 * ((n + 2 * k + 8) * UNIT_ROUNDOFF) ** 2  # rounding in twice the precision
    norm_beta = _size(columns, symmetric)
    rounding = UNIT_ROUNDOFF * norm(residual)
    rounding += tail * (norm_beta * trace_y + math.sqrt(inner(a, a)) + trace_t)
    rho = _dual_norm(work.factor, residual, z, lower) + rounding / math.sqrt(lower)
    distance = 0.5 * (rho + math.sqrt(rho * rho + 4.0 * c))

    tail *= trace_y
    moved_beta = _beta_norm(columns, difference, norm_beta) + math.sqrt(norm_beta) * tail
    moved = _unequilibrated_norm(difference, work.congruence) + largest * tail
    slack = 1.0 + 16.0 * (n + 20) * UNIT_ROUNDOFF  # rounding of sums of positive terms
    out[4] = slack * (largest * distance / math.sqrt(lower) + moved)
    out[5] = slack * (distance + moved_beta)
    out[9] = lower / (slack * largest * largest)
    if symmetric:
        gap = c + 0.5 * rho * rho + 0.5 * moved_beta * moved_beta
        gap += tail * (norm(residual) + trace_t)
        product, product_rounding = _inner_of_sum(residual, t, difference)
        gap = slack * (gap + product_rounding)
        out[7] = out[6] - product - gap - _objective_rounding(a, work.x, work.s)
        out[8] = abs(product) + gap


@jit(internal=True)
def _size(columns: Array, symmetric: bool) -> float:
    """Bound the Frobenius norm of β, by the trace where β is known to be positive definite."""
    if not symmetric:
        return 1.01 * math.sqrt(inner(columns, columns))
    trace = 0.0
    for i in range(columns.shape[0]):
        trace += columns[i, i]
    return 1.01 * trace


@jit(internal=True)
def _pair_sizes(rows: Array, signs: Array) -> tuple[float, float, float]:
    """Return bounds of tr Y, tr T and ``⟨Y, T⟩ = Σ (u·w)²``, which is zero but for rounding."""
    k = signs.shape[0]
    trace_y = trace_t = total = 0.0
    for m in range(k):
        for other in range(k):
            product = 0.0
            for i in range(k):
                product += rows[m, i] * rows[other, i]
            if m == other and signs[m] > 0.0:
                trace_y += product
            elif m == other:
                trace_t += product
            elif signs[m] > 0.0 > signs[other]:
                total += product * product
    rounding = 1.01 * (k + 1) * UNIT_ROUNDOFF
    root = 1.01 * (math.sqrt(total) + rounding * math.sqrt(trace_y * trace_t))
    return 1.01 * trace_y, 1.01 * trace_t, root * root


@jit(internal=True)
def _dual_norm(factor: Array, residual: Array, z: Array, lower: float) -> float:
    """Bound ``‖R‖_{B⁻¹}`` by a forward substitution with L, where B ⪰ LLᵀ and B ⪰ lower·I.

    For any z, ``‖R‖_{B⁻¹} ≤ ‖Lz‖_{B⁻¹} + ‖R − Lz‖_{B⁻¹} ≤ ‖z‖ + ‖R − Lz‖/√lower``, and the z that
    is computed has ``R − Lz = ΔL z`` with ``|ΔL| ≤ γ_n|L|`` (Higham, theorem 8.5).
    """
    n = residual.shape[0]
    squares = 0.0
    for i in range(n):
        total = residual[i]
        for j in range(i):
            total -= factor[i, j] * z[j]
            squares += factor[i, j] * factor[i, j]
        z[i] = total / factor[i, i]
        squares += factor[i, i] * factor[i, i]
    backward = 1.01 * (n + 1) * UNIT_ROUNDOFF * math.sqrt(squares / lower)
    return norm(z) * (1.0 + backward)


@jit(internal=True)
def _beta_norm(columns: Array, v: Array, norm_beta: float) -> float:
    """Bound ``‖V‖_B = √⟨V, β[V]⟩``, with the rounding of the quadratic form."""
    n = v.shape[0]
    total = squares = 0.0
    for b in range(n):
        image = 0.0
        for m in range(n):
            image += columns[b, m] * v[m]
        total += v[b] * image
        squares += v[b] * v[b]
    return math.sqrt(abs(total) + 2.02 * (n + 2) * UNIT_ROUNDOFF * norm_beta * squares)


@jit(internal=True)
def _unequilibrated_norm(v: Array, congruence: Array) -> float:
    """Return ``‖CV'C‖_F`` for svec(V')."""
    k = congruence.shape[0]
    total = 0.0
    at = 0
    for i in range(k):
        for j in range(i, k):
            total += (congruence[i] * congruence[j] * v[at]) ** 2
            at += 1
    return math.sqrt(total)


@jit(internal=True)
def _inner_of_sum(first: Array, second: Array, v: Array) -> tuple[float, float]:
    """Return ``⟨first + second, v⟩`` and a bound of its rounding error.

    This is the part of ``q(X) − q(Y) = ⟨R + T, X − Y⟩ + ½‖X − Y‖²_B`` that may have either sign.
    """
    n = v.shape[0]
    total = sizes = 0.0
    for m in range(n):
        total += (first[m] + second[m]) * v[m]
        sizes += (abs(first[m]) + abs(second[m])) * abs(v[m])
    return total, 1.01 * (n + 6) * UNIT_ROUNDOFF * sizes


@jit(internal=True)
def _objective_rounding(a: Array, x: Array, s: Array) -> float:
    """Bound the rounding error of ``q(X) = ½⟨X, S − α⟩``, S rounded once."""
    k = a.shape[0]
    sizes = 0.0
    for i in range(k):
        for j in range(k):
            sizes += abs(x[i, j]) * (abs(s[i, j]) + abs(a[i, j]))
    return 1.01 * (k * k + 8) * UNIT_ROUNDOFF * sizes
