"""Warm starts of the stationary preconditioner along a run, and what the proof alone would take.

``python -m bench.stationary_warm`` trains the networks of `bench.stationary_networks` and stops at
``--places`` places, the first where the effective sharpness first reaches 2, the others 40 steps
apart. At each it counts Hessian-vector products from nothing and of a warm start 10 optimizer steps
later, certificates included. Where the warm start took most it asks what no solver can know: with
the optimal p given, what does it take to prove that p is feasible within the tolerance? Once by
Lanczos steps from a random start alone, and once with the top eigenvectors of P⁻¹H given as well,
as many as are best: a product for each, and the Lanczos steps on their complement.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse.linalg

from bench.stationary_networks import (
    BETWEEN,
    LOSSES,
    NETWORKS,
    TOLERANCE,
    heading,
    line,
    objective_of,
    train,
)
from ccpsolve.stationary import StationaryPreconditioner, stationary_preconditioner
from ccpsolve.stationary._lanczos_bound import largest_eigenvalue_bound
from flows.discrete import Discrete
from flows.stationary_solver import StationarySolver, hessian_products

# the first is that of RMSProp in the paper's public code
LEARNING_RATES = (2e-5, 1e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3)
_APART = 40  # optimizer steps between places
_EXACT = 1e-6  # tolerance of the p that is given away
_GIVEN = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32)  # eigenvectors given away
_BLOCK = 48  # vectors that they are found among
_ACCURACY = 1e-4  # of their residuals
_MOST_STEPS = 120
_FAILURE = 5e-7  # of one proof: what the solver allows its first
_NAMES = (
    *("lr", "network", "loss", "from nothing", "warm", "p moved", "H moved"),
    *("proof alone", "with eigenvectors"),
)


@dataclass
class Place:
    """Products at one place, and by how much ten steps moved p and H, relatively."""

    cold: int
    warm: int
    p_moved: float
    H_moved: float


def main(arguments: list[str] | None = None) -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--losses", nargs="*", default=list(LOSSES), choices=LOSSES)
    parser.add_argument("--lr", type=float, nargs="*", default=LEARNING_RATES)
    parser.add_argument("--places", type=int, default=8)
    parser.add_argument("--table", type=Path, default=Path("docs/stationary_warm_table.md"))
    options = parser.parse_args(arguments)
    text = heading(_NAMES)
    print(text, end="", flush=True)
    for lr in options.lr:
        for model in options.networks:
            for loss in options.losses:
                found = row(model, loss, lr, options.places)
                print(found, flush=True)
                text += found + "\n"
    options.table.write_text(text, encoding="utf-8")


def row(model: str, loss: str, lr: float, places: int) -> str:
    """Return a line of the table."""
    optimizer = train(objective_of(model, loss), lr)
    seen: list[tuple[Place, StationaryPreconditioner]] = []
    for number in range(places):
        for _ in range(_APART - BETWEEN if number else 0):
            optimizer.advance()
        seen.append(look(optimizer, lr))
    worst, solution = max(seen, key=lambda found: found[0].warm)
    cold, warm = ([getattr(place, way) for place, _ in seen] for way in ("cold", "warm"))
    return line(
        *(f"{lr:g}", model.upper(), LOSSES[loss]),
        *(f"{min(counts)} to {max(counts)}" for counts in (cold, warm)),
        *(f"{worst.p_moved:.0%}", f"{worst.H_moved:.0%}", *proof(solution)),
    )


def look(optimizer: Discrete, lr: float) -> tuple[Place, StationaryPreconditioner]:
    """Solve here and, warm, ten optimizer steps on."""
    objective = optimizer.objective
    solver = StationarySolver(objective, tol=TOLERANCE)
    before = hessian_products(objective, optimizer.w)
    cold = solver.solve(optimizer.w, objective.gradient(optimizer.w), lr)
    for _ in range(BETWEEN):
        optimizer.advance()
    warm = solver.solve(optimizer.w, objective.gradient(optimizer.w), lr)
    after = hessian_products(objective, optimizer.w)
    old = before(cold.D)
    weight = 1 / cold.p[:, None]
    H_moved = np.sqrt(np.sum(weight * (after(cold.D) - old) ** 2) / np.sum(weight * old**2))
    p_moved = np.abs(warm.p - cold.p).sum() / cold.p.sum()
    return Place(cold.products, warm.products, float(p_moved), float(H_moved)), warm


def proof(solution: StationaryPreconditioner) -> tuple[int, int]:
    """Count the products that prove the optimal p feasible within the tolerance.

    Parameters
    ----------
    solution : StationaryPreconditioner
        Where; it is solved to 1e-6 first.

    Returns
    -------
    alone, helped : int
        Without help, and with the best number of top eigenvectors of P⁻¹H given.
    """
    problem = solution.problem
    gradient = problem.lr * problem.c
    exact = stationary_preconditioner(
        gradient, problem.hessian.apply, problem.lr, tol=_EXACT, start=solution
    )
    root = 1 / np.sqrt(exact.p)[:, None]

    def scaled(V: np.ndarray) -> np.ndarray:
        image: np.ndarray = root * problem.hessian.apply(root * V)
        return image

    def steps(deflated: np.ndarray | None, highest: float) -> int:
        bound = largest_eigenvalue_bound(
            lambda v: scaled(v[:, None])[:, 0],
            problem.d,
            failure_probability=_FAILURE,
            rng=np.random.default_rng(0),
            max_steps=_MOST_STEPS,
            target=2 * (1 + TOLERANCE),
            deflate=deflated,
        )
        assert bound.estimate <= highest * (1 + _ACCURACY), "a top eigenvector was missed"
        return bound.steps

    # a block method: at the optimum 2 is a multiple eigenvalue
    axes = np.random.default_rng(0).standard_normal((problem.d, _BLOCK))
    values, axes = scipy.sparse.linalg.lobpcg(scaled, axes, tol=_ACCURACY, maxiter=200)
    helped = min(
        given + steps(np.ascontiguousarray(axes[:, :given]), values[given]) for given in _GIVEN
    )
    return steps(None, values[0]), helped


if __name__ == "__main__":
    main()
