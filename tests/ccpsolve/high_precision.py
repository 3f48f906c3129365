"""Solutions of float64 problems to 30 digits: the truth that certificates are tested against.

Constructed problems do not provide it: rounding α moves the solution by κ(β)·1e-16. Newton's method
on the normal map is run in multiple precision from the constructed solution, with the Jacobian in
float64; each step then gains some ten digits. What is returned has proved its own distance to the
solution: ``‖X − X*‖ ≤ ‖G‖ / λ_min(β)`` for the residual G of an exactly complementary pair.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from mpmath import mp

from ccpsolve import ConeComplementarityProblem, smat, svec

DIGITS = 50


class Reference(NamedTuple):
    """A solution as the unevaluated sum ``high + low``, its slack, and the minimum of q."""

    high: np.ndarray
    low: np.ndarray
    slack: np.ndarray
    objective: float  # −½⟨α, X*⟩, correctly rounded; of no meaning for non-symmetric β

    def difference(self, X: np.ndarray) -> np.ndarray:
        """Return X − X*, accurate to rounding however close the two are."""
        return (X - self.high) - self.low


def reference_solution(problem: ConeComplementarityProblem, X0: np.ndarray) -> Reference:
    """Refine X0 to the solution of ``problem``, whose β must be positive definite.

    Works in the coordinates ``X = C X' C`` in which β has a diagonal about 1 (C of powers of two).
    """
    corners = np.cumsum([0, *range(problem.k, 1, -1)])
    C = 2.0 ** np.round(-np.log2(problem.beta.diagonal()[corners]) / 4)
    stretch = np.outer(C, C)
    weight = stretch[np.triu_indices(problem.k)]
    equilibrated = ConeComplementarityProblem(
        problem.alpha * stretch, problem.beta * np.outer(weight, weight)
    )
    found = _refined(equilibrated, X0 / stretch)
    return Reference(
        found.high * stretch, found.low * stretch, found.slack / stretch, found.objective
    )


def _refined(problem: ConeComplementarityProblem, X0: np.ndarray) -> Reference:
    lowest = float(np.linalg.eigvalsh(0.5 * (problem.beta + problem.beta.T))[0])
    assert lowest > 1e-13 * np.abs(problem.beta).max(), "β is not safely positive definite"
    gamma = _gamma(problem, X0)
    scale = max(np.linalg.norm(X0), np.linalg.norm(problem.alpha) / np.abs(problem.beta).max())
    with mp.workdps(DIGITS):
        alpha = _weighted(problem.alpha, mp.sqrt(2))
        beta = mp.matrix(problem.beta.tolist())
        Z = mp.matrix((X0 - gamma * (problem.apply(X0) - problem.alpha)).tolist())
        for _ in range(60):
            values, vectors = mp.eigsy(Z)
            X = _psd_part(values, vectors)
            slack = (X - Z) / gamma
            residual = beta * _weighted(X, mp.sqrt(2)) - alpha - _weighted(slack, mp.sqrt(2))
            error = float(mp.norm(residual)) / (0.5 * lowest)
            if error <= 1e-30 * scale:
                high = np.array(X.tolist(), dtype=float)
                low = np.array((X - mp.matrix(high.tolist())).tolist(), dtype=float)
                product = sum(a * x for a, x in zip(alpha, _weighted(X, mp.sqrt(2)), strict=True))
                return Reference(
                    high, low, np.array(slack.tolist(), dtype=float), float(-product / 2)
                )
            Z -= _newton_step(problem, gamma, values, vectors, residual)
    raise AssertionError(f"no reference solution: error {error:.3g}, scale {scale:.3g}")


def _gamma(problem: ConeComplementarityProblem, X: np.ndarray) -> float:
    slack = np.linalg.norm(problem.apply(X) - problem.alpha)
    size = max(np.linalg.norm(X), np.linalg.norm(problem.alpha) / np.abs(problem.beta).max())
    slack = max(slack, 0.05 * np.linalg.norm(problem.alpha))
    return float(size / slack) if slack > 0.0 else 1.0


def _weighted(X, root2) -> mp.matrix:
    """Return svec(X) in multiple precision."""
    k = X.rows if isinstance(X, mp.matrix) else len(X)
    entries = [mp.mpf(X[i, j]) * (1 if i == j else root2) for i in range(k) for j in range(i, k)]
    return mp.matrix(entries)


def _psd_part(values, vectors) -> mp.matrix:
    k = len(values)
    X = mp.zeros(k, k)
    for m in range(k):
        if values[m] > 0:
            X += values[m] * (vectors[:, m] * vectors[:, m].T)
    return X


def _newton_step(problem, gamma: float, values, vectors, residual) -> mp.matrix:
    """Solve ``((β − I/γ) Π'(Z) + I/γ)[dZ] = G`` in float64 for the G in multiple precision."""
    k = len(values)
    V = np.array(vectors.tolist(), dtype=float)
    slopes = np.array([[float(_slope(values[i], values[j])) for j in range(k)] for i in range(k)])
    basis = smat(np.eye(problem.n))
    turned = np.einsum("ia,nij,jb->nab", V, basis, V) * slopes
    derivative = svec(np.einsum("ia,nab,jb->nij", V, turned, V)).T
    eye = np.eye(problem.n) / gamma
    size = mp.norm(residual)
    right = np.array((residual / size).tolist(), dtype=float).ravel()
    step = np.linalg.solve((problem.beta - eye) @ derivative + eye, right)
    return size * mp.matrix(smat(step).tolist())


def _slope(a, b):
    """Return (a₊ − b₊)/(a − b), and 1 or 0 at a = b."""
    if a > 0 and b > 0:
        return mp.mpf(1)
    if a <= 0 and b <= 0:
        return mp.mpf(0)
    return max(a, b) / (abs(a) + abs(b))
