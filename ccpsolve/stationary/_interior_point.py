r"""Primal-dual interior point for dense H: every iterate is feasible, no rank to choose.

The unknowns are p, the dual matrix Z and multipliers y of p ≥ 0 (which matter where c_i = 0):

.. math:: S = 2\,\mathrm{diag}(p) - H \succ 0,\quad SZ = \mu I,\quad p\,y = \mu,\quad
          1 - c^2/p^2 - 2\,\mathrm{diag}Z - y = 0 .

The direction is that of Helmberg, Kojima and Monteiro (SZ = μI linearised as
dZ = μS⁻¹ − Z − sym(S⁻¹ dS Z)), with Mehrotra's predictor and corrector; the Newton matrix is d×d:
``4 S⁻¹∘Z + diag(2c²/p³ + y/p)``.

NumPy and SciPy each bring a BLAS with threads of its own, which wait for work by turning idly: used
in turns they take the processor from each other, and d = 200 took nine times longer on two cores.
So all matrix products here are SciPy's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from ccpsolve.stationary._candidate import Candidate
from ccpsolve.stationary._semidefinite import cholesky

__all__ = ["solve_interior_point"]

_logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

_TO_BOUNDARY = 0.95  # part of the way to the boundary of the cone that a step goes
_SMALLEST_CENTRING = 1e-6
_SPECTRAL_STEPS = 40  # Lanczos steps that look for the boundary
_DIRECT = 40  # up to this size the boundary is found by a full eigendecomposition
_HALVINGS = 30


@dataclass
class _Iterate:
    """A strictly feasible point with the factors its Newton system needs."""

    p: Array
    Z: Array
    y: Array
    factor_S: Array
    factor_Z: Array

    def inverse_S(self) -> Array:
        inverse, _ = lapack.dpotri(self.factor_S, lower=1)
        return _symmetric_from_lower(inverse)


@dataclass
class _Direction:
    p: Array
    Z: Array
    y: Array


class _Ending(NamedTuple):
    iterations: int
    note: str
    rounding: bool


def solve_interior_point(
    hessian: Array, c: Array, *, tol: float = 1e-8, max_iterations: int = 100
) -> Candidate:
    """Solve min Σ p + c²/p, H ⪯ 2 diag(p) for dense H.

    Parameters
    ----------
    hessian : ndarray, shape (d, d)
        H, symmetric.
    c : ndarray, shape (d,)
        |g|/η ≥ 0.
    tol : float
        Relative duality gap to reach.
    max_iterations : int
        Newton steps allowed; 10 to 20 are usual.

    Returns
    -------
    Candidate
        p strictly feasible up to rounding, and a factor E of the dual matrix Z = EEᵀ.

    References
    ----------
    Helmberg, Rendl, Vanderbei, Wolkowicz, SIAM J. Optim. 6 (1996) 342-361.

    Examples
    --------
    >>> import numpy as np
    >>> found = solve_interior_point(np.diag([1.0, -3.0]), np.array([0.1, 0.1]), tol=1e-10)
    >>> found.p.round(6)
    array([0.5, 0.1])
    """
    p = c.copy()
    support = (hessian != 0).any(axis=1)
    if not support.any():
        return Candidate(p, np.zeros((len(c), 0)))
    inner = hessian[np.ix_(support, support)]
    scale = max(float(np.abs(inner).max()), float(c[support].max()))
    point, ending = _iterate(inner / scale, c[support] / scale, tol, max_iterations)
    p[support] = scale * point.p
    Z = _row_scaled(point.Z)
    factor = _low_rank_factor(inner / scale, c[support] / scale, Z, 0.1 * tol * point.p.sum())
    E = np.zeros((len(c), factor.shape[1]))
    E[support] = factor
    return Candidate(p, E, ending.iterations, ending.note, ending.rounding)


def _iterate(H: Array, c: Array, tol: float, max_iterations: int) -> tuple[_Iterate, _Ending]:
    point = _start(H, c)
    for iteration in range(max_iterations):
        primal, dual = _values(H, c, point)
        _logger.debug("interior point %d: primal %.12g, dual %.12g", iteration, primal, dual)
        # half of the tolerance is left to the truncation of Z and to rounding
        if primal - dual <= 0.5 * tol * primal:
            return point, _Ending(iteration, "the gap was closed", True)
        moved = _newton_step(H, c, point)
        if moved is None:
            return point, _Ending(iteration, "rounding stopped the interior point", True)
        point = moved
    return point, _Ending(max_iterations, "the iterations allowed were spent", False)


def _start(H: Array, c: Array) -> _Iterate:
    p = 1.1 * (c + 0.5 * np.abs(H).sum(axis=1))  # diagonally dominant slack
    quarter = np.full(len(c), 0.25)
    factor = cholesky(_slack(H, p))
    assert factor is not None  # diagonal dominance
    return _Iterate(p, np.diag(quarter), quarter, factor, np.diag(np.sqrt(quarter)))


def _slack(H: Array, p: Array) -> Array:
    slack = -H
    np.einsum("ii->i", slack)[:] += 2 * p
    return slack


def _values(H: Array, c: Array, point: _Iterate) -> tuple[float, float]:
    """Primal value of p and dual value of Z with its rows scaled into the feasible set."""
    Z = _row_scaled(point.Z)
    dual = _inner(Z, H) + 2 * c @ np.sqrt(np.maximum(1 - 2 * np.diagonal(Z), 0))
    return float(point.p.sum() + (c * c / point.p).sum()), float(dual)


def _inner(a: Array, b: Array) -> float:
    return float(np.einsum("ij,ij->", a, b))


def _times(symmetric: Array, vector: Array) -> Array:
    """Product of a symmetric matrix, which is not copied, and a vector."""
    columns = symmetric if symmetric.flags.f_contiguous else symmetric.T
    product: Array = blas.dgemv(1.0, columns, vector)
    return product


def _row_scaled(Z: Array) -> Array:
    """Z with its rows and columns shrunk until Z_ii ≤ ½: dual feasible."""
    rows = 1 / np.sqrt(np.maximum(2 * np.diagonal(Z), 1))
    return rows[:, None] * Z * rows


def _newton_step(H: Array, c: Array, point: _Iterate) -> _Iterate | None:
    p, y = point.p, point.y
    inverse = point.inverse_S()
    newton = 4 * inverse * point.Z
    np.einsum("ii->i", newton)[:] += 2 * c**2 / p**3 + y / p
    factor = cholesky(newton)
    if factor is None:
        return None
    size = 2 * len(p)
    # ⟨S, Z⟩ = 2⟨p, diag Z⟩ − ⟨H, Z⟩
    mu = (2 * p @ np.diagonal(point.Z) - _inner(H, point.Z) + p @ y) / size
    predictor = _direction(point, c, inverse, factor, 0.0, None)
    a, b = _steps(point, predictor, 1.0)
    new_p, new_Z = p + a * predictor.p, point.Z + b * predictor.Z
    reached = 2 * new_p @ np.diagonal(new_Z) - _inner(H, new_Z)
    reached = (reached + new_p @ (y + b * predictor.y)) / size
    centring = min(1.0, max(float(reached / mu), 0.0)) ** 3
    target = max(centring, _SMALLEST_CENTRING) * float(mu)
    corrector = _direction(point, c, inverse, factor, target, predictor)
    return _move(H, point, corrector, *_steps(point, corrector, _TO_BOUNDARY))


def _direction(
    point: _Iterate, c: Array, inverse: Array, factor: Array, mu: float, first: _Direction | None
) -> _Direction:
    """Newton direction towards complementarity μ, second-order corrected by a first direction."""
    p, Z, y = point.p, point.Z, point.y
    right = c**2 / p**2 - 1 + 2 * mu * np.diagonal(inverse) + mu / p
    cross = 0.0 if first is None else first.p * first.y / p
    if first is not None:
        right = right - 4 * _times(inverse * first.Z, first.p) - cross
    step, _ = lapack.dpotrs(factor, right, lower=1)
    moved = (2 * step)[:, None] * Z
    if first is not None:
        moved += (2 * first.p)[:, None] * first.Z
    product = blas.dgemm(-0.5, inverse.T, moved.T, trans_a=1, trans_b=1)
    product = product + product.T
    product -= Z
    if mu > 0:
        product += mu * inverse
    return _Direction(step, product, mu / p - y - (y / p) * step - cross)


def _steps(point: _Iterate, direction: _Direction, part: float) -> tuple[float, float]:
    """Step lengths of p and of (Z, y): ``part`` of the way to the boundary, at most 1."""
    primal = min(
        _distance_to_boundary(point.factor_S, 2 * direction.p),
        _distance_to_zero(point.p, direction.p),
    )
    dual = min(
        _distance_to_boundary(point.factor_Z, direction.Z),
        _distance_to_zero(point.y, direction.y),
    )
    return min(1.0, part * primal), min(1.0, part * dual)


def _move(H: Array, point: _Iterate, step: _Direction, a: float, b: float) -> _Iterate | None:
    """Take the step, shortened until both matrices factorise."""
    for _ in range(_HALVINGS):
        p = point.p + a * step.p
        factor_S = cholesky(_slack(H, p))
        if factor_S is not None:
            break
        a /= 2
    else:
        return None
    for _ in range(_HALVINGS):
        Z = point.Z + b * step.Z
        factor_Z = cholesky(Z)
        if factor_Z is not None:
            return _Iterate(p, Z, point.y + b * step.y, factor_S, factor_Z)
        b /= 2
    return None


def _distance_to_zero(values: Array, step: Array) -> float:
    fastest = float((-step / values).max())
    return 1 / fastest if fastest > 0 else np.inf


def _distance_to_boundary(factor: Array, step: Array) -> float:
    """Largest α with LLᵀ + α·step ⪰ 0; a vector stands for a diagonal matrix."""
    if len(factor) <= _DIRECT:
        matrix = np.diag(step) if step.ndim == 1 else step
        scaled = blas.dtrsm(1.0, factor, matrix, lower=1)
        scaled = blas.dtrsm(1.0, factor, scaled, lower=1, side=1, trans_a=1)
        smallest = float(np.linalg.eigvalsh(scaled)[0])
    else:
        smallest = _smallest_eigenvalue(factor, step)
    return -1 / smallest if smallest < 0 else np.inf


def _smallest_eigenvalue(factor: Array, step: Array) -> float:
    """λ_min(L⁻¹ step L⁻ᵀ) by Lanczos, less its residual; a miss is caught by `_move`."""
    n = len(factor)
    basis = np.empty((n, _SPECTRAL_STEPS + 1), order="F")
    basis[:, 0] = np.random.default_rng(0).standard_normal(n)
    basis[:, 0] /= np.linalg.norm(basis[:, 0])
    diagonal = np.zeros(_SPECTRAL_STEPS)
    off = np.zeros(_SPECTRAL_STEPS)
    value = -np.inf
    for j in range(_SPECTRAL_STEPS):
        w = blas.dtrsv(factor, basis[:, j], lower=1, trans=1)
        w = step * w if step.ndim == 1 else _times(step, w)
        w = blas.dtrsv(factor, w, lower=1)
        inside = blas.dgemv(1.0, basis[:, : j + 1], w, trans=1)
        diagonal[j] = inside[j]
        w -= blas.dgemv(1.0, basis[:, : j + 1], inside)
        off[j] = np.linalg.norm(w)
        ritz, vectors, _ = lapack.dstev(diagonal[: j + 1], off[: max(j, 1)])
        residual = off[j] * abs(vectors[-1, 0])
        value = ritz[0] - residual
        if j >= 5 and (residual <= 0.03 * abs(ritz[0]) or value > -0.5):
            break
        if off[j] <= 1e-12 * np.abs(ritz).max():
            break
        basis[:, j + 1] = w / off[j]
    return float(value)


def _low_rank_factor(H: Array, c: Array, Z: Array, allowed: float) -> Array:
    """Keep the fewest principal axes of Z that leave the dual value within ``allowed`` of the best.

    Along axes where S is positive Z is of the size of μ, and leaving them out raises the dual.
    """
    n = len(c)
    few = min(n, 2 * int(np.ceil(np.sqrt(2 * n))) + 10)  # a vertex of the dual has rank ≤ √(2n)
    values = np.zeros(1)
    E = np.zeros((n, 0))
    for count in (few, n):
        weights, axes = scipy.linalg.eigh(Z, subset_by_index=[n - count, n - 1])
        E = (axes * np.sqrt(np.maximum(weights, 0)))[:, ::-1]
        values = _truncated_values(H, c, E)
        if count == n or np.argmax(values) < count:
            break
    rank = int(np.argmax(values >= values.max() - allowed))
    return E[:, :rank]


def _truncated_values(H: Array, c: Array, E: Array) -> Array:
    """Dual values with the first 0, 1, … columns of E."""
    quadratic = np.einsum("ij,ij->j", E, blas.dgemm(1.0, H.T, E))
    quadratic = np.concatenate([[0.0], np.cumsum(quadratic)])
    z = np.zeros(len(c))
    values = np.empty(E.shape[1] + 1)
    for rank in range(E.shape[1] + 1):
        if rank > 0:
            z += E[:, rank - 1] ** 2
        values[rank] = quadratic[rank] + 2 * c @ np.sqrt(np.maximum(1 - 2 * z, 0))
    return values


def _symmetric_from_lower(matrix: Array) -> Array:
    lower = np.tril(matrix, -1)
    return lower + lower.T + np.diag(np.diagonal(matrix))
