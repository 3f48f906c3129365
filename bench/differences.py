"""What derivatives by differences cost and change: ``python -m bench.differences``.

The central flow of a network of :mod:`bench.edge_of_stability` is followed from the edge of
stability with second and third derivatives by torch and by differences of gradients, in turns. The
bill is in gradients per unit of time, with the prices of :mod:`bench.work_precision`: a column
counts as many gradients as it takes CPU time when it is asked for alone. CPU times are those of
the whole flow, where columns share the recorded gradient and go through it in blocks.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from bench.edge_of_stability import Cell, edge_of_stability
from bench.work_precision import prices_of
from flows.adaptive import AdaptiveCentral
from flows.process import Start

_UNITS = 80
_REPEATS = 3
_CELLS = (
    Cell("gd", "mlp", "mse"),
    Cell("rmsprop", "mlp", "mse"),
    Cell("gd", "rnn", "mse"),
    Cell("rmsprop", "cnn", "mse"),
    Cell("gd", "vit", "mse"),
)
_COLUMNS = (
    "network, method",
    "price of a Hessian, a third-derivative column",
    "bill, autodiff",
    "bill, differences",
    "fewer by",
    "CPU time, differences / autodiff",
    "distance / length",
)


def follow(
    cell: Cell, start: Start, derivatives: str
) -> tuple[torch.Tensor, dict[str, int], float]:
    """Return the path of the central flow, what was asked for, and CPU seconds."""
    objective = cell.objective(dtype=torch.float64, derivatives=derivatives)
    begun = time.process_time()
    flow = AdaptiveCentral(objective, cell.optimizer(), start)
    path = [flow.w]
    for _ in range(_UNITS):
        flow.advance()
        path.append(flow.w)
    return torch.stack(path), objective.counts, time.process_time() - begun


def row(cell: Cell) -> tuple[str, ...]:
    """Return a row of the table."""
    objective = cell.objective(dtype=torch.float64)
    prices = prices_of(objective)
    start = edge_of_stability(objective, cell.optimizer())
    ways = ("autodiff", "differences")
    runs = {way: [] for way in ways}
    for _ in range(_REPEATS):
        for way in ways:
            runs[way].append(follow(cell, start, way))
    exact, cheap = (runs[way][0][0] for way in ways)
    bills = [sum(prices[name] * runs[way][0][1][name] for name in prices) / _UNITS for way in ways]
    seconds = [statistics.median(found[2] for found in runs[way]) for way in ways]
    length = exact.diff(dim=0).norm(dim=1).sum()
    return (
        f"{cell.model}, {cell.method}",
        f"{prices['hvp']:.1f}, {prices['third']:.1f}",
        *(f"{bill:.1f}" for bill in bills),
        f"{bills[0] / bills[1]:.2f}",
        f"{seconds[1] / seconds[0]:.2f}",
        f"{float((exact - cheap).norm(dim=1).max() / length):.0e}",
    )


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(prog="python -m bench.differences", description=__doc__).parse_args()
    torch.set_num_threads(1)
    print("| " + " | ".join(_COLUMNS) + " |")
    print("| --- |" + " --: |" * (len(_COLUMNS) - 1))
    for cell in _CELLS:
        print("| " + " | ".join(row(cell)) + " |", flush=True)


if __name__ == "__main__":
    main()
