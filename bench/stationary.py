"""Time and products of the stationary preconditioner: ours, conic solvers, the published iteration.

``python -m bench.stationary`` prints two tables; ``--plot FILE`` draws certified gap against
products. Times are minima of interleaved repetitions in one process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ccpsolve.stationary import StationaryPreconditioner, stationary_preconditioner

Array = NDArray[np.float64]

_TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)


def wishart(d: int, rng: np.random.Generator) -> Array:
    """Return AAᵀ/d with A Gaussian of shape (d, 2d)."""
    factor = rng.standard_normal((d, 2 * d))
    return factor @ factor.T / d


def spikes_and_bulk(d: int, rng: np.random.Generator) -> tuple[Callable[[Array], Array], Array]:
    """Return products with rescaled spikes plus bulk, O(d log d) a column, and a gradient."""
    eigenvalues = 0.1 * rng.random(d)
    eigenvalues[rng.choice(d, 3, replace=False)] = [50.0, 40.0, 30.0]
    scale = rng.choice([-1.0, 1.0], d)[:, None] * np.exp(0.5 * rng.standard_normal((d, 1)))

    def product(block: Array) -> Array:
        image = scipy.fft.dct(scale * block, axis=0, norm="ortho")
        image *= eigenvalues[:, None]
        return scale * scipy.fft.idct(image, axis=0, norm="ortho")

    return product, 0.1 * rng.standard_normal(d)


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


def dense_table(sizes: list[int], repetitions: int, largest_clarabel: int) -> None:
    """Print seconds of each solver on one Wishart problem a size, and ratios to ours."""
    print(f"{'d':>5} {'solver':<12} {'seconds':>10} {'ratio':>8} {'rel. difference':>16}")
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
            print(
                f"{d:>5} {name:<12} {seconds[name]:>10.4f} {seconds[name] / seconds['ours']:>8.1f}"
                f" {values[name] / values['ours'] - 1:>16.1e}",
                flush=True,
            )


def products_table(sizes: list[int], tolerances: list[float]) -> None:
    """Print products and seconds of the matrix-free method and of the fixed point."""
    print(f"{'d':>8} {'tol':>7} {'method':<12} {'products':>8} {'gap':>9} {'seconds':>8}  status")
    for d in sizes:
        hessian, g = spikes_and_bulk(d, np.random.default_rng(0))
        for tol in tolerances:
            for method, options in (
                ("subspace", {}),
                ("fixed_point", {"rank": 4, "max_products": 2000}),
            ):
                begin = time.perf_counter()
                sp = stationary_preconditioner(g, hessian, 1.0, tol=tol, method=method, **options)
                print(
                    f"{d:>8} {tol:>7.0e} {method:<12} {sp.products:>8} {sp.gap:>9.1e}"
                    f" {time.perf_counter() - begin:>8.2f}  {sp.status.name}",
                    flush=True,
                )


def plot(path: str, d: int) -> None:
    """Draw the certified gap reached against the products spent, one dot a tolerance."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    hessian, g = spikes_and_bulk(d, np.random.default_rng(0))
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for method in ("subspace", "fixed_point"):
        runs: list[StationaryPreconditioner] = [
            stationary_preconditioner(
                g,
                hessian,
                1.0,
                method=method,
                tol=tol,
                rank=4 if method == "fixed_point" else None,
            )
            for tol in _TOLERANCES
        ]
        gaps = [max(sp.gap, 1e-15) for sp in runs]
        axes.semilogy([sp.products for sp in runs], gaps, "o-", label=method)
    axes.legend()
    axes.set_xlabel("products with H, certificate included")
    axes.set_ylabel("certified relative gap")
    axes.set_title(f"spikes and bulk, d = {d:,}")
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dense", type=int, nargs="*", default=[50, 100])
    parser.add_argument("--free", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--tolerances", type=float, nargs="*", default=[1e-4, 1e-6])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--largest-clarabel", type=int, default=50)
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args(arguments)
    dense_table(options.dense, options.repetitions, options.largest_clarabel)
    products_table(options.free, options.tolerances)
    if options.plot:
        plot(options.plot, options.free[0])


if __name__ == "__main__":
    main()
