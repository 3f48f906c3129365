"""What a unit of time of each process costs, and where it goes: ``python -m bench.flows``.

The small networks of :mod:`bench.edge_of_stability`, every method, started near the edge of
stability. For the optimizer, its central and its stable flow: milliseconds per unit of time, and
the same in gradients; for the central flow (Euler) also the shares of the gradient, the spectrum,
the third derivatives, the complementarity problems and the rest (bookkeeping), and the peak of the
memory of tensors in a unit of time. Medians over units of time.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import flows
from bench import edge_of_stability as edge
from bench.edge_of_stability import LOSSES, METHODS, MODELS, Cell, edge_of_stability
from ccpsolve.dvi import _euler
from flows import FlowsError
from flows._memory import peak_bytes
from flows.central import Central
from flows.discrete import Discrete
from flows.process import Process
from flows.stable import Stable

_SETTLING = 40  # units of time of the central flow before it is measured, to be at the edge
_UNITS = 10
_GRADIENTS = 30
_PARTS = ("gradient", "spectrum", "third", "ccp")


class Clock:
    """Adds up the time spent in functions, by part."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(_PARTS, 0.0)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time charged to a part."""

        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += time.perf_counter() - started

        return call


@contextmanager
def clocked(flow: Central) -> Iterator[Clock]:
    """Time the parts of a central flow's steps."""
    clock = Clock()
    places = [
        (flow.objective, "value_and_gradient", "gradient"),
        (flow.objective, "third_pairs", "third"),
        (flow, "measure_spectrum", "spectrum"),
        (_euler, "solve_ccp", "ccp"),
    ]
    genuine = [getattr(owner, name) for owner, name, _ in places]
    for (owner, name, part), function in zip(places, genuine, strict=True):
        setattr(owner, name, clock.timed(part, function))
    try:
        yield clock
    finally:
        for (owner, name, _), function in zip(places, genuine, strict=True):
            setattr(owner, name, function)


@dataclass(frozen=True)
class Row:
    """What was measured of a method on a network."""

    cell: Cell
    weights: int
    critical: int
    gradient: float
    seconds: dict[str, float]
    shares: dict[str, float]
    peak: float

    @property
    def overhead(self) -> float:
        """Share of complementarity problems and bookkeeping in a unit of the central flow."""
        return self.shares["ccp"] + self.shares["rest"]


def measure(cell: Cell, device: str = "cpu") -> Row:
    """Measure all processes of a cell."""
    objective, method = cell.objective(device), cell.optimizer()
    start = edge_of_stability(objective, method)
    gradient = _seconds_of_a_gradient(objective)
    seconds = {
        "discrete": _unit(Discrete(objective, method, start)),
        "stable": _unit(Stable(objective, method, start)),
    }
    flow = Central(objective, method, start)
    for _ in range(_SETTLING):
        flow.advance()
    seconds["central"] = _unit(flow)
    with clocked(flow) as clock:
        started = time.perf_counter()
        for _ in range(_UNITS):
            flow.observe(spectrum=True)
            flow.advance()
        total = time.perf_counter() - started
    shares = {part: spent / total for part, spent in clock.seconds.items()}
    shares["rest"] = 1 - sum(shares.values())
    peak = peak_bytes(flow.advance, objective.device)
    critical = flow.observe(spectrum=True).oscillation
    assert critical is not None
    return Row(cell, objective.dim, critical.critical, gradient, seconds, shares, peak / 2**20)


def _seconds_of_a_gradient(objective: flows.Objective) -> float:
    w, times = objective.w0, []
    for _ in range(_GRADIENTS):
        w = w * (1 + 1e-6)  # a new point: nothing kept can be used
        started = time.perf_counter()
        objective.gradient(w)
        _synchronize(objective)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _unit(process: Process) -> float:
    times = []
    for _ in range(_UNITS):
        started = time.perf_counter()
        process.observe(spectrum=False)
        process.advance()
        _synchronize(process.objective)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _synchronize(objective: flows.Objective) -> None:
    if objective.device.type == "cuda":
        torch.cuda.synchronize()


_HEAD = """`python -m bench.flows` on {machine}, one thread, float32.
ms: milliseconds per unit of time; (×): the same in gradients. Shares of a unit of the central flow
(Euler, step 1/4). Peak: of the memory of tensors, in MiB.

{columns}
|{rule}
"""
_COLUMNS = (
    "network | loss | method | weights | critical | gradient, ms | discrete, ms (×) | stable | "
    "central | gradient | spectrum | third | CCP | rest | peak"
)


def _line(row: Row) -> str:
    costs = (
        f"{1e3 * row.seconds[name]:.1f} ({row.seconds[name] / row.gradient:.0f})"
        for name in ("discrete", "stable", "central")
    )
    shares = (f"{row.shares[part]:.1%}" for part in (*_PARTS, "rest"))
    cell = row.cell
    names = (cell.model, cell.loss, cell.method, f"{row.weights:,}", str(row.critical))
    cells = (*names, f"{1e3 * row.gradient:.2f}", *costs, *shares, f"{row.peak:.1f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, print a line each, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path("docs/flows_table.md"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--losses", nargs="+", default=["mse"], choices=LOSSES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--examples", type=int, help="of all models, instead of their own")
    parser.add_argument("--width", type=int, help="of all models, instead of their own")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for model in chosen.models:
        if chosen.examples:
            edge.EXAMPLES[model] = (chosen.examples, chosen.examples)
        if chosen.width:
            edge.NETWORK[model]["width"] = chosen.width
    machine = torch.cuda.get_device_name() if chosen.device == "cuda" else platform.machine()
    rule = " --- |" * len(_COLUMNS.split("|"))
    lines = [_HEAD.format(machine=machine, columns=f"| {_COLUMNS} |", rule=rule).rstrip()]
    for model, loss, method in itertools.product(chosen.models, chosen.losses, chosen.methods):
        try:
            line = _line(measure(Cell(method, model, loss), chosen.device))
        except FlowsError as error:
            line = f"| {model} | {loss} | {method} | {error} |" + " |" * 11
        lines.append(line)
        print(line, flush=True)
        chosen.table.parent.mkdir(parents=True, exist_ok=True)
        chosen.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
