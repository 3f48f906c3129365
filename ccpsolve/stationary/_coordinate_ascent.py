r"""Coordinate ascent on the rows of E, for sparse H with many critical directions.

The dual over Z = EEᵀ, E of shape d×r, is maximised one row at a time. With s = Σ_{j≠i} H_ij E_j the
best row is ``e = √½·sin(t)·s/‖s‖`` where t ∈ [0, π/2] maximises the one-variable function
``½H_ii sin²t + √2 ‖s‖ sin t + 2c_i cos t``; without a gradient term t = π/2 unless that is negative
(the mixing method). A sweep costs as much as r products. The preconditioner is then read off
``p_i = √(c_i² + ½‖(HE)_i‖²)``.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from ccpsolve._errors import InvalidProblemError
from ccpsolve._numba import jit
from ccpsolve.stationary._candidate import Candidate
from ccpsolve.stationary._certifier import Certifier
from ccpsolve.stationary._problem import StationaryProblem

__all__ = ["solve_coordinate_ascent"]

Array = NDArray[np.float64]

_SWEEPS = 200  # before the first certificate; doubled after each
_MOST_COLUMNS = 30
_LANCZOS_STEPS = 400  # many eigenvalues crowd at the edge


def solve_coordinate_ascent(
    problem: StationaryProblem,
    certifier: Certifier,
    *,
    start: Array | None = None,
    rng: np.random.Generator,
    max_sweeps: int = 3000,
) -> Candidate:
    """Ascend until certified or the sweeps allowed are spent.

    Parameters
    ----------
    problem : StationaryProblem
        The data; the entries of H must be known.
    certifier : Certifier
        Asked after 200 sweeps, and each time their number has doubled.
    start : ndarray, shape (d, r), optional
        E of a nearby problem; its columns join random ones.
    rng : numpy.random.Generator
        Source of the start.
    max_sweeps : int
        Budget.

    Returns
    -------
    Candidate
        The last p and E.

    References
    ----------
    Wang, Chang, Kolter, "The Mixing Method", arXiv:1706.00476.
    """
    if problem.hessian.matrix is None:
        raise InvalidProblemError(
            "hessian is known by products only; method='coordinate_ascent' needs its entries: "
            "allowed: an array or a scipy.sparse matrix"
        )
    matrix = scipy.sparse.csr_array(problem.hessian.matrix)
    columns = min(int(np.ceil(np.sqrt(2 * problem.d))) + 1, problem.d, _MOST_COLUMNS)
    E = rng.standard_normal((problem.d, columns))
    E *= 0.5 / np.linalg.norm(E, axis=1, keepdims=True)
    if start is not None:
        used = min(start.shape[1], columns)
        E *= 1e-3
        E[:, :used] += start[:, :used]
    sweeps, planned, p = 0, _SWEEPS, problem.c
    while sweeps < max_sweeps:
        planned = min(planned, max_sweeps - sweeps)
        _sweep(matrix.data, matrix.indices, matrix.indptr, problem.c, E, planned)
        sweeps += planned
        HE = problem.hessian.apply(E)
        p = np.sqrt(problem.c**2 + 0.5 * np.einsum("ij,ij->i", HE, HE))
        certifier.certify(p, E, max_steps=_LANCZOS_STEPS)
        if certifier.done:
            break
        planned = sweeps
    return Candidate(p, E, sweeps, "the sweeps allowed were spent")


@jit(allocates=True)
def _sweep(data, indices, indptr, c, E, sweeps):
    """Replace each row of E by the best one, ``sweeps`` times over."""
    d, r = E.shape
    s = np.empty(r)
    for _ in range(sweeps):
        for i in range(d):
            s[:] = 0.0
            own = 0.0
            for k in range(indptr[i], indptr[i + 1]):
                j = indices[k]
                if j == i:
                    own = data[k]
                else:
                    for m in range(r):
                        s[m] += data[k] * E[j, m]
            length = np.sqrt(np.sum(s * s))
            if length > 0:
                sine = _best_sine(0.5 * own, np.sqrt(2.0) * length, 2.0 * c[i])
                for m in range(r):
                    E[i, m] = np.sqrt(0.5) * sine * s[m] / length


@jit
def _best_sine(a, b, c):
    """Find sin t that maximises a·sin²t + b·sin t + c·cos t on [0, π/2], for b > 0 and c ≥ 0.

    The derivative by t falls from b to −c with one zero in between; bisection.
    """
    low, high = 0.0, 0.5 * np.pi
    for _ in range(50):
        t = 0.5 * (low + high)
        if 2 * a * np.sin(t) * np.cos(t) + b * np.cos(t) - c * np.sin(t) > 0:
            low = t
        else:
            high = t
    return np.sin(high)
