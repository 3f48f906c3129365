"""Proposition 2 as a user meets it: do the flow's own stationary ν and Σ solve the program.

``python -m bench.proposition_two`` follows the central flow of RMSProp on a perceptron on digits.
At some steps the flow's own p = √ν/η and its own Σ = U X Uᵀ are a candidate of the program

    min tr P + ‖∇L‖²_{P⁻¹}/η²   s.t.  H ⪯ 2P

at the flow's weights. Printed are

* *drift*: ``‖ν − g² − diag(HΣH)‖/‖ν‖``, 0 where ν is stationary, as the proposition supposes;
* *lambda_max*: an upper bound on λ_max(P⁻¹H) of that p as it is (failure probability 1e-6);
* *gap*: the certified one between p, scaled to be feasible, and the dual value of that Σ;
* *excess*: the same against the minimiser's Σ, which is what p alone costs;
* how far p and ν are from the minimiser, which is solved for apart, to a gap of 1e-6.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import flows
from ccpsolve.stationary import StationaryProblem
from ccpsolve.stationary._certificate import (
    Certificate,
    certify_with_probability,
    relative_gap,
)
from flows import tasks
from flows.adaptive import AdaptiveCentral
from flows.discrete import Discrete
from flows.process import Oscillation, Start
from flows.stationarity import cosine
from flows.stationary_solver import StationarySolver

_LR = 5e-4
_WARM_START = 5
_MINIMISER = 1e-6  # relative gap that the minimiser is solved to
_LANCZOS_STEPS = 40
_COLUMNS = (
    *("β₂", "step", "rank", "drift", "λ_max(P⁻¹H)", "gap", "excess"),
    *("distance of p", "cosine of ν"),
)


def main(arguments: list[str] | None = None) -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=_LR)
    parser.add_argument("--beta2", type=float, nargs="*", default=[0.95, 0.5])
    parser.add_argument("--loss", default="mse")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, nargs="*", default=[0, 50, 100, 200, 400])
    parser.add_argument("--table", type=Path, default=Path("docs/proposition_two_table.md"))
    options = parser.parse_args(arguments)
    task = tasks.load("digits", loss=options.loss, examples=options.examples, dtype=torch.float64)
    network = tasks.build_model("mlp", task, width=22)
    objective = flows.Objective(network, task.loss, task.inputs, task.targets)
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{' --- |' * len(_COLUMNS)}"]
    for beta2 in options.beta2:
        for row in rows(objective, options.lr, beta2, sorted(options.steps)):
            lines.append(row)
            print(row, flush=True)
    options.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows(objective: flows.Objective, lr: float, beta2: float, steps: list[int]) -> Iterator[str]:
    """Yield a line of the table at each of the steps of the central flow."""
    method = flows.RMSProp(lr, beta2=beta2, bias_correction=True)
    optimizer = Discrete(objective, method, Start(objective.w0, method.initial_state(objective.w0)))
    for _ in range(_WARM_START):
        optimizer.advance()
    flow = AdaptiveCentral(objective, method, Start(*optimizer.state, _WARM_START))
    solver = StationarySolver(objective, tol=_MINIMISER)
    for step in steps:
        while flow.t < step:
            flow.advance()
        yield f"| {beta2:g} | {step} | {' | '.join(look(flow, solver, lr))} |"


def look(flow: AdaptiveCentral, solver: StationarySolver, lr: float) -> tuple[str, ...]:
    """Compare the flow's own ν and Σ with the minimiser at its weights."""
    seen = flow.observe(spectrum=False)
    assert seen.gradient is not None
    assert seen.oscillation is not None
    best = solver.solve(flow.w, seen.gradient, lr)
    problem = best.problem
    p = flow.preconditioner(flow.state.nu, flow.first_update + flow.t).double().numpy()
    D = factor(seen.oscillation, p)
    nu = (lr * p) ** 2
    image = problem.hessian.apply(D)
    drift = nu - (lr * problem.c) ** 2 - np.einsum("ij,ij->i", image, image)
    own = certificate(problem, p, D, lr)
    # without the gradient term p is not raised to |g|/η: the bound is on the flow's own p
    plain = StationaryProblem(seen.gradient.numpy(), problem.hessian.apply, lr, gradient_term=False)
    sharpness = certificate(plain, p, D, lr).effective_sharpness
    distance = np.linalg.norm(p - best.p) / np.linalg.norm(best.p)
    return (
        f"{D.shape[1]}",
        f"{np.linalg.norm(drift) / np.linalg.norm(nu):.1e}",
        f"{sharpness:.5f}",
        f"{own.gap:.1e}",
        f"{relative_gap(own.primal, best.dual):.1e}",
        f"{distance:.1e}",
        f"{cosine(nu, best.nu):.6f}",
    )


def factor(oscillation: Oscillation, p: np.ndarray) -> np.ndarray:
    """Return D with Σ = DDᵀ."""
    kept = oscillation.variance > 0
    axes = oscillation.directions.double().numpy()[:, kept] / p[:, None]
    return np.asarray(axes * np.sqrt(oscillation.variance[kept]))


def certificate(problem: StationaryProblem, p: np.ndarray, D: np.ndarray, lr: float) -> Certificate:
    """Return what p and Σ = DDᵀ prove."""
    return certify_with_probability(
        problem,
        p,
        D * (np.sqrt(2) / lr),
        0.0,
        rng=np.random.default_rng(0),
        max_steps=_LANCZOS_STEPS,
    )


if __name__ == "__main__":
    main()
