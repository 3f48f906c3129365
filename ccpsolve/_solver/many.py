"""Solve and certify a run of problems in one compiled call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ccpsolve._certificate_kernel import FIELDS, certificate_kernel
from ccpsolve._certificate_work import certificate_work_sizes
from ccpsolve._numba import jit
from ccpsolve._solver.driver import COLD, NEWTON, REFINED, ROUTES, WARM, solve_kernel
from ccpsolve._solver.svec_kernels import copy, norm, pack, slack, unpack
from ccpsolve._solver.workspace import (
    CENTER,
    IMAGE,
    ROUTE,
    STEP,
    STEPS,
    TARGET,
    TRIAL,
    Workspace,
    integer_size,
    make_workspace,
    workspace_size,
)
from ccpsolve._validation import INVALID, symmetrise_data

__all__ = [
    "INVALID",
    "ROUTES",
    "Answer",
    "Buffers",
    "Results",
    "solve_and_certify",
    "solve_and_certify_one",
    "symmetrise_data",
]

Array = NDArray[np.float64]

_REPORT = 2  # steps, index of the algorithm
_ERROR_BOUND = 4  # position in a certificate
_GOOD = 1e-12  # bound of ‖X − X*‖/‖X‖ that needs no refinement


class Buffers(NamedTuple):
    """Work arrays of one thread, for problems of one order."""

    solver: Array
    certificate: Array
    integers: NDArray[np.int32]

    @classmethod
    def allocate(cls, k: int) -> Buffers:
        """Return work arrays for problems of order k."""
        floats, integers = certificate_work_sizes(k)
        return cls(
            np.empty(workspace_size.py_func(k)),
            np.empty(floats),
            np.empty(max(integer_size.py_func(k), integers), np.int32),
        )


class Results(NamedTuple):
    """Arrays that `solve_and_certify` fills."""

    X: Array  # (B, k, k) starting points on entry where asked for
    certificates: Array  # (B, FIELDS)
    reports: NDArray[np.int64]  # (B, 2) steps, index in ROUTES of the algorithm

    @classmethod
    def allocate(cls, count: int, k: int) -> Results:
        """Return results for ``count`` problems of order k."""
        return cls(
            np.zeros((count, k, k)), np.empty((count, FIELDS)), np.zeros((count, _REPORT), np.int64)
        )


class Answer(NamedTuple):
    """Arrays that `solve_and_certify_one` fills."""

    X: Array  # (k, k) a starting point on entry where asked for
    S: Array  # (k, k)
    certificate: Array  # (FIELDS,)
    report: NDArray[np.int64]  # (2,) as in `Results`

    @classmethod
    def allocate(cls, X: Array) -> Answer:
        """Return an answer that takes its X to, or from, the given array."""
        return cls(X, np.empty_like(X), np.empty(FIELDS), np.empty(_REPORT, np.int64))


@jit(internal=True)
def _copy_upper(matrix: Array, entries: Array, save: bool) -> None:
    """Copy the upper triangle of a symmetric matrix to a vector, or restore the matrix."""
    k, index = matrix.shape[0], 0
    for i in range(k):
        for j in range(i, k):
            if save:
                entries[index] = matrix[i, j]
            else:
                matrix[i, j] = matrix[j, i] = entries[index]
            index += 1


@jit(internal=True)
def _solve_and_certify(
    alpha: Array,
    beta: Array,
    symmetric: bool,
    warm: bool,
    X: Array,
    certificate: Array,
    report: NDArray[np.int64],
    ws: Workspace,
    work: Array,
) -> None:
    solve_kernel(alpha, beta, symmetric, WARM if warm else COLD, X, ws)
    report[0] = int(ws.scalars[STEPS])
    report[1] = int(ws.scalars[ROUTE])
    certificate_kernel(alpha, beta, symmetric, X, work, ws.integers, certificate)
    bound, kept = certificate[_ERROR_BOUND], ws.vectors[CENTER]
    _copy_upper(X, kept, True)
    good = _GOOD * norm(kept)
    if report[1] != NEWTON or not 0.0 < good < bound < np.inf:
        return
    copy(work[: kept.shape[0]], ws.vectors[IMAGE])
    solve_kernel(alpha, beta, symmetric, REFINED, X, ws)
    certificate_kernel(alpha, beta, symmetric, X, work, ws.integers, certificate)
    if certificate[_ERROR_BOUND] < bound:
        report[0] += 1
    else:
        _copy_upper(X, kept, False)
        certificate_kernel(alpha, beta, symmetric, X, work, ws.integers, certificate)


@jit
def solve_and_certify_one(
    alpha: Array, beta: Array, symmetric: bool, warm: bool, answer: Answer, buffers: Buffers
) -> None:
    """Solve one problem and certify the answer, k ≥ 1; arguments as for `solve_and_certify`."""
    ws = make_workspace(buffers.solver, buffers.integers, alpha.shape[0])
    X = answer.X
    _solve_and_certify(
        alpha, beta, symmetric, warm, X, answer.certificate, answer.report, ws, buffers.certificate
    )
    x, target, s = ws.vectors[TRIAL], ws.vectors[TARGET], ws.vectors[STEP]
    pack(X, x)
    pack(alpha, target)
    slack(beta, x, target, s)
    unpack(s, answer.S)


@jit
def solve_and_certify(
    alphas: Array,
    betas: Array,
    symmetric: NDArray[np.bool_],
    warm: bool,
    first: int,
    last: int,
    results: Results,
    buffers: Buffers,
) -> None:
    """Solve problems first, …, last − 1 of a batch and certify the answers, k ≥ 1.

    Parameters
    ----------
    alphas, betas : ndarray, shape (B, k, k) and (B, n, n)
        Validated data.
    symmetric : ndarray, shape (B,)
        Which β are symmetric.
    warm : bool
        Whether ``results.X`` holds starting points.
    first, last : int
        The range to solve.
    results, buffers
        Overwritten.
    """
    ws = make_workspace(buffers.solver, buffers.integers, alphas.shape[1])
    for b in range(first, last):
        _solve_and_certify(
            alphas[b],
            betas[b],
            symmetric[b],
            warm,
            results.X[b],
            results.certificates[b],
            results.reports[b],
            ws,
            buffers.certificate,
        )
