"""Exact feasibility of a preconditioner, H ⪯ 2 diag(p), when the entries of H are known."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["cholesky", "is_feasible", "smallest_feasible_scale"]

Array = NDArray[np.float64]

_UNIT_ROUNDOFF = np.finfo(np.float64).eps / 2
_INFLATIONS = 60
_DIRECT = 1000  # beyond this order the top eigenvalue is found iteratively
_ITERATIVE_ACCURACY = 1e-8


def cholesky(matrix: Array) -> Array | None:
    """Return the lower Cholesky factor (zeros above), or ``None`` if there is none."""
    factor, info = lapack.dpotrf(matrix, lower=1, clean=1)
    return factor if info == 0 else None


def is_feasible(hessian: Array, p: Array) -> bool:
    r"""Whether 2 diag(p) − H ⪰ 0, proved in floating point.

    A Cholesky factorisation of ``A − n·γ diag(A)``, γ = (n+1)u/(1−(n+1)u), that runs through proves
    A ⪰ 0 with every rounding error accounted for: the backward error of the factorisation is at
    most γ√(A_ii A_jj) entrywise.

    Parameters
    ----------
    hessian : ndarray, shape (d, d)
        H.
    p : ndarray, shape (d,)
        The preconditioner; coordinates with a zero row of H only need p_i ≥ 0.

    Returns
    -------
    bool
        ``True`` is a proof; ``False`` may also mean infeasible by less than rounding can tell.

    References
    ----------
    Rump, BIT 46 (2006) 433-452.

    Examples
    --------
    >>> import numpy as np
    >>> H = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> is_feasible(H, np.array([0.51, 0.5])), is_feasible(H, np.array([0.49, 0.5]))
    (True, False)
    """
    if (p < 0).any():
        return False
    support = (hessian != 0).any(axis=1)
    slack = -hessian if support.all() else -hessian[np.ix_(support, support)]
    n = len(slack)
    if n == 0:
        return True
    diagonal = np.einsum("ii->i", slack)
    diagonal += 2 * p[support]
    if (diagonal <= 0).any():
        return False
    gamma = (n + 1) * _UNIT_ROUNDOFF / (1 - (n + 1) * _UNIT_ROUNDOFF)
    # one more unit for forming 2p − H_ii itself
    diagonal -= n * gamma * diagonal + 2 * _UNIT_ROUNDOFF * (2 * p[support] + np.abs(diagonal))
    return cholesky(slack) is not None


def smallest_feasible_scale(hessian: Array, p: Array) -> float:
    """Find the smallest t with H ⪯ 2t·diag(p), that is λ_max(P⁻¹H)/2, and prove it feasible.

    Parameters
    ----------
    hessian : ndarray, shape (d, d)
        H.
    p : ndarray, shape (d,)
        Positive where H has a nonzero row.

    Returns
    -------
    float
        t ≥ 0, above λ_max(P⁻¹H)/2 by rounding only; inf where no multiple could be proved feasible.

    Examples
    --------
    >>> import numpy as np
    >>> t = smallest_feasible_scale(np.array([[0.0, 1.0], [1.0, 0.0]]), np.ones(2))
    >>> bool(np.isclose(t, 0.5, rtol=1e-12))
    True
    """
    support = (hessian != 0).any(axis=1)
    inner = hessian[np.ix_(support, support)]
    q = p[support]
    if not len(q):
        return 0.0
    if not (q > 0).all():
        return np.inf
    root = 1 / np.sqrt(q)
    scaled = root[:, None] * inner * root
    top, inflation = _top_eigenvalue(scaled)
    scale = max(top / 2, 0.0)
    floor = float(np.abs(scaled).max()) * _UNIT_ROUNDOFF
    del scaled
    for _ in range(_INFLATIONS):
        candidate = scale * (1 + inflation) + floor * inflation
        if is_feasible(inner, candidate * q):
            return candidate
        inflation *= 4
    return np.inf


def _top_eigenvalue(matrix: Array) -> tuple[float, float]:
    """Estimate λ_max, and say how far it may be off, relatively: the caller proves it."""
    n = len(matrix)
    if n > _DIRECT:
        start = np.random.default_rng(0).standard_normal(n)
        values = scipy.sparse.linalg.eigsh(
            matrix, k=1, which="LA", tol=_ITERATIVE_ACCURACY, v0=start, return_eigenvectors=False
        )
        return float(values[0]), _ITERATIVE_ACCURACY
    values = scipy.linalg.eigvalsh(matrix, subset_by_index=[n - 1, n - 1])
    return float(values[0]), 4 * n * _UNIT_ROUNDOFF
