"""Study of the CCP solver on random problems with known solutions: every answer must be right.

``python -m bench.ccp_families`` draws 100,000 problems from the twelve usual families of
`ccpsolve.testing`, k = 1..30, a tenth as many from the further ones, and some of orders up to 60.
Every problem must come back, without an exception, as SOLVED, with

* a natural residual of at most 1e-12, evaluated here, independently of the solver;
* an error ``‖X − X*‖`` within the certified bound plus ``κ(β)·1e-15·‖X*‖``, the effect of rounding
  the data (‖α‖/‖β‖ in place of ‖X*‖ where X* = 0), wherever X* is known and unique.

The numbers of all problems go to a CSV file as they come (``--resume`` goes on from there), a table
to the documentation; the exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bench.ccp_families_report import write_table
from bench.rows import append_csv, read_csv, write_csv
from ccpsolve import ConeComplementarityProblem, Status
from ccpsolve._solve import solve_problem
from ccpsolve._symmetric import psd_part
from ccpsolve.testing import FAMILIES, KnownProblem, family_problem

__all__ = [
    "FURTHER",
    "USUAL",
    "Answer",
    "Draw",
    "check",
    "draws",
    "failure_of",
    "main",
    "natural_residual",
]

FURTHER = ("extreme_scales", "few_weights", "indefinite_by_rounding", "everything")
USUAL = tuple(name for name in FAMILIES if name not in FURTHER)

_RESIDUAL = 1e-12  # largest natural residual that passes
_ROUNDING = 1e-15  # of the data, times κ(β)
_MAX_ORDER, _LARGEST_ORDER = 30, 60
_CHUNK = 48  # problems that a process takes at a time


@dataclass(frozen=True)
class Draw:
    """Which problem: `family_problem(family, k, seed)`."""

    family: str
    k: int
    seed: int


@dataclass(frozen=True)
class Answer:
    """What became of one problem."""

    family: str
    k: int
    seed: int
    status: str
    method: str
    iterations: int
    residual: float  # natural residual, evaluated here
    error: float  # ‖X − X*‖_F, NaN where X* is not unique
    bound: float  # the certified one
    rounding: float  # effect of rounding the data, NaN as above
    seconds: float  # of the solve, certificate and verdict included
    failure: str  # empty where all is well

    @property
    def ratio(self) -> float:
        """Error over all that may explain it; NaN where there is no bound."""
        allowed = self.bound + self.rounding
        if not np.isfinite(allowed):
            return np.nan
        return self.error / allowed if allowed else float(self.error > 0.0)


def natural_residual(problem: ConeComplementarityProblem, X: np.ndarray, norm: float) -> float:
    """Return ``‖X − Π(X − τS)‖_F / x_s`` for ‖β‖₂ = norm, with none of the certificate's code."""
    norm_x, norm_alpha = float(np.linalg.norm(X)), float(np.linalg.norm(problem.alpha))
    norm = norm or np.finfo(float).tiny
    scale = max(norm_x, norm_alpha / norm)
    if scale == 0.0:
        return 0.0
    step = scale / (norm * norm_x + norm_alpha)
    slack = problem.apply(X) - problem.alpha
    return float(np.linalg.norm(X - psd_part(X - step * slack))) / scale


def check(draw: Draw) -> Answer:
    """Solve one problem and compare the answer with what is known."""
    known = family_problem(draw.family, draw.k, draw.seed)
    start = time.perf_counter()
    try:
        solution = solve_problem(known.problem)
    except Exception:  # "no exception" is what is tested
        failure = traceback.format_exc(limit=-1)
        nothing = [np.nan] * 5
        return Answer(draw.family, draw.k, draw.seed, "EXCEPTION", "", 0, *nothing, failure)
    seconds = time.perf_counter() - start
    norm, condition = _norm_and_condition(known.problem)
    residual = natural_residual(known.problem, solution.X, norm)
    error, rounding = _error(known, solution.X, norm, condition)
    answer = Answer(
        draw.family,
        draw.k,
        draw.seed,
        solution.status.name,
        solution.method,
        solution.iterations,
        residual,
        error,
        solution.certificate.error_bound,
        rounding,
        seconds,
        "",
    )
    return Answer(**{**vars(answer), "failure": failure_of(answer)})


def _error(
    known: KnownProblem, X: np.ndarray, norm: float, condition: float
) -> tuple[float, float]:
    """Return ‖X − X*‖ and what rounding the data can have to do with it, NaN if X* not unique."""
    if not np.isfinite(known.rounding):
        return np.nan, np.nan
    size = float(np.linalg.norm(known.X)) or float(np.linalg.norm(known.problem.alpha)) / norm
    return known.error(X), condition * _ROUNDING * size


def _norm_and_condition(problem: ConeComplementarityProblem) -> tuple[float, float]:
    """Return ‖β‖₂, and its ratio to the smallest eigenvalue of the symmetric part."""
    unit = float(np.abs(problem.beta).max()) or 1.0
    beta = problem.beta / unit
    values = np.linalg.eigvalsh(0.5 * (beta + beta.T))
    norm = float(np.abs(values).max()) if problem.symmetric else float(np.linalg.norm(beta, 2))
    return norm * unit, norm / values[0] if values[0] > 0.0 else np.inf


def failure_of(answer: Answer) -> str:
    """Say what is wrong with an answer, in a few words; nothing where all is well."""
    if answer.status != Status.SOLVED.name:
        return f"status {answer.status}"
    if not answer.residual <= _RESIDUAL:
        return f"natural residual {answer.residual:.1e}"
    if answer.ratio > 1.0:
        return f"error {answer.error:.1e}, bound {answer.bound:.1e} + {answer.rounding:.1e}"
    return ""


def draws(count: int, further: int, large: int, seed: int) -> Iterator[Draw]:
    """Name the problems of a study.

    Parameters
    ----------
    count : int
        Of problems from the usual families together, k = 1..30 in turn.
    further : int
        Of problems from each of the further families, k = 1..30 in turn.
    large : int
        Of problems of orders 31..60, from all families in turn.
    seed : int
        Of the first problem of each family; the others follow.
    """
    each = -(-count // len(USUAL))
    for index in range(max(each, further)):
        families = (USUAL if index < each else ()) + (FURTHER if index < further else ())
        for family in families:
            yield Draw(family, 1 + index % _MAX_ORDER, seed + index)
    names = (*USUAL, *FURTHER)
    orders = _LARGEST_ORDER - _MAX_ORDER
    for index in range(large):
        # 7 and the 30 orders have no common divisor: families meet orders of all sizes
        k = _MAX_ORDER + 1 + 7 * index % orders
        yield Draw(names[index % len(names)], k, seed + index)


def _check_many(chunk: list[Draw]) -> list[Answer]:
    return [check(draw) for draw in chunk]


def run(todo: list[Draw], processes: int, record: Callable[[list[Answer]], None]) -> None:
    """Check all problems, with a progress bar; ``record`` gets the answers as they come."""
    chunks = [todo[first : first + _CHUNK] for first in range(0, len(todo), _CHUNK)]
    check(Draw("condition_1e12", 3, 0))  # compiles, before processes compile the same twice
    failed = 0
    with tqdm(total=len(todo), unit="problem", mininterval=1.0) as bar, _mapping(processes) as each:
        for answers in each(_check_many, chunks):
            record(answers)
            failed += sum(bool(answer.failure) for answer in answers)
            bar.update(len(answers))
            bar.set_postfix(failed=failed)


@contextmanager
def _mapping(processes: int) -> Iterator[Callable[..., Iterator[list[Answer]]]]:
    """Give a ``map`` that works in so many processes."""
    if processes == 1:
        yield map
    else:
        with ProcessPoolExecutor(processes) as pool:
            yield pool.map


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ccp_families",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=100_000, help="of the twelve usual families")
    parser.add_argument("--further", type=int, default=2000, help="of each further family")
    parser.add_argument("--large", type=int, default=160, help="of orders 31..60")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="keep the answers in the CSV file")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = _parser().parse_args(arguments)
    todo = list(draws(options.count, options.further, options.large, options.seed))
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "ccp_families.csv"
    answers = read_csv(path, Answer) if options.resume and path.exists() else []
    known = {(answer.family, answer.k, answer.seed) for answer in answers}
    write_csv(path, answers, Answer)

    def record(more: list[Answer]) -> None:
        answers.extend(more)
        append_csv(path, more)

    run([draw for draw in todo if astuple(draw) not in known], options.processes, record)
    table = write_table(options.out / "ccp_families.md", answers, _MAX_ORDER)
    sys.stdout.write(table)
    failed = [answer for answer in answers if answer.failure]
    for answer in failed:
        sys.stdout.write(f"{answer.family} k={answer.k} seed={answer.seed}: {answer.failure}\n")
    sys.stdout.write(f"{len(failed)} of {len(answers)} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
