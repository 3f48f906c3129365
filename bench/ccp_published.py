"""Ours against the solver of the published flow code: one line for each order.

``python -m bench.ccp_published`` solves the same problems with the compiled kernel, with
`ccpsolve.solve_ccp`, and with cvxpy + CVXOPT as the published code does, in turn in one process.
Times are CPU times, medians over problems of the family *boundary* (0 < rank X* < k); errors are
``‖X − X*‖/‖X*‖``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.ccp_solvers import COMPILED, PYTHON, Case
from ccpsolve.testing import family_problem

__all__ = ["Comparison", "compare", "main"]

_PUBLISHED = "cvxpy + CVXOPT (published)"
_KERNEL, _CALL = "ours, kernel, cold", "ours, solve_ccp"
_ORDERS = (3, 5, 10, 14, 20)
_FAMILY = "boundary"  # 0 < rank X* < k, condition 10
_LOOP = 200  # solves of the kernel in one timing, which is not to be of its call from Python
_ROUNDS = 3


@dataclass(frozen=True)
class Comparison:
    """Medians over the problems of one order."""

    k: int
    problems: int
    kernel: float  # seconds
    call: float
    published: float
    error: float  # of ours
    published_error: float

    def __str__(self) -> str:
        return (
            f"k = {self.k} ({self.problems} problems): {self.published / self.kernel:.0f} × faster "
            f"than {_PUBLISHED} (compiled; {self.published / self.call:.0f} × as a Python call), "
            f"{1e3 * self.kernel:.3g} ms against {1e3 * self.published:.3g} ms; error "
            f"{self.error:.1e} against {self.published_error:.1e}, "
            f"{self.published_error / self.error:.1e} × smaller"
        )


def compare(k: int, seeds: int) -> Comparison:
    """Time the three solvers on the problems of one order."""
    rows = []
    for seed in range(seeds):
        case = Case.make(_FAMILY, family_problem(_FAMILY, k, seed), seed)
        kernel, call, published = (
            COMPILED[_KERNEL](case),
            _call(case, _CALL),
            _call(case, _PUBLISHED),
        )
        times = [
            (_seconds(kernel, _LOOP) / _LOOP, _seconds(call), _seconds(published))
            for _ in range(_ROUNDS + 1)
        ][1:]  # the first compiles
        rows.append((*np.median(times, axis=0), *(_error(case, f) for f in (call, published))))
    return Comparison(k, len(rows), *np.median(rows, axis=0).tolist())


def _call(case: Case, solver: str) -> Callable[[], Any]:
    call = PYTHON[solver](case)
    assert call is not None  # as it is of the published model for non-symmetric β
    return call


def _seconds(call: Callable[..., Any], *arguments: int) -> float:
    start = time.process_time()
    call(*arguments)
    return time.process_time() - start


def _error(case: Case, call: Callable[[], Any]) -> float:
    """Return the relative error; an answer that is none has error 1."""
    X = call()
    return 1.0 if X is None else case.known.error(X) / float(np.linalg.norm(case.known.X))


def main(arguments: list[str] | None = None) -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m bench.ccp_published", description=__doc__)
    parser.add_argument("--k", type=int, nargs="+", default=list(_ORDERS), help="orders")
    parser.add_argument("--seeds", type=int, default=7, help="problems per order")
    options = parser.parse_args(arguments)
    for k in options.k:
        sys.stdout.write(f"{compare(k, options.seeds)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
