"""Benchmark of CCP solvers: families × orders × solvers.

``python -m bench.ccp`` writes tables and a plot to docs/benchmarks. Times are CPU times of the
process on one core (the clock on the wall also counts what else the machine does), medians of runs
that alternate with the floor, and given as multiples of it: one n×n Cholesky solve plus one k×k
eigendecomposition (LAPACK, from compiled code). An answer counts as a success where its natural
residual, computed by us, is at most 1e-8.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ccpsolve
from bench.ccp_report import write_report
from bench.ccp_solvers import COMPILED, PYTHON, Case
from bench.rows import append_csv, read_csv, write_csv
from ccpsolve import _lapack
from ccpsolve._certificate import certify_problem
from ccpsolve._known_problems import KnownProblem
from ccpsolve._numba import jit
from ccpsolve.testing import FAMILIES, family_problem

__all__ = ["Row", "floor_call", "main"]

_logger = logging.getLogger(__name__)

_ORDERS = (3, 4, 5, 8, 10, 14, 20, 30)
_FLOWS = Path(__file__).parents[1] / "../shared/data/ccp_from_flows.npz"
_BUDGET = 0.5  # seconds for the runs of one solver on one problem, beyond the first
_RUNS = 7
_LOOP = 1e-3  # seconds that one timed loop takes, about


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


def floor_call(k: int) -> Callable[[int], None]:
    """Return the function that runs a number of floors of order k."""
    n = k * (k + 1) // 2
    rng = np.random.default_rng(0)
    alpha, beta = rng.standard_normal((k, k)), rng.standard_normal((n, n))
    alpha, beta = alpha + alpha.T, beta @ beta.T + n * np.eye(n)
    floats, integers = _lapack.eigh_workspace_sizes.py_func(k)
    work = (np.empty(floats), np.empty(integers, np.int32))
    arrays = (alpha, beta, alpha.copy(), beta.copy(), np.ones((2, n)), work)
    return lambda count: _floor(*arrays, count)


def _seconds(call: Any, *arguments: Any) -> float:
    start = time.process_time()
    call(*arguments)
    return time.process_time() - start


def _timed(call: Any, compiled: bool, floor: Any) -> tuple[float, float, Any]:
    """Return the median seconds of one solve and of a floor, in alternation, and the last X."""
    floor(1)
    floors = max(2, int(_LOOP / _seconds(floor, 10) * 10))
    repeat = call if compiled else partial(_repeat, call)
    X = repeat(1)  # compiles, and fills caches
    count = max(1, int(_LOOP / _seconds(repeat, 1)))
    samples: list[float] = []
    beside: list[float] = []
    while len(samples) < _RUNS and sum(samples) * count < _BUDGET:
        beside.append(_seconds(floor, floors) / floors)
        samples.append(_seconds(repeat, count) / count)
    return float(np.median(samples)), float(np.median(beside)), X


def _repeat(call: Callable[[], Any], count: int) -> Any:
    """Call a Python solver ``count`` times; return the last X."""
    for _ in range(count):
        X = call()
    return X


def measure(case: Case, seed: int, solvers: list[str]) -> Iterator[Row]:
    """Run solvers on one problem, each in alternation with the floor."""
    known, k = case.known, case.known.problem.k
    floor = floor_call(k)
    for name in solvers:
        call = (COMPILED.get(name) or PYTHON[name])(case)
        if call is None:  # the solver does not take such problems
            continue
        seconds, beside, X = _timed(call, name in COMPILED, floor)
        yield Row(case.family, k, seed, name, seconds, seconds / beside, *_quality(known, X))


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
        if options.flows.exists():
            chosen = list(_problems_of_flows(options.flows, k))
            for index, known in chosen[:: max(1, len(chosen) // options.seeds)][: options.seeds]:
                yield index, Case.make("flows", known, index)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.ccp", description=__doc__)
    parser.add_argument("--k", type=int, nargs="+", default=list(_ORDERS), help="orders")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument(
        "--solvers", nargs="+", default=[*COMPILED, *PYTHON], choices=[*COMPILED, *PYTHON]
    )
    parser.add_argument("--seeds", type=int, default=3, help="problems per family and order")
    parser.add_argument(
        "--flows", type=Path, default=_FLOWS, help="npz of problems met along flows, as a family"
    )
    parser.add_argument(
        "--others-up-to", type=int, default=20, help="largest order for solvers that are not ours"
    )
    parser.add_argument("--resume", action="store_true", help="keep the numbers in the CSV file")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and write its table, plot and raw numbers."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "ccp.csv"
    rows = read_csv(path, Row) if options.resume and path.exists() else []
    known = {(row.family, row.k, row.seed, row.solver) for row in rows}
    write_csv(path, rows, Row)
    for seed, case in _cases(options):
        k = case.known.problem.k
        names = [
            name
            for name in options.solvers
            if (k <= options.others_up_to or name.startswith("ours"))
            and (case.family, k, seed, name) not in known
        ]
        more = list(measure(case, seed, names))
        append_csv(path, more)
        rows.extend(more)
        _logger.info("%s k=%d seed %d: done", case.family, k, seed)
    write_report(options.out, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
