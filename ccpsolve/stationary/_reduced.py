r"""The stationary preconditioner restricted to a subspace: a concave program over small matrices.

With the Hessian replaced by LLᵀ (L of shape d×m, its Nyström approximation on the subspace) the
dual is, in Y ⪰ 0 of order m,

.. math:: \varphi(Y) = 2\sum_i \sqrt{c_i^2 + \tfrac12 L_i Y L_i^T} - \mathrm{tr}\,Y,
          \qquad p_i = \sqrt{c_i^2 + \tfrac12 L_i Y L_i^T} .

It costs no product with H. Its optimality condition 0 ⪯ Y ⟂ S(Y) = I − ½LᵀP⁻¹L ⪰ 0 is a
complementarity problem with a nonlinear, monotone S; each Newton step is a `solve_ccp`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from ccpsolve._solve import solve_ccp
from ccpsolve._symmetric import smat, svec
from ccpsolve.stationary._span import row_blocks

__all__ = ["ReducedSolution", "solve_reduced"]

Array = NDArray[np.float64]

_ARMIJO = 1e-4
_HALVINGS = 25
_ROUNDING = 1e-15
_VANISHING = 1e-9  # eigenvalues of Y below this, relative, are dropped
_RIDGE = 1e-11
_FLOOR = 1e-12  # p below this, relative to its mean, is raised: L_i Y L_iᵀ = 0 has no curvature


class ReducedSolution(NamedTuple):
    """The maximiser Y, the preconditioner it implies and the value φ."""

    Y: Array
    p: Array
    value: float

    def root(self) -> Array:
        """B of full column rank with BBᵀ = Y."""
        if not self.Y.size:
            return self.Y
        weights, axes = np.linalg.eigh(self.Y)
        kept = weights > _VANISHING * max(float(weights[-1]), 0.0)
        root: Array = axes[:, kept] * np.sqrt(weights[kept])
        return root


def solve_reduced(
    W: Array,
    c: Array,
    Y: Array | None = None,
    *,
    transform: Array | None = None,
    tol: float = 1e-10,
    max_steps: int = 30,
) -> ReducedSolution:
    """Maximise φ over Y ⪰ 0 by Newton's method with a line search.

    Parameters
    ----------
    W : ndarray, shape (d, q)
        ``L = W·transform`` is the factor of the Hessian; it is formed in blocks of rows.
    c : ndarray, shape (d,)
        |g|/η.
    Y : ndarray, shape (m, m), optional
        Start; by default the best multiple of the identity for c = 0.
    transform : ndarray, shape (q, m), optional
        Default: the identity, L = W.
    tol : float
        Stop after a step that promised less than this, relative to φ. The error of Y is of the
        order of its square root before, and of itself after such a step.
    max_steps : int
        Newton steps allowed.

    Returns
    -------
    ReducedSolution
        The maximiser, as accurate as the step count allowed.

    Examples
    --------
    >>> import numpy as np
    >>> found = solve_reduced(np.array([[2.0]]), np.array([0.0]))  # H = 4: p = 2
    >>> bool(np.isclose(found.p[0], 2.0)), bool(np.isclose(found.value, 2.0))
    (True, True)
    """
    L = _Factor(W, np.eye(W.shape[1]) if transform is None else transform)
    if L.m == 0:
        return ReducedSolution(np.zeros((0, 0)), c.copy(), 2 * float(c.sum()))
    if Y is None:
        Y = _starting_multiple(L) * np.eye(L.m)
    p = _preconditioner(L, c, Y)
    value = 2 * float(p.sum()) - float(np.trace(Y))
    for _ in range(max_steps):
        slack, operator = _newton_system(L, p)
        # the linearised condition 0 ⪯ X ⟂ S(Y) + K[X − Y] ⪰ 0
        alpha = smat(operator @ svec(Y)) - slack
        step = solve_ccp(alpha, operator, x0=Y, throw=False).X - Y
        promised = -float(np.vdot(slack, step))
        if not promised > _ROUNDING * abs(value):
            break
        moved = _line_search(L, c, Y, step, value, promised)
        if moved is None:
            break
        Y, p, value = moved
        if promised <= tol * abs(value):
            break
    return ReducedSolution(Y, p, value)


class _Factor(NamedTuple):
    W: Array
    transform: Array

    @property
    def m(self) -> int:
        return self.transform.shape[1]

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Rows of L, a block at a time."""
        return ((rows, self.W[rows] @ self.transform) for rows in row_blocks(len(self.W)))


def _line_search(
    L: _Factor, c: Array, Y: Array, step: Array, value: float, promised: float
) -> ReducedSolution | None:
    """Shorten the step until φ grows enough; the segment stays in the cone."""
    length = 1.0
    for _ in range(_HALVINGS):
        candidate = Y + length * step
        p = _preconditioner(L, c, candidate)
        reached = 2 * float(p.sum()) - float(np.trace(candidate))
        if reached >= value + _ARMIJO * length * promised:
            return ReducedSolution(candidate, p, reached)
        length /= 2
    return None


def _starting_multiple(L: _Factor) -> float:
    total = sum(float(np.sqrt(np.einsum("ij,ij->i", b, b)).sum()) for _, b in L.blocks())
    return (total / (np.sqrt(2) * L.m)) ** 2


def _preconditioner(L: _Factor, c: Array, Y: Array) -> Array:
    p = np.empty_like(c)
    for rows, block in L.blocks():
        quadratic = np.einsum("ij,ij->i", block @ Y, block)
        p[rows] = np.sqrt(c[rows] ** 2 + 0.5 * np.maximum(quadratic, 0))
    return p


def _newton_system(L: _Factor, p: Array) -> tuple[Array, Array]:
    """S = I − ½LᵀP⁻¹L, and K[X] = ⅛ Lᵀ diag(p⁻³ diag(LXLᵀ)) L in svec coordinates."""
    i, j = np.triu_indices(L.m)
    weight = np.where(i == j, 1.0, np.sqrt(2.0))
    floor = _FLOOR * float(p.mean()) + np.finfo(np.float64).tiny
    slack = np.eye(L.m)
    # by SciPy's BLAS, which the complementarity solver uses too: see `_interior_point`
    operator = np.zeros((len(i), len(i)), order="F")
    for rows, block in L.blocks():
        inverse = 1 / np.maximum(p[rows], floor)
        slack -= 0.5 * block.T @ (block * inverse[:, None])
        pairs = block[:, i] * block[:, j]
        pairs *= weight * (inverse**1.5)[:, None]
        operator = blas.dsyrk(0.125, pairs.T, beta=1.0, c=operator, lower=1, overwrite_c=1)
    operator += np.tril(operator, -1).T
    # a proximal term far below the step: K is singular where rows of L are too few or too alike
    operator += _RIDGE * np.trace(operator) / len(i) * np.eye(len(i))
    return slack, operator
