"""How far from the optimizer are flows from the first step on?  ``python -m bench.inner``.

A flow that begins where training begins ends up elsewhere than the optimizer: steps of a finite
length are no flow, and the optimizer overshoots the edge before its oscillation has grown. All
networks of :mod:`bench.edge_of_stability` from their initial weights: distances of the central flow
and of the same with ``inner="discrete"`` to the optimizer, averaged with σ = 5 steps, and the bills
of both in gradients per unit of time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

import flows
from bench.edge_of_stability import LOSSES, METHODS, MODELS, Cell, cells
from bench.work_precision import prices_of
from flows.adaptive import AdaptiveCentral
from flows.discrete import Discrete
from flows.predictions import gaussian_average
from flows.process import Process, Start

_STEPS, _SIGMA = 300, 5.0
_ONE_SIDED = int(4 * _SIGMA)  # the average of the first steps is one-sided
_COLUMNS = (
    "network, loss, method",
    "flow first at the edge",
    "discrete: flow begins",
    "stable phase: flow",
    "stable phase: discrete",
    "from there on: flow",
    "from there on: discrete",
    "whole run: flow",
    "whole run: discrete",
    "bill: flow",
    "bill: discrete",
)


def path(process: Process, steps: int) -> np.ndarray:
    """Return the weights of a process at steps 0, 1, …; NaN after it has stopped."""
    weights = np.full((steps + 1, len(process.w)), np.nan)
    weights[0] = process.w.numpy()
    for step in range(1, steps + 1):
        try:
            process.advance()
        except flows.FlowsError:
            break
        weights[step] = process.w.numpy()
    return weights


def line(cell: Cell) -> str:
    """Run one cell; return its line of the table."""
    torch.set_num_threads(1)
    objective, method = cell.objective(dtype=torch.float64), cell.optimizer()
    start, prices = Start(objective.w0, method.initial_state(objective.w0)), prices_of(objective)
    optimizer = path(Discrete(objective, method, start), _STEPS + _ONE_SIDED)
    average = gaussian_average(optimizer.T, _SIGMA).T[: _STEPS + 1]
    away, bills, first = {}, {}, {}
    for inner in ("flow", "discrete"):
        before = objective.counts
        flow = AdaptiveCentral(objective, method, start, inner=inner)
        away[inner] = np.linalg.norm(path(flow, _STEPS) - average, axis=1)
        spent = {name: objective.counts[name] - before.get(name, 0) for name in prices}
        bills[inner] = sum(prices[name] * count for name, count in spent.items()) / _STEPS
        first[inner] = flow.began if inner == "discrete" else _entry(flow)
    entry = _STEPS if first["flow"] is None else first["flow"]
    parts = (
        slice(_ONE_SIDED, max(entry - _ONE_SIDED, _ONE_SIDED + 1)),
        slice(entry, None),
        slice(_ONE_SIDED, None),
    )
    medians = [_median(away[inner][part]) for part in parts for inner in away]
    known = ["–" if found is None else f"{found}" for found in first.values()]
    name = f"{cell.model}, {cell.loss}, {cell.method}"
    return "| " + " | ".join([name, *known, *medians, *(f"{b:.1f}" for b in bills.values())]) + " |"


def _entry(flow: AdaptiveCentral) -> int | None:
    """Return when a direction first came to the edge."""
    return min((int(event.t) for event in flow.events if event.after > event.before), default=None)


def _median(distances: np.ndarray) -> str:
    if np.isnan(distances).any():
        return "stopped"
    return f"{np.median(distances):.2g}" if len(distances) > 1 else "–"


def table(workers: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|" + " --- |" + " --: |" * (len(_COLUMNS) - 1)
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(line, cells(METHODS, MODELS, LOSSES))


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path("docs/inner_table.md"))
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    lines = []
    for text in table(chosen.workers):
        print(text, flush=True)
        lines.append(text)
    chosen.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
