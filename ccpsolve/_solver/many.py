"""Solve and certify a run of problems in one compiled call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ccpsolve._certificate_kernel import FIELDS, certificate_kernel
from ccpsolve._certificate_work import certificate_work_sizes
from ccpsolve._numba import jit
from ccpsolve._solver.driver import solve_kernel
from ccpsolve._solver.workspace import (
    ROUTE,
    STEPS,
    integer_size,
    make_workspace,
    workspace_size,
)

__all__ = ["Buffers", "Results", "solve_and_certify"]

Array = NDArray[np.float64]

_REPORT = 2  # steps, index of the algorithm


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
        alpha, beta, X = alphas[b], betas[b], results.X[b]
        solve_kernel(alpha, beta, symmetric[b], warm, X, ws)
        results.reports[b, 0] = int(ws.scalars[STEPS])
        results.reports[b, 1] = int(ws.scalars[ROUTE])
        certificate_kernel(
            alpha,
            beta,
            symmetric[b],
            X,
            buffers.certificate,
            buffers.integers,
            results.certificates[b],
        )
