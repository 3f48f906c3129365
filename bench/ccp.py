"""Benchmark of CCP solvers: families × orders × solvers.

``python -m bench.ccp`` writes a table and a plot to docs/benchmarks. Times are medians of runs that
alternate between solvers, as multiples of the floor measured beside them in the same process: one
n×n Cholesky solve plus one k×k eigendecomposition (LAPACK, from compiled code). An answer counts as
a success where its natural residual, computed by us, is at most 1e-8.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import ccpsolve
from bench.ccp_report import write_report
from bench.ccp_solvers import COMPILED, PYTHON, Case
from ccpsolve import _lapack
from ccpsolve._certificate import certify_problem
from ccpsolve._known_problems import KnownProblem
from ccpsolve._numba import jit
from ccpsolve.testing import FAMILIES, family_problem

__all__ = ["Row", "floor_time", "main"]

_logger = logging.getLogger(__name__)

_ORDERS = (3, 5, 10, 20)
_BUDGET = 0.5  # seconds for the runs of one solver on one problem, beyond the first
_RUNS = 5


@dataclass(frozen=True)
class Row:
    """One solver on one problem."""

    family: str
    k: int
    seed: int
    solver: str
    seconds: float
    floors: float
    residual: float  # natural residual, inf where there was no answer
    error: float  # ‖X − X*‖/‖X*‖, NaN where X* is not unique or zero


@jit
def _floor(
    alpha: Any, beta: Any, square: Any, factor: Any, vectors: Any, work: Any, n: int
) -> None:
    floats, integers = work
    for _ in range(n):
        for i in range(factor.shape[0]):
            for j in range(i + 1):
                factor[i, j] = beta[i, j]
        _lapack.lapack_cholesky_factor(factor)
        _lapack.lapack_cholesky_solve(factor, vectors[0])
        for i in range(square.shape[0]):
            for j in range(square.shape[0]):
                square[i, j] = alpha[i, j]
        _lapack.lapack_eigh_rows(square, vectors[1, : square.shape[0]], floats, integers)


def floor_time(k: int, count: int = 20) -> float:
    """Return the seconds of one floor of order k: the minimum over a few loops of ``count``."""
    n = k * (k + 1) // 2
    rng = np.random.default_rng(0)
    alpha, beta = rng.standard_normal((k, k)), rng.standard_normal((n, n))
    alpha, beta = alpha + alpha.T, beta @ beta.T + n * np.eye(n)
    floats, integers = _lapack.eigh_workspace_sizes.py_func(k)
    work = (np.empty(floats), np.empty(integers, np.int32))
    arrays = (alpha, beta, alpha.copy(), beta.copy(), np.ones((2, n)), work)
    _floor(*arrays, 1)
    return min(_seconds(lambda: _floor(*arrays, count)) / count for _ in range(5))


def _seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _timed(call: Any, compiled: bool, floor: float) -> tuple[float, Any]:
    """Return the median seconds of one solve, and its X."""
    count = max(3, int(2e-3 / (10 * floor))) if compiled else 1
    arguments = (count,) if compiled else ()
    X = call(*arguments)  # compiles, and fills caches
    samples: list[float] = []
    while len(samples) < _RUNS and sum(samples) < _BUDGET:
        samples.append(_seconds(lambda: call(*arguments)))
    return float(np.median(samples)) / count, X


def measure(case: Case, seed: int, solvers: list[str]) -> Iterator[Row]:
    """Run solvers on one problem, with the floor measured anew before each."""
    known, k = case.known, case.known.problem.k
    for name in solvers:
        call = (COMPILED.get(name) or PYTHON[name])(case)
        if call is None:  # the solver does not take such problems
            continue
        floor = floor_time(k)
        seconds, X = _timed(call, name in COMPILED, floor)
        yield Row(case.family, k, seed, name, seconds, seconds / floor, *_quality(known, X))


def _quality(known: KnownProblem, X: Any) -> tuple[float, float]:
    """Return the natural residual and, where it means something, the relative error."""
    if X is None or not np.isfinite(X).all():
        return np.inf, np.inf
    X = 0.5 * (X + X.T)
    residual = certify_problem(known.problem, X).natural_residual
    size = np.linalg.norm(known.X)
    comparable = np.isfinite(known.rounding) and size > 0.0
    return residual, known.error(X) / size if comparable else np.nan


def _problems_of_flows(path: Path, k: int) -> Iterator[tuple[int, KnownProblem]]:
    """Yield problems met along real flows (their solutions are not known)."""
    with np.load(path) as data:
        if f"alpha_k{k}" not in data:
            return
        for index, (alpha, beta) in enumerate(
            zip(data[f"alpha_k{k}"], data[f"beta_k{k}"], strict=True)
        ):
            problem = ccpsolve.ConeComplementarityProblem(alpha, beta)
            nothing = np.zeros_like(alpha)
            yield index, KnownProblem(problem, nothing, nothing, np.inf)


def _cases(options: argparse.Namespace) -> Iterator[tuple[int, Case]]:
    for k in options.k:
        for family in options.families:
            for seed in range(options.seeds):
                yield seed, Case.make(family, family_problem(family, k, seed), seed)
        if options.flows:
            chosen = list(_problems_of_flows(options.flows, k))
            for index, known in chosen[:: max(1, len(chosen) // options.seeds)][: options.seeds]:
                yield index, Case.make("flows", known, index)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.ccp", description=__doc__)
    parser.add_argument("--k", type=int, nargs="+", default=list(_ORDERS), help="orders")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--solvers", nargs="+", default=[*COMPILED, *PYTHON])
    parser.add_argument("--seeds", type=int, default=3, help="problems per family and order")
    parser.add_argument("--flows", type=Path, help="npz of problems met along flows, as a family")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and write its table, plot and raw numbers."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    rows: list[Row] = []
    for seed, case in _cases(options):
        rows.extend(measure(case, seed, options.solvers))
        _logger.info("%s k=%d seed %d: done", case.family, case.known.problem.k, seed)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "ccp.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    write_report(options.out, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
