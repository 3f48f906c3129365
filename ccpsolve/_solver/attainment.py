r"""Whether a problem with singular β has a solution, and if not, why not.

For monotone β and ε > 0 the regularised problem CCP(α, β + εI) has exactly one solution X(ε), and
its size tells the cases apart as ε → 0 (Tikhonov regularisation: Facchinei and Pang,
Finite-Dimensional Variational Inequalities, 2003, section 12.2):

* a solution exists exactly when ‖X(ε)‖ stays bounded; X(ε) then tends to the smallest one;
* ``εX(ε)`` tends to a limit D, for symmetric β the projection of α on the cone of all D ⪰ 0 with
  β[D] = 0. Where it is not zero, ⟨α, D⟩ > 0 and the problem is unbounded along the ray D;
* in between, ‖X(ε)‖ ~ ε^(−p) with 0 < p < 1, the infimum is finite and not attained.

For non-symmetric β a ray is a D ⪰ 0 with −βᵀ[D] ⪰ 0 and ⟨α, D⟩ > 0, which no feasible X allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._status import Status
from ccpsolve._symmetric import smat, svec, svec_basis
from ccpsolve._verdict import ROUNDING_OF_EIGENVALUES

__all__ = ["Attainment", "judge_attainment", "regularised_path"]

Array = NDArray[np.float64]

_SHIFTS = tuple(10.0**-e for e in (4, 6, 8, 10, 12))
"""ε relative to ‖β‖₂ of the equilibrated problem."""

_BOUNDED_GROWTH = 0.02
"""Exponent p up to which ‖X(ε)‖ counts as bounded: a semidefinite program of order k that is not
attained can have p as small as 2^−k, so orders up to 5 are told apart for certain."""

_LINEAR_GROWTH = 0.9
"""Exponent p from which growth counts as that along a ray, p = 1."""

_FACE = 1e-9
"""Eigenvalues (of D, relative to the largest) and singular values (of β on its face, relative to
‖β‖₂) below this are zeros blurred by what is left of X(ε)."""

_ROUNDING = 1e-13
"""How far the conditions on a ray may be missed, relative to their terms."""

_LEAST_GAIN = 1e-12
"""Smallest ⟨α, D⟩/‖α‖‖D‖ of a ray; less cannot be told from rounding in the data."""

_ROUNDING_OF_ALPHA = 1e-14
"""Error of α, relative to ‖α‖, that may be all that keeps a problem from having a solution."""

_EVIDENT = 0.01
"""Relative uncertainty of ‖X(ε)‖ up to which its growth is evidence."""

_ACCURATE = 1e-11
"""Residual of a regularised problem that is taken as solved."""


class PathPoint(NamedTuple):
    """One solution X(ε) ⪰ 0 of a regularised problem."""

    X: Array
    size: float  # its Frobenius norm in the equilibrated coordinates
    uncertainty: float  # of the size: how far rounding of α and of the solve can move X(ε)


@dataclass(frozen=True, eq=False)
class Attainment:
    """What became of X(ε) as ε → 0.

    Attributes
    ----------
    status : Status
        SOLVED (bounded), UNBOUNDED or UNATTAINED.
    ray : ndarray, shape (k, k), or None
        The normalised direction, where unbounded.
    points : tuple of ndarray
        X(ε) for falling ε; where there is no solution, their residuals fall and their norms grow.
    """

    status: Status
    ray: Array | None
    points: tuple[Array, ...]


def regularised_path(
    problem: ConeComplementarityProblem, shifts: tuple[float, ...] = _SHIFTS
) -> Iterator[PathPoint]:
    r"""Solve CCP(α, β + ε‖β‖₂ E) for falling ε, each from the solution before.

    E is the identity in the coordinates in which the diagonal of β is equilibrated. In them
    β + ε‖β‖₂E is strongly monotone with modulus ε‖β‖₂: an error δ of α moves X(ε) by at most
    δ/ε‖β‖₂.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        With monotone β.
    shifts : tuple of float
        Values of ε, falling.

    Yields
    ------
    PathPoint
        X(ε), until a regularised problem is not solved.

    Examples
    --------
    >>> from ccpsolve.testing import unattained_problem
    >>> from ccpsolve._solver.attainment import regularised_path
    >>> problem, _ = unattained_problem()
    >>> [round(point.size, 1) for point in regularised_path(problem, (1e-4, 1e-8))]
    [9.9, 100.0]
    """
    from ccpsolve._solver.rescue import solve_surely

    beta, stretch = _equilibrated(problem)
    alpha = problem.alpha * stretch
    norm = _spectral_norm(beta, problem.symmetric) or 1.0
    X = np.zeros_like(alpha)
    last_size, growth = 0.0, 1.0
    for shift in shifts:
        regularised = ConeComplementarityProblem(alpha, beta + shift * norm * np.eye(problem.n))
        X *= growth  # along a ray, X(ε) is proportional to 1/ε
        warm = last_size > 0.0
        residual = solve_surely(regularised, X, warm)
        if not residual <= _ACCURATE:
            return
        size = float(np.linalg.norm(X))
        if size == 0.0:
            return
        growth = size / last_size if warm else 1.0
        last_size = size
        norm_alpha = float(np.linalg.norm(alpha))
        defect = residual * (norm * size + norm_alpha) + _ROUNDING_OF_ALPHA * norm_alpha
        yield PathPoint(X * stretch, size, defect / (shift * norm))


def judge_attainment(problem: ConeComplementarityProblem) -> Attainment:
    """Decide from the growth of X(ε) whether the problem has a solution.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        With monotone β.

    Returns
    -------
    Attainment
        The verdict, the ray if there is one, and the points X(ε).
    """
    if _is_definite(problem):
        return Attainment(Status.SOLVED, None, ())
    path: list[PathPoint] = []
    exponent = 0.0
    for point in regularised_path(problem):
        path.append(point)
        exponent = _growth(path)
        if exponent >= _LINEAR_GROWTH:
            ray = _ray(problem, point.X)
            if ray is not None:
                return Attainment(Status.UNBOUNDED, ray, tuple(p.X for p in path))
    status = Status.UNATTAINED if exponent > _BOUNDED_GROWTH else Status.SOLVED
    return Attainment(status, None, tuple(p.X for p in path))


def _is_definite(problem: ConeComplementarityProblem) -> bool:
    """Whether β is positive definite by more than the rounding of its eigenvalues.

    Then there is a solution, although the certificate, which asks for a proof, may have none.
    """
    beta, _ = _equilibrated(problem)
    values = np.linalg.eigvalsh(0.5 * (beta + beta.T))
    norm = np.abs(values).max(initial=0.0)
    smallest = values.min(initial=np.inf)
    return bool(smallest > ROUNDING_OF_EIGENVALUES * problem.n * norm)


def _growth(path: list[PathPoint]) -> float:
    """Return p of ‖X(ε)‖ ~ ε^(−p) where ε is smallest of all that are evidence, 0 without any."""
    ratio = np.log(_SHIFTS[0] / _SHIFTS[1])
    for before, point in reversed(list(pairwise(path))):
        if all(p.uncertainty <= _EVIDENT * p.size for p in (before, point)):
            return float(np.log(point.size / before.size) / ratio)
    return 0.0


def _ray(problem: ConeComplementarityProblem, X: Array) -> Array | None:
    """Return the normalised direction of X, freed of what is left of X(ε), if it is a ray."""
    D = X / np.linalg.norm(X)
    if problem.symmetric:
        D = _in_kernel(problem, D)
    gain = float(np.vdot(problem.alpha, D))
    image = -smat(problem.beta.T @ svec(D))
    proves = (
        np.linalg.norm(D) > 0.5
        and np.linalg.eigvalsh(D)[0] >= -_ROUNDING
        and np.linalg.eigvalsh(image)[0] >= -_ROUNDING * np.linalg.norm(problem.beta, 2)
        and gain > _LEAST_GAIN * np.linalg.norm(problem.alpha)
    )
    return D if proves else None


def _in_kernel(problem: ConeComplementarityProblem, D: Array) -> Array:
    """Project D on the kernel of β within the face of the cone in which D lies."""
    values, vectors = np.linalg.eigh(D)
    face = vectors[:, values > _FACE * values[-1]]
    basis = np.array([svec(face @ E @ face.T) for E in svec_basis(face.shape[1])])
    _, singular, right = np.linalg.svd(problem.beta @ basis.T)
    rank = int((singular > _FACE * np.linalg.norm(problem.beta, 2)).sum())
    kernel = right[rank:] @ basis
    return smat(kernel.T @ (kernel @ svec(D)))


def _spectral_norm(beta: Array, symmetric: bool) -> float:
    """Return ‖β‖₂; eigenvalues take half the time of singular values."""
    if symmetric:
        return float(np.abs(np.linalg.eigvalsh(beta)).max(initial=0.0))
    return float(np.linalg.norm(beta, 2))


def _equilibrated(problem: ConeComplementarityProblem) -> tuple[Array, Array]:
    """Return C⊗C β C⊗C and CC′, C powers of two that make the entries (ii, ii) of β similar."""
    diagonal = np.abs(smat(problem.beta.diagonal()).diagonal())
    largest = float(diagonal.max(initial=0.0)) or 1.0
    usable = np.where(diagonal > 1e-30 * largest, diagonal, largest)
    scale = np.exp2(np.floor(0.25 * np.log2(largest / usable)))
    stretch = np.outer(scale, scale)
    weight = stretch[np.triu_indices(problem.k)]
    return problem.beta * weight[:, None] * weight, stretch
