"""A batch against its kernel: what `ccpsolve.solve_ccp_batch` takes beside a compiled loop.

``python -m bench.ccp_batch`` solves the same problems in one compiled loop of solving and
certifying, with work arrays made once, and by the public function with one worker and with as many
as there are cores, in turn in one process. Times are by the clock, medians, each after an untimed
call that wakes the cores; the ratio is to the time of the loop divided by the number of workers.
Answers must be those of `ccpsolve.solve_ccp`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import ccpsolve
from ccpsolve._numba import jit
from ccpsolve._solver.many import Answer, Buffers, solve_and_certify_one
from ccpsolve.testing import family_problem

_FAMILY = "boundary"
_COMPARED = 200  # problems also solved one by one


@jit
def _loop(alphas: Any, betas: Any, X: Any, answer: Any, buffers: Any) -> None:
    for b in range(alphas.shape[0]):
        solve_and_certify_one(alphas[b], betas[b], True, False, answer, buffers)
        for i in range(X.shape[1]):
            for j in range(X.shape[1]):
                X[b, i, j] = answer.X[i, j]


def _seconds(call: Callable[[], Any]) -> float:
    call()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main(arguments: list[str] | None = None) -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(prog="python -m bench.ccp_batch", description=__doc__)
    parser.add_argument("--k", type=int, default=4, help="order")
    parser.add_argument("--count", type=int, default=10_000, help="problems")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    drawn = [family_problem(_FAMILY, options.k, seed).problem for seed in range(options.count)]
    alphas, betas = (np.stack([getattr(p, name) for p in drawn]) for name in ("alpha", "beta"))
    X, answer = np.zeros_like(alphas), Answer.allocate(np.zeros((options.k, options.k)))
    buffers = Buffers.allocate(options.k)
    calls: dict[int, Callable[[], Any]] = {0: lambda: _loop(alphas, betas, X, answer, buffers)}
    for workers in options.workers:
        calls[workers] = lambda workers=workers: ccpsolve.solve_ccp_batch(  # type: ignore[misc]
            alphas, betas, workers=workers
        )
    times: dict[int, list[float]] = {workers: [] for workers in calls}
    for _ in range(options.rounds + 1):
        for workers, call in calls.items():
            times[workers].append(_seconds(call))
    loop = statistics.median(times[0][1:])  # the first compiles
    sys.stdout.write(f"k = {options.k}, compiled loop: {1e6 * loop / options.count:.2f} µs each\n")
    for workers in options.workers:
        batch = statistics.median(times[workers][1:])
        ratio = batch * workers / loop
        sys.stdout.write(f"{workers} workers: {1e6 * batch / options.count:.2f} µs, {ratio:.2f}\n")
    some = ccpsolve.solve_ccp_batch(alphas[:_COMPARED], betas[:_COMPARED]).X
    alone = [ccpsolve.solve_ccp(p.alpha, p.beta).X for p in drawn[:_COMPARED]]
    sys.stdout.write(f"largest difference to one by one: {np.abs(some - alone).max():.1g}\n")


if __name__ == "__main__":
    main()
