"""Products with real network Hessians that the stationary preconditioner takes, certified.

``python -m bench.stationary_networks`` trains small networks by RMSProp and stops where the
effective sharpness first reaches 2 and again ``--later`` steps on. At both points it counts
Hessian-vector products: of the solve from nothing, certificate included; of the solve that starts
from the solution 10 optimizer steps before; and of the published fixed-point iteration, three
times: certified like ours, with 16 columns, as one must take without knowing the rank; until its
dual value alone comes as close to the optimum, which proves nothing; and the same with one column
more than the rank of the solution, which nobody knows beforehand. Proposition 2 is looked at as
well: ν̄ = g² + diag(HΣH) for the Σ found.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import flows
from ccpsolve.stationary import (
    StationaryPreconditioner,
    StationaryProblem,
    stationary_preconditioner,
)
from ccpsolve.stationary._fixed_point import fixed_point_step
from flows import tasks
from flows.discrete import Discrete
from flows.process import Start
from flows.stationary_solver import StationarySolver, hessian_products

TOLERANCE = 1e-4
_EXACT = 1e-6  # of the optimum that the fixed point's value is compared with
BETWEEN = 10  # optimizer steps from the solution that a warm solve starts from
_EDGE = 2.0
_COLUMNS = 16  # of the fixed point where the rank is not known
_LOOK_EVERY = 5
_FIRST_LOOK = 50  # ν has forgotten its start
NETWORKS = {"mlp": {"width": 22}, "cnn": {"width": 14}}
EXAMPLES = {"mlp": 500, "cnn": 200}
LOSSES = {"mse": "MSE", "cross-entropy": "cross-entropy"}
_COLUMN_NAMES = (
    *("lr", "network", "loss", "weights", "at", "rank", "products", "after 10 steps"),
    *("fixed point", "its value", "at rank + 1", "Prop. 2"),
)
_FACTORS = ("lr", "certified", f"its value, {_COLUMNS} columns", "at rank + 1")


@dataclass
class Row:
    """One solve; products of the fixed point are None where it was stopped."""

    lr: float
    network: str
    loss: str
    weights: int
    at: str
    rank: int
    products: int
    warm: int
    fixed_point: tuple[int | None, int | None, int | None]
    proposition_2: float

    def text(self, most: int) -> str:
        """Return its line of the table."""
        return line(
            *(f"{self.lr:g}", self.network.upper(), LOSSES[self.loss], f"{self.weights:,}"),
            *(self.at, self.rank, self.products, self.warm),
            *(spent or f">{most}" for spent in self.fixed_point),
            f"{self.proposition_2:.0e}",
        )


def main(arguments: list[str] | None = None) -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--losses", nargs="*", default=list(LOSSES), choices=LOSSES)
    parser.add_argument("--lr", type=float, nargs="*", default=[5e-4, 2e-3, 5e-3])
    parser.add_argument("--later", type=int, default=200, help="steps after the edge")
    parser.add_argument("--most", type=int, default=2000, help="products of the fixed point")
    parser.add_argument("--table", type=Path, default=Path("docs/stationary_networks_table.md"))
    options = parser.parse_args(arguments)
    text, done = heading(_COLUMN_NAMES), []
    print(text, end="", flush=True)
    for lr in options.lr:
        for model in options.networks:
            for loss in options.losses:
                for row in rows(model, loss, lr, options.later, options.most):
                    done.append(row)
                    print(row.text(options.most), flush=True)
    text += "".join(row.text(options.most) + "\n" for row in done)
    text += (
        f"\nThe fixed point was stopped after {options.most:,} products. By learning rates, the "
        "factor between its products and ours:\n\n" + factors(done, options.most)
    )
    options.table.write_text(text, encoding="utf-8")


def factors(done: list[Row], most: int) -> str:
    """Return the table of the fixed point's products over ours; ≥ where it was stopped."""
    text = heading(_FACTORS)
    for lr in dict.fromkeys(row.lr for row in done):
        here = [row for row in done if row.lr == lr]
        ranges = []
        for way in range(3):
            spent = [row.fixed_point[way] for row in here]
            found = [(spent[i] or most) / row.products for i, row in enumerate(here)]
            low = "≥ " * (spent[int(np.argmin(found))] is None) + f"{min(found):.1f}"
            high = "≥ " * (None in spent) + f"{max(found):.1f}"
            ranges.append(f"{low} to {high}")
        text += line(f"{lr:g}", *ranges) + "\n"
    return text


def heading(names: tuple[str, ...]) -> str:
    """Return the first two lines of a Markdown table."""
    return f"{line(*names)}\n|{' --- |' * len(names)}\n"


def line(*cells: object) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def rows(model: str, loss: str, lr: float, later: int, most: int) -> Iterator[Row]:
    """Yield a row of the table at the edge and one after it."""
    objective = objective_of(model, loss)
    optimizer = train(objective, lr)
    for at, steps in (("edge", 0), ("later", later)):
        for _ in range(steps):
            optimizer.advance()
        yield Row(lr, model, loss, objective.dim, at, *look(optimizer, lr, most))


def objective_of(model: str, loss: str) -> flows.Objective:
    """Return the loss of a small network on digits."""
    task = tasks.load("digits", loss=loss, examples=EXAMPLES[model], dtype=torch.float64)
    network = tasks.build_model(model, task, **NETWORKS[model])
    return flows.Objective(network, task.loss, task.inputs, task.targets)


def train(objective: flows.Objective, lr: float) -> Discrete:
    """Return RMSProp at the step where the effective sharpness first exceeds the edge."""
    method = flows.RMSProp(lr, beta2=0.99, bias_correction=True)
    optimizer = Discrete(objective, method, Start(objective.w0, method.initial_state(objective.w0)))
    while optimizer.t < _FIRST_LOOK:
        optimizer.advance()
    while sharpness(optimizer) < _EDGE:
        for _ in range(_LOOK_EVERY):
            optimizer.advance()
    return optimizer


def sharpness(optimizer: Discrete) -> float:
    """Return λ_max(P⁻¹H) of the preconditioner that the next step uses."""
    return float(optimizer.observe(spectrum=True).eigenvalues[0])


def look(
    optimizer: Discrete, lr: float, most: int
) -> tuple[int, int, int, tuple[int | None, int | None, int | None], float]:
    """Measure at the optimizer's place; it is advanced by 10 steps for the warm start."""
    objective, w = optimizer.objective, optimizer.w
    solver = StationarySolver(objective, tol=TOLERANCE)
    gradient = objective.gradient(w)
    cold = solver.solve(w, gradient, lr)
    products = hessian_products(objective, w)
    fixed = stationary_preconditioner(
        gradient.numpy(), products, lr, tol=TOLERANCE, method="fixed_point", max_products=most
    )
    # cold.primal may be as far above the optimum as the tolerance, which would ask for more
    exact = stationary_preconditioner(gradient.numpy(), products, lr, tol=_EXACT, start=cold)
    agreement = proposition_2(cold, products(cold.D))
    for _ in range(BETWEEN):
        optimizer.advance()
    warm = solver.solve(optimizer.w, objective.gradient(optimizer.w), lr)
    spent = (
        fixed.products if fixed.status.ok else None,
        fixed_point_value(exact, _COLUMNS, most),
        fixed_point_value(exact, cold.rank + 1, most),
    )
    return cold.rank, cold.products, warm.products, spent, agreement


def fixed_point_value(solution: StationaryPreconditioner, columns: int, most: int) -> int | None:
    """Return products until the published iteration's dual value is within the tolerance.

    It starts at random. Fewer columns than the rank of the solution fail, more cost more.
    """
    problem: StationaryProblem = solution.problem
    E = np.random.default_rng(0).standard_normal((problem.d, columns))
    E *= 0.5 / np.linalg.norm(E, axis=1, keepdims=True)
    for spent in range(E.shape[1], most + 1, E.shape[1]):
        previous = E
        p, E = fixed_point_step(problem, E)
        value = problem.dual_value(previous, 2 * p[:, None] * E)
        if value >= (1 - TOLERANCE) * solution.primal:
            return spent
    return None


def proposition_2(solution: StationaryPreconditioner, HD: np.ndarray) -> float:
    """Return ``‖ν̄ − g² − diag(HΣH)‖ / ‖ν̄‖``, 0 at the exact solution."""
    gradient = solution.problem.lr * solution.problem.c
    image = gradient**2 + np.einsum("ij,ij->i", HD, HD)
    return float(np.linalg.norm(solution.nu - image) / np.linalg.norm(solution.nu))


if __name__ == "__main__":
    main()
