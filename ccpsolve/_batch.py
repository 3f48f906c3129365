"""Many problems at once, in parallel."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ccpsolve._arguments import require_count, require_fraction
from ccpsolve._certificate import Certificate
from ccpsolve._errors import InvalidProblemError
from ccpsolve._problem import ConeComplementarityProblem
from ccpsolve._solution import Solution
from ccpsolve._solve import solve_problem
from ccpsolve._status import Status
from ccpsolve._verdict import AT_ROUNDING

__all__ = ["BatchSolution", "solve_ccp_batch"]

Array = NDArray[np.float64]

_FIELDS = tuple(entry.name for entry in fields(Certificate))
_CERTIFICATE = np.dtype([(name, np.float64) for name in _FIELDS])

_NAME = "U16"  # holds the name of every method

_CHUNK = 64
"""Fewest problems that a thread takes at a time: fewer are not worth a thread."""

_CHUNKS = 8
"""Of a large batch a thread gets this many pieces, so that all end at about the same time."""


@dataclass(frozen=True, eq=False)
class BatchSolution:
    """The answers to a batch of problems.

    Attributes
    ----------
    alphas, betas : ndarray, shape (B, k, k) and (B, n, n)
        The data that were solved (symmetrised where they were symmetric to rounding).
    X : ndarray, shape (B, k, k)
        The solutions.
    status : ndarray of Status, shape (B,)
        How each solve ended.
    certificates : structured ndarray, shape (B,)
        With the fields of `Certificate`: ``batch.certificates["error_bound"]`` has shape (B,).
    iterations : ndarray, shape (B,)
        Newton steps taken.
    method : ndarray of str, shape (B,)
        The method that produced each X.

    ``len(batch)`` is B, and ``batch[b]`` is one answer as a `Solution`.
    """

    alphas: Array
    betas: Array
    X: Array
    status: NDArray[np.object_]
    certificates: NDArray[np.void]
    iterations: NDArray[np.int64]
    method: NDArray[np.str_]
    _singular: dict[int, Solution] = field(repr=False)

    def __len__(self) -> int:
        return self.X.shape[0]

    def __getitem__(self, index: int) -> Solution:
        index = range(len(self))[index]
        if index in self._singular:
            return self._singular[index]
        problem = ConeComplementarityProblem(self.alphas[index], self.betas[index])
        X = self.X[index]
        return Solution(
            problem,
            X,
            problem.apply(X) - problem.alpha,
            self.status[index],
            Certificate(*self.certificates[index].tolist()),
            int(self.iterations[index]),
            str(self.method[index]),
        )


def solve_ccp_batch(
    alphas: ArrayLike,
    betas: ArrayLike,
    *,
    x0: ArrayLike | None = None,
    tol: float = 1e-10,
    workers: int | None = None,
) -> BatchSolution:
    """Solve and certify many problems of the same order, in parallel over problems.

    Parameters
    ----------
    alphas : array_like, shape (B, k, k)
        Symmetric matrices α.
    betas : array_like, shape (B, n, n) or (n, n)
        Operators β in `svec` coordinates, n = k(k+1)/2; one for each problem, or one for all.
    x0 : array_like, shape (B, k, k), optional
        Starting points.
    tol : float
        As `solve_ccp`.
    workers : int, optional
        Number of threads; by default the number of processors this process may use.

    Returns
    -------
    BatchSolution
        The answers that `solve_ccp` gives one by one. A problem without solution does not raise:
        look at ``status``.

    Raises
    ------
    InvalidProblemError
        If an argument is not valid; where it is one problem of the batch, the message says which.

    Examples
    --------
    >>> import numpy as np
    >>> import ccpsolve
    >>> alphas = [np.diag([2.0, -1.0]), np.diag([-1.0, -1.0]), np.eye(2)]
    >>> batch = ccpsolve.solve_ccp_batch(alphas, np.eye(3))
    >>> batch.X.trace(axis1=1, axis2=2).tolist()
    [2.0, 0.0, 2.0]
    >>> {status.name for status in batch.status}
    {'SOLVED'}
    """
    alphas, betas = _batch_arrays(alphas, betas)
    count, k = alphas.shape[:2]
    starts = np.zeros_like(alphas) if x0 is None else _numbers(x0, "x0", alphas.shape)
    require_fraction(tol=tol)
    if k == 0 or count == 0:
        return _one_by_one(alphas, betas, tol)
    return _compiled(alphas, betas, starts, x0 is not None, tol, _worker_count(workers))


def _numbers(value: ArrayLike, name: str, shape: tuple[int, ...] | None = None) -> Array:
    """Return a fresh C-contiguous float64 copy; NaN is found later, where the problem is known."""
    found = np.asarray(value)
    if found.dtype.kind not in "fiu":
        raise InvalidProblemError(f"{name} has dtype {found.dtype}; real numbers are needed")
    if shape is not None and found.shape != shape:
        raise InvalidProblemError(f"{name} has shape {found.shape}; {shape} is needed")
    return np.array(found, dtype=np.float64, order="C")


def _batch_arrays(alphas: ArrayLike, betas: ArrayLike) -> tuple[Array, Array]:
    matrices, operators = _numbers(alphas, "alphas"), _numbers(betas, "betas")
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise InvalidProblemError(f"alphas has shape {matrices.shape}; (B, k, k) is needed")
    count, k = matrices.shape[:2]
    n = k * (k + 1) // 2
    if operators.shape == (n, n):
        operators = np.repeat(operators[None], count, axis=0)
    if operators.shape != (count, n, n):
        raise InvalidProblemError(
            f"betas has shape {operators.shape}; for alphas of shape {matrices.shape} it must be "
            f"({count}, {n}, {n}) or ({n}, {n}), in svec coordinates"
        )
    return matrices, operators


def _worker_count(workers: int | None) -> int:
    if workers is None:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    require_count(workers=workers)
    return workers


def _refuse(alphas: Array, betas: Array, index: int) -> None:
    """Raise the error of the problem that a compiled check refused."""
    try:
        ConeComplementarityProblem(alphas[index], betas[index])
    except InvalidProblemError as error:
        raise InvalidProblemError(f"problem {index} of the batch: {error}") from None


def _compiled(
    alphas: Array, betas: Array, X: Array, warm: bool, tol: float, workers: int
) -> BatchSolution:
    from ccpsolve._solver.driver import ROUTES
    from ccpsolve._solver.many import Buffers, Results, solve_and_certify
    from ccpsolve._validation import INVALID, symmetrise_many

    count, k = alphas.shape[:2]
    kinds, symmetric = np.empty(count, np.int64), np.empty(count, np.bool_)
    results = Results.allocate(count, k)._replace(X=X)
    size = max(_CHUNK, count // (_CHUNKS * workers))

    def solve(first: int) -> None:
        piece = slice(first, min(first + size, count))
        kinds[piece] = symmetrise_many(alphas[piece], betas[piece])
        symmetric[piece] = kinds[piece] == 1
        if (kinds[piece] != INVALID).all():
            data = (alphas, betas, symmetric, warm, piece.start, piece.stop)
            solve_and_certify(*data, results, Buffers.allocate(k))

    chunks = range(0, count, size)
    if workers == 1 or len(chunks) == 1:
        for first in chunks:
            solve(first)
    else:
        with ThreadPoolExecutor(min(workers, len(chunks))) as pool:
            list(pool.map(solve, chunks))
    if (kinds == INVALID).any():
        _refuse(alphas, betas, int(np.argmax(kinds == INVALID)))
    return _collect(alphas, betas, results.X, results.certificates, results.reports, ROUTES, tol)


def _collect(
    alphas: Array,
    betas: Array,
    X: Array,
    certificates: Array,
    reports: NDArray[np.int64],
    routes: tuple[str, ...],
    tol: float,
) -> BatchSolution:
    """Judge the answers; the few that are not plainly solved go through `solve_problem` again."""
    table = certificates.view(_CERTIFICATE)[:, 0]
    status = np.full(len(X), Status.SOLVED, dtype=object)
    iterations, method = reports[:, 0].copy(), np.array(routes, _NAME)[reports[:, 1]]
    plain = (table["min_eig_beta"] > 0.0) & (table["natural_residual"] < min(tol, AT_ROUNDING))
    singular = {}
    for index in np.flatnonzero(~plain).tolist():
        problem = ConeComplementarityProblem(alphas[index], betas[index])
        solution = singular[index] = solve_problem(problem, tol=tol)
        X[index], status[index] = solution.X, solution.status
        iterations[index], method[index] = solution.iterations, solution.method
        table[index] = tuple(getattr(solution.certificate, name) for name in _FIELDS)
    return BatchSolution(alphas, betas, X, status, table, iterations, method, singular)


def _one_by_one(alphas: Array, betas: Array, tol: float) -> BatchSolution:
    """Answer an empty batch, or one of order 0."""
    count = len(alphas)
    return _collect(
        alphas,
        betas,
        np.zeros_like(alphas),
        np.full((count, len(_FIELDS)), np.nan),
        np.zeros((count, 2), dtype=np.int64),
        ("closed form",),
        tol,
    )
