"""Products with real network Hessians that the stationary preconditioner takes, certified.

``python -m bench.stationary_networks`` trains small networks by RMSProp and stops where the
effective sharpness first reaches 2 and again ``--later`` steps on. At both points it counts
Hessian-vector products: of the solve from nothing, certificate included; of the solve that starts
from the solution 10 optimizer steps before; and of the published fixed-point iteration, three
times: certified like ours, with 16 columns, as one must take without knowing the rank; until its
dual value alone comes as close to the optimum, which proves nothing; and the same with one column
more than the rank of the solution, which nobody knows beforehand. Proposition 2 is looked at as
well: ν̄ = g² + diag(HΣH) for the Σ found, and the cosine of ν̄ with the optimizer's ν.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

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
_BETWEEN = 10  # optimizer steps from the solution that a warm solve starts from
_EDGE = 2.0
_COLUMNS = 16  # of the fixed point where the rank is not known
_LOOK_EVERY = 5
_FIRST_LOOK = 50  # ν has forgotten its start
_NETWORKS = {"mlp": {"width": 22}, "cnn": {"width": 14}}
_EXAMPLES = {"mlp": 500, "cnn": 200}
_HEADER = (
    f"{'network':<8} {'loss':<14} {'d':>6} {'step':>5} {'sharpness':>9} {'rank':>4} "
    f"{'products':>8} {'gap':>8} {'warm':>5} {'gap':>8} {'fixed point':>11} {'value':>6} "
    f"{'rank+1':>6} "
    f"{'prop. 2':>8} {'cosine':>6} {'seconds':>8}"
)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(_NETWORKS), choices=_NETWORKS)
    parser.add_argument("--losses", nargs="*", default=["mse", "cross-entropy"])
    parser.add_argument("--lr", type=float, nargs="*", default=[1e-3])
    parser.add_argument("--later", type=int, default=200, help="steps after the edge")
    parser.add_argument("--most", type=int, default=1000, help="products of the fixed point")
    options = parser.parse_args(arguments)
    for lr in options.lr:
        print(f"RMSProp, learning rate {lr:g}, tolerance {TOLERANCE:g}\n{_HEADER}", flush=True)
        for model in options.networks:
            for loss in options.losses:
                for row in rows(model, loss, lr, options.later, options.most):
                    print(row, flush=True)


def rows(model: str, loss: str, lr: float, later: int, most: int) -> Iterator[str]:
    """Yield a line of the table at the edge and one after it."""
    task = tasks.load("digits", loss=loss, examples=_EXAMPLES[model], dtype=torch.float64)
    network = tasks.build_model(model, task, **_NETWORKS[model])
    objective = flows.Objective(network, task.loss, task.inputs, task.targets)
    optimizer = train(objective, lr)
    for steps in (0, later):
        for _ in range(steps):
            optimizer.advance()
        yield f"{model:<8} {loss:<14} {objective.dim:>6} {look(optimizer, lr, most)}"


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


def look(optimizer: Discrete, lr: float, most: int) -> str:
    """Measure at the optimizer's place; it is advanced by 10 steps for the warm start."""
    objective, w, step = optimizer.objective, optimizer.w, optimizer.t
    top = sharpness(optimizer)
    solver = StationarySolver(objective, tol=TOLERANCE)
    begin = time.perf_counter()
    gradient = objective.gradient(w)
    cold = solver.solve(w, gradient, lr)
    seconds = time.perf_counter() - begin
    products = hessian_products(objective, w)
    fixed = stationary_preconditioner(
        gradient.numpy(), products, lr, tol=TOLERANCE, method="fixed_point", max_products=most
    )
    # cold.primal may be as far above the optimum as the tolerance, which would ask for more
    exact = stationary_preconditioner(gradient.numpy(), products, lr, tol=_EXACT, start=cold)
    values = [fixed_point_value(exact, columns, most) for columns in (_COLUMNS, cold.rank + 1)]
    value, at_best = (f"{spent or f'>{most}'}" for spent in values)
    agreement = proposition_2(cold, products(cold.D))
    nu = optimizer.state.nu.numpy()
    cosine = float(cold.nu @ nu / np.linalg.norm(cold.nu) / np.linalg.norm(nu))
    for _ in range(_BETWEEN):
        optimizer.advance()
    warm = solver.solve(optimizer.w, objective.gradient(optimizer.w), lr)
    certified = f"{fixed.products}" if fixed.gap <= TOLERANCE else f">{most}"
    return (
        f"{step:>5} {top:>9.3f} {cold.rank:>4} {cold.products:>8} {cold.gap:>8.1e} "
        f"{warm.products:>5} {warm.gap:>8.1e} {certified:>11} {value:>6} {at_best:>6} "
        f"{agreement:>8.1e} "
        f"{cosine:>6.3f} {seconds:>8.1f}"
    )


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
