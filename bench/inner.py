"""How far from the optimizer are flows from the first step on?  ``python -m bench.inner``.

A flow that begins where training begins ends up elsewhere than the optimizer, mostly because of the
stable phase, in which steps are no flow. Networks of :mod:`bench.edge_of_stability` from their
initial weights: distances of the central flow, of the same with ``inner="discrete"`` and of the
stable flow to the optimizer, averaged with σ = 5 steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import flows
from bench.edge_of_stability import Cell
from flows.adaptive import AdaptiveCentral
from flows.discrete import Discrete
from flows.predictions import gaussian_average
from flows.process import Process, Start
from flows.stable import Stable

CELLS = (
    Cell("gd", "mlp", "mse"),
    Cell("gd", "mlp", "cross-entropy"),
    Cell("gd", "cnn", "mse"),
    Cell("gd", "vit", "mse"),
    Cell("gd", "rnn", "mse"),
    Cell("rmsprop", "mlp", "mse"),
    Cell("rmsprop-norm", "mlp", "mse"),
    Cell("rmsprop", "rnn", "mse"),
)
_STEPS, _SIGMA = 300, 5.0
_COLUMNS = (
    "network, loss, method",
    "first at the edge",
    "stable phase: inner flow",
    "stable phase: inner discrete",
    "whole run: stable flow",
    "whole run: inner flow",
    "whole run: inner discrete",
    "gradients, inner flow",
    "gradients, inner discrete",
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
    objective, method = cell.objective(dtype=torch.float64), cell.optimizer()
    start = Start(objective.w0, method.initial_state(objective.w0))
    after = int(4 * _SIGMA)  # the average of the last steps shown looks beyond them
    optimizer = path(Discrete(objective, method, start), _STEPS + after)
    average = gaussian_average(optimizer.T, _SIGMA).T[: _STEPS + 1]
    shown = slice(after, None)  # the average of the first steps is one-sided

    def distance(process: Process) -> np.ndarray:
        away: np.ndarray = np.linalg.norm(path(process, _STEPS) - average, axis=1)
        return away

    found, gradients, entry = {}, {}, _STEPS
    for inner in ("flow", "discrete"):
        before = objective.counts["gradient"]
        flow = AdaptiveCentral(objective, method, start, inner=inner)
        found[inner] = distance(flow)
        gradients[inner] = (objective.counts["gradient"] - before) / _STEPS
        assert flow._integrator is not None
        entries = [event.t for event in flow._integrator.events if event.after > event.before]
        entry = min([entry, *map(int, entries)])
    stable = distance(Stable(objective, method, start))
    calm = slice(after, max(entry - after, after + 1))
    medians = [np.median(found[inner][calm]) for inner in found]
    wholes = [np.median(away[shown]) for away in (stable, *found.values())]
    return (
        "| "
        + " | ".join(
            [
                f"{cell.model}, {cell.loss}, {cell.method}",
                f"{entry}" if entry < _STEPS else "–",
                *(f"{value:.2g}" for value in medians + wholes),
                *(f"{value:.2f}" for value in gradients.values()),
            ]
        )
        + " |"
    )


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|" + " --- |" * 2 + " --: |" * (len(_COLUMNS) - 2)
    yield from map(line, CELLS)


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path("docs/inner_table.md"))
    chosen = parser.parse_args()
    lines = []
    for text in table():
        print(text, flush=True)
        lines.append(text)
    chosen.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
