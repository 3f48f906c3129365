"""How well do central flows follow real optimizers?  ``python -m bench.edge_of_stability``.

Every cell of the table is a method, a network and a loss: the optimizer, its central flow and its
stable flow from the same weights through at least 200 steps at the edge of stability. The same
rules hold for all cells:

* Digits with noisy labels (mlp, cnn, resnet, vit) or sorting (gpt, rnn), small networks, float32.
* The optimizer alone takes steps until its effective sharpness rises into 1.7 … 2 (measured every
  five steps); there all processes start, 400 steps long.
* β₂ = 0.95, ε = 1e-8, bias correction.

A cell is a run folder under ``--out``; a cell that is there already, with the same settings, is
not run again, so that an interrupted command goes on where it was. A cell that fails stays in the
table with its reason.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import flows
from bench.edge_of_stability_report import FAILURE, Row, read_row, settings_of, write_report
from flows import tasks
from flows.discrete import Discrete
from flows.process import Start

METHODS = ("gd", "rmsprop-norm", "rmsprop")
MODELS = ("mlp", "cnn", "resnet", "vit", "gpt", "rnn")
LOSSES = ("mse", "cross-entropy")

_STEPS = 400
_START = (1.7, 2.0)  # effective sharpness
_LONGEST_WARM_UP = 2000
_SPECTRUM_EVERY = 5
_ADAPTIVE: dict[str, Any] = {"beta2": 0.95, "eps": 1e-8, "bias_correction": True}


@dataclass(frozen=True)
class Cell:
    """One run of the table."""

    method: str
    model: str
    loss: str

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return f"{self.model}-{self.loss}-{self.method}"

    def optimizer(self) -> flows.Method:
        """Return the method with its learning rate."""
        lr = _LR[self.model, self.loss][METHODS.index(self.method)]
        if self.method == "gd":
            return flows.GD(lr)
        kind = flows.RMSProp if self.method == "rmsprop" else flows.RMSPropNorm
        return kind(lr, **_ADAPTIVE)

    def task(self) -> dict[str, Any]:
        """Return name and options of data and loss."""
        place = LOSSES.index(self.loss)
        options = {"loss": self.loss, "examples": EXAMPLES[self.model][place]}
        if self.model in _SORTING:
            return {"name": "sorting", **options, **_SORTING[self.model]}
        return {"name": "digits", **options, "label_noise": _LABEL_NOISE[place]}

    def objective(
        self,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        derivatives: str = "autodiff",
    ) -> flows.Objective:
        """Return the loss of the network."""
        task = tasks.load(dtype=dtype, device=device, **self.task())
        model = tasks.build_model(self.model, task, **NETWORK[self.model])
        return flows.Objective(model, task.loss, task.inputs, task.targets, derivatives=derivatives)

    def settings(self) -> str:
        """Return everything that the run depends on, as text to compare."""
        return f"{self.optimizer()}, {self.task()}, {NETWORK[self.model]}, {_STEPS} from {_START}"


#: Examples for mean squared error and for cross-entropy, and the network: as small as the whole
#: table is affordable, with enough data that cross-entropy is not over before the run is.
EXAMPLES: dict[str, tuple[int, int]] = {
    "mlp": (100, 200),
    "cnn": (60, 100),
    "resnet": (40, 40),
    "vit": (60, 100),
    "gpt": (40, 60),
    "rnn": (60, 60),
}
NETWORK: dict[str, dict[str, Any]] = {
    "mlp": {"width": 16},
    "cnn": {"width": 4},
    "resnet": {"width": 2},
    "vit": {"width": 8, "depth": 1, "heads": 2},
    "gpt": {"width": 8, "depth": 1, "heads": 2},
    "rnn": {"width": 16},
}
_SORTING: dict[str, dict[str, Any]] = {"gpt": {"length": 6}, "rnn": {}}
_LABEL_NOISE = (0.2, 0.6)  # of the digits, for mean squared error and for cross-entropy
#: Learning rates in the order of `METHODS`.
_LR: dict[tuple[str, str], tuple[float, float, float]] = {
    ("mlp", "mse"): (0.2, 0.05, 5e-4),
    ("mlp", "cross-entropy"): (0.1, 0.05, 5e-4),
    ("cnn", "mse"): (0.3, 0.06, 5e-4),
    ("cnn", "cross-entropy"): (0.15, 0.05, 5e-4),
    ("resnet", "mse"): (0.2, 0.05, 5e-4),
    ("resnet", "cross-entropy"): (0.06, 0.05, 5e-4),
    ("vit", "mse"): (0.25, 0.05, 5e-4),
    ("vit", "cross-entropy"): (0.03, 0.03, 2e-4),
    ("gpt", "mse"): (0.15, 0.05, 5e-4),
    ("gpt", "cross-entropy"): (0.1, 0.05, 5e-4),
    ("rnn", "mse"): (0.3, 0.05, 1e-3),
    ("rnn", "cross-entropy"): (0.05, 0.02, 1e-3),
}


def cells(methods: list[str], models: list[str], losses: list[str]) -> Iterator[Cell]:
    """Yield the cells, network by network."""
    for model, loss, method in itertools.product(models, losses, methods):
        yield Cell(method, model, loss)


def edge_of_stability(objective: flows.Objective, method: flows.Method) -> Start:
    """Take optimizer steps until the effective sharpness is near the edge, from below.

    Raises
    ------
    FlowsError
        If that does not happen.
    """
    w = objective.w0
    optimizer = Discrete(objective, method, Start(w, method.initial_state(w)))
    before = math.inf
    for step in range(_LONGEST_WARM_UP + 1):
        if step and step % _SPECTRUM_EVERY == 0:
            sharpness = optimizer.observe(spectrum=True).eigenvalues[0]
            if _START[0] <= sharpness <= _START[1] and sharpness > before:
                return Start(*optimizer.state, step)
            before = sharpness
        optimizer.advance()
    raise flows.FlowsError(
        f"the effective sharpness did not rise into {_START} within {_LONGEST_WARM_UP} steps"
    )


def run_cell(cell: Cell, out: Path) -> str:
    """Run a cell unless its folder holds it already, and return a line on it."""
    folder = out / cell.name
    if settings_of(folder) != cell.settings():
        started = time.process_time()
        (folder / FAILURE).unlink(missing_ok=True)
        try:
            _run(cell, folder)
        except flows.FlowsError as error:
            folder.mkdir(parents=True, exist_ok=True)
            minutes = (time.process_time() - started) / 60
            failure = {"reason": str(error), "minutes": minutes, "settings": cell.settings()}
            (folder / FAILURE).write_text(json.dumps(failure), encoding="utf-8")
    return str(read_row(folder, cell))


def _run(cell: Cell, folder: Path) -> None:
    objective, method = cell.objective(), cell.optimizer()
    started = time.process_time()
    start = edge_of_stability(objective, method)
    flows.run(
        objective,
        method,
        steps=_STEPS,
        start=start,
        out=folder,
        spectrum_every=_SPECTRUM_EVERY,
        overwrite=True,
        provenance={
            "settings": cell.settings(),
            "problem": f"{cell.task()}; {cell.model} with {objective.dim:,} weights",
            "model": cell.model,
            "loss_name": cell.loss,
            "started_after": start.updates,
            "seconds_warm_up": time.process_time() - started,
        },
    )


def main() -> None:
    """Run what is missing, print a line for each cell, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/edge_of_stability"))
    parser.add_argument("--table", type=Path, default=Path("docs/edge_of_stability_table.md"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=LOSSES)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    chosen = parser.parse_args()
    todo = list(cells(chosen.methods, chosen.models, chosen.losses))
    with ProcessPoolExecutor(chosen.workers, initializer=torch.set_num_threads, initargs=(1,)) as p:
        for line in p.map(run_cell, todo, itertools.repeat(chosen.out)):
            print(line, flush=True)
    write_report(chosen.table, rows_of(chosen.out))


def rows_of(out: Path) -> list[Row]:
    """Return a row for every cell of the table, also for those that have not run."""
    every = list(cells(list(METHODS), list(MODELS), list(LOSSES)))
    return [read_row(out / cell.name, cell) for cell in every]


if __name__ == "__main__":
    main()
