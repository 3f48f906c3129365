"""Time and products of the stationary preconditioner: ours, conic solvers, the published iteration.

``python -m bench.stationary`` prints two tables and writes them to a file; ``--plot FILE`` draws
certified gap against products. Times are minima of interleaved repetitions in one process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.stationary_problems import Product, network, spikes_and_bulk, wishart
from ccpsolve.stationary import StationaryProblem, stationary_preconditioner
from ccpsolve.stationary._certificate import dual_point
from ccpsolve.stationary._fixed_point import fixed_point_step

Array = NDArray[np.float64]

_TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
_BUDGETS = (30, 60, 120, 240, 480, 960, 1920)  # products of the fixed point, certificate apart
_NETWORK_LR = 0.01


def conic(H: Array, c: Array, solver: str, **options: float) -> float:
    """Solve with cvxpy; returns the value it reports."""
    import cvxpy

    p = cvxpy.Variable(len(c))
    cost = cvxpy.sum(p)
    active = np.flatnonzero(c)
    if active.size:
        cost += cvxpy.sum(cvxpy.multiply(c[active] ** 2, cvxpy.inv_pos(p[active])))
    problem = cvxpy.Problem(cvxpy.Minimize(cost), [2 * cvxpy.diag(p) - H >> 0, p >= 0])
    return float(problem.solve(solver=solver, **options))


def dense_table(sizes: list[int], repetitions: int, largest_clarabel: int) -> Iterator[str]:
    """Yield lines: seconds of each solver on one Wishart problem a size, and ratios to ours."""
    yield from heading("d", "solver", "seconds", "ratio to ours", "relative difference of values")
    for d in sizes:
        rng = np.random.default_rng(d)
        H, c = wishart(d, rng), 0.1 * np.abs(rng.standard_normal(d))
        solvers: dict[str, Callable[[], float]] = {
            "ours": lambda H=H, c=c: stationary_preconditioner(c, H, 1.0).primal,  # type: ignore[misc]
            "SCS 1e-7": lambda H=H, c=c: conic(H, c, "SCS", eps=1e-7, max_iters=50_000),  # type: ignore[misc]
        }
        if d <= largest_clarabel:
            solvers["Clarabel"] = lambda H=H, c=c: conic(H, c, "CLARABEL")  # type: ignore[misc]
        solvers["ours"]()
        seconds = dict.fromkeys(solvers, np.inf)
        values = dict.fromkeys(solvers, np.nan)
        for repetition in range(repetitions):
            for name, solve in solvers.items():
                if repetition and name == "Clarabel":
                    continue  # once is enough for a ratio of hundreds
                begin = time.perf_counter()
                values[name] = solve()
                seconds[name] = min(seconds[name], time.perf_counter() - begin)
        for name in solvers:
            ratio, away = seconds[name] / seconds["ours"], values[name] / values["ours"] - 1
            yield line(d, name, f"{seconds[name]:.3g}", f"{ratio:.1f}", f"{away:.0e}")


def fixed_point_products(
    g: Array, hessian: Product, lr: float, optimum: float, tol: float, rank: int, budget: int
) -> float:
    """Products until the published iteration is within ``tol`` of the optimum; inf if never.

    Its certificates are not counted: the value of its E, made dual feasible, is looked at for free.
    """
    problem = StationaryProblem(g, hessian, lr)
    E = np.random.default_rng(0).standard_normal((problem.d, rank)) / np.sqrt(4 * rank)
    for spent in range(rank, budget + rank, rank):
        _, E = fixed_point_step(problem, E)
        if dual_point(problem, E)[1] >= (1 - tol) * optimum:
            return spent
    return np.inf


def products_table(sizes: list[int], tolerances: list[float]) -> Iterator[str]:
    """Yield lines: products of the matrix-free method and of the fixed point."""
    yield from heading("problem", "tolerance", "rank", "gap", "ours", "ours, warm", "fixed point")
    for d in [None, *sizes]:
        name = "network, d = 1,792" if d is None else f"three spikes, d = {d:,}"
        hessian, g = network() if d is None else spikes_and_bulk(d)
        moved, moved_g = network(move=0.01) if d is None else (hessian, 1.01 * g)
        lr = _NETWORK_LR if d is None else 1.0
        best = stationary_preconditioner(g, hessian, lr, tol=1e-8)
        for tol in tolerances:
            sp = stationary_preconditioner(g, hessian, lr, tol=tol)
            warm = stationary_preconditioner(moved_g, moved, lr, tol=tol, start=sp)
            fixed = fixed_point_products(g, hessian, lr, best.primal, tol, sp.rank + 1, 5000)
            cells = (f"{tol:.0e}", sp.rank, f"{sp.gap:.0e}", sp.products, warm.products)
            yield line(name, *cells, f"{fixed:.0f}")


def heading(*names: str) -> Iterator[str]:
    """Yield the first lines of a table."""
    yield line(*names)
    yield f"|{' --- |' * len(names)}"


def line(*cells: object) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def plot(path: str) -> None:
    """Draw the certified gap reached against the products spent on the network's Hessian."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    hessian, g = network()
    moved, moved_g = network(move=0.01)
    figure, axes = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    colds = [stationary_preconditioner(g, hessian, _NETWORK_LR, tol=tol) for tol in _TOLERANCES]
    warms = [
        stationary_preconditioner(moved_g, moved, _NETWORK_LR, tol=tol, start=colds[-1])
        for tol in _TOLERANCES
    ]
    rank = colds[-1].rank + 1
    fixed = [
        stationary_preconditioner(
            g, hessian, _NETWORK_LR, tol=1e-8, method="fixed_point", rank=rank, max_products=budget
        )
        for budget in _BUDGETS
    ]
    unproved = [
        fixed_point_products(g, hessian, _NETWORK_LR, colds[-1].primal, tol, rank, _BUDGETS[-1])
        for tol in _TOLERANCES
    ]
    for runs, label, colour, style in (
        (colds, "subspace, certified", "#0072B2", "o-"),
        (warms, "subspace from a warm start, certified", "#56B4E9", "s-"),
        (fixed, f"published fixed point, {rank} columns, certified", "#D55E00", "^-"),
    ):
        spent = [sp.products for sp in runs]
        axes.loglog(spent, [sp.gap for sp in runs], style, color=colour, ms=5, label=label)
    axes.loglog(
        unproved,
        _TOLERANCES,
        "^--",
        color="#D55E00",
        mfc="white",
        ms=5,
        label="its value, no proof",
    )
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.4, 0.0))
    ticks = [30, 100, 300, 1000]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("products with $H$, certificate included")
    axes.set_ylabel("relative gap")
    axes.set_title("Hessian of a perceptron, d = 1,792, six critical directions", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Print and write the tables, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dense", type=int, nargs="*", default=[50, 100, 200])
    parser.add_argument("--free", type=int, nargs="*", default=[100_000])
    parser.add_argument("--tolerances", type=float, nargs="*", default=[1e-4, 1e-6])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--largest-clarabel", type=int, default=100)
    parser.add_argument("--table", type=Path, default=Path("docs/stationary_solver_table.md"))
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args(arguments)
    lines = []
    for table in (
        dense_table(options.dense, options.repetitions, options.largest_clarabel),
        products_table(options.free, options.tolerances),
    ):
        for text in table:
            print(text, flush=True)
            lines.append(text)
        lines.append("")
    options.table.write_text("\n".join(lines), encoding="utf-8")
    if options.plot:
        plot(options.plot)


if __name__ == "__main__":
    main()
