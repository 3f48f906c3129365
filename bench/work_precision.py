"""What a central flow costs at a given error: ``python -m bench.work_precision``.

Euler's scheme with 1, 4 and 16 steps per unit of time and the adaptive integrator at several
tolerances follow the same flows from the same starts. The error is ``max_t ‖w − w_fine‖`` over
integer times, the fine solution that of adaptive steps of at most 1/32 with eigenvectors to the
residual 1e-6 (on problems in closed form, the exact one): that the error of Euler's scheme falls
fourfold with the fourth part of its step shows it to be right.

The bill is in gradients: a column of second or third derivatives counts as many as one, asked for
alone, takes CPU time on that network.

* ``strict``: every spectrum from scratch, to the residual 1e-7, from eight random vectors.
* ``three``: the same from three random vectors, as the adaptive integrator starts.
* ``warm``: the same residual, from the vectors of the last step.
* ``economical``: the residual 1e-3, from the vectors of the last step.

All four compute all pairs of third derivatives at every step.

* ``ours``: the adaptive integrator, medians of five runs at tolerances 3 % apart;
* ``differences``: the same, with second and third derivatives by differences of gradients, so that
  the bill is their number.

Every run is a file under ``--out``; one that is there with the same settings is not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import flows
from bench.edge_of_stability import Cell, edge_of_stability
from bench.work_precision_report import write_report
from ccpsolve import CCPError, dvi
from ccpsolve.dvi import examples
from flows.adaptive import AdaptiveCentral
from flows.central import Central
from flows.process import Flow, Start
from flows.spectrum import CriticalSubspace

UNITS = 80
RTOLS = (2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4)
#: Closed-form problems have no third derivatives to be stale: they can be followed to any error.
RTOLS_CLOSED = (1e-1, 3e-2, 1e-2, 1e-3, 1e-4, 1e-5)
SUBSTEPS = (1, 4, 16)
_FINE: dict[str, Any] = {"rtol": 1e-4, "max_step": 1 / 32, "residual_tol": 1e-6}

_RESIDUAL = {"strict": 1e-7, "three": 1e-7, "warm": 1e-7, "economical": 1e-3}
_BEFORE = 2e-3  # rtol of the flow up to the start
_TIMED = 15  # evaluations a ratio is the median of
# Steps of the adaptive integrator react to rounding: error, bill and time are medians of runs at
# these multiples of the tolerance.
_AROUND = (0.94, 0.97, 1.0, 1.03, 1.06)
#: Networks of :mod:`bench.edge_of_stability`, and how many units of time their flows have spent at
#: the edge before the benchmark starts; the last one then has four critical directions.
NETWORKS = {
    "mlp-gd": (Cell("gd", "mlp", "mse"), 0),
    "mlp-rmsprop": (Cell("rmsprop", "mlp", "mse"), 0),
    "cnn-rmsprop": (Cell("rmsprop", "cnn", "mse"), 0),
    "rnn-gd": (Cell("gd", "rnn", "mse"), 0),
    "rnn-rmsprop": (Cell("rmsprop", "rnn", "mse"), 0),
    "vit-gd": (Cell("gd", "vit", "mse"), 0),
    "vit-rmsprop": (Cell("rmsprop", "vit", "mse"), 0),
    "cnn-gd-late": (Cell("gd", "cnn", "mse"), 240),
}
CLOSED = ("disc", "rotating")


@dataclass(frozen=True)
class Scheme:
    """A way to follow a flow: a kind of Euler's scheme by its substeps, or of ours by its rtol."""

    kind: str
    parameter: float

    @property
    def name(self) -> str:
        """Name of the result file."""
        return f"{self.kind}-{self.parameter:g}"


def schemes(closed: bool) -> Iterator[Scheme]:
    """Yield what is run on a problem, the fine solution first."""
    if closed:
        yield from (Scheme("euler", substeps) for substeps in (*SUBSTEPS, 64))
        yield from (Scheme("ours", rtol) for rtol in RTOLS_CLOSED)
        return
    yield Scheme("fine", _FINE["max_step"])
    yield from (Scheme("economical", substeps) for substeps in SUBSTEPS)
    yield from (Scheme(kind, 4) for kind in ("strict", "three", "warm"))
    yield from (Scheme(kind, rtol) for kind in ("ours", "differences") for rtol in RTOLS)


class FromThree(Central):
    """Euler's scheme with spectra that start from as many vectors as the adaptive integrator's."""

    def _make_subspace(self) -> CriticalSubspace:
        subspace = super()._make_subspace()
        subspace.block = 3
        return subspace


@dataclass(frozen=True)
class Network:
    """A flow of a network, and the prices of its derivatives in gradients."""

    cell: Cell
    objective: flows.Objective
    start: Start
    prices: dict[str, float]

    def flow(self, scheme: Scheme) -> Flow:
        """Return the flow by a scheme."""
        objective, method = self.objective, self.cell.optimizer()
        if scheme.kind == "fine":
            return AdaptiveCentral(objective, method, self.start, **_FINE)
        if scheme.kind == "differences":
            objective = self.cell.objective(dtype=torch.float64, derivatives="differences")
        if scheme.kind in ("ours", "differences"):
            return AdaptiveCentral(objective, method, self.start, rtol=scheme.parameter)
        euler = FromThree if scheme.kind == "three" else Central
        return euler(
            objective,
            method,
            self.start,
            substeps=int(scheme.parameter),
            residual_tol=_RESIDUAL[scheme.kind],
            fresh_spectra=scheme.kind in ("strict", "three"),
        )


@cache
def network(name: str, folder: Path) -> Network:
    """Return a network at the edge of stability.

    A start on a flow is kept in the folder: schemes that are compared begin at the same point,
    whatever becomes of the integrator between their runs.
    """
    cell, units = NETWORKS[name]
    objective, method = cell.objective(dtype=torch.float64), cell.optimizer()
    prices = prices_of(objective)
    file = folder / "start.pt"
    if file.exists():
        return Network(cell, objective, Start(**torch.load(file)), prices)
    start = edge_of_stability(objective, method)
    if units:
        flow = AdaptiveCentral(objective, method, start, rtol=_BEFORE)
        for _ in range(units):
            flow.advance()
        start = Start(*flow.state, start.updates + units, holds_gradient=True)
        torch.save(asdict(start), file)
    return Network(cell, objective, start, prices)


def prices_of(objective: flows.Objective) -> dict[str, float]:
    """Return the CPU time of a single column of second and third derivatives over a gradient's."""
    w = objective.w0
    v = torch.ones(len(w), 1).to(w) / len(w) ** 0.5
    operations: dict[str, Callable[[torch.Tensor], Any]] = {
        "gradient": objective.gradient,
        "hvp": lambda w: objective.hvp(w, v),
        "third": lambda w: objective.third(w, v, v),
    }
    times: dict[str, list[float]] = {name: [] for name in operations}
    for index in range(_TIMED):
        point = w * (1 + 1e-6 * index)  # a new point: nothing kept can be used
        for name, operation in operations.items():
            started = time.process_time()
            operation(point)
            times[name].append(time.process_time() - started)
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {name: median / medians["gradient"] for name, median in medians.items()}


def run_network(name: str, scheme: Scheme, folder: Path) -> dict[str, Any]:
    """Follow the flow of a network, and return its path and what it cost.

    Of the adaptive integrator all paths around a tolerance, and the medians of the rest.
    """
    problem = network(name, folder)
    if scheme.kind not in ("ours", "differences"):
        return _follow(problem, scheme)
    nearby = [replace(scheme, parameter=scheme.parameter * factor) for factor in _AROUND]
    runs = [_follow(problem, each) for each in nearby]
    found = runs[len(runs) // 2]
    for name in ("bill", "seconds"):
        found[name] = statistics.median(run[name] for run in runs)
    return {**found, "path": np.stack([run["path"] for run in runs])}


def _follow(problem: Network, scheme: Scheme) -> dict[str, Any]:
    flow = problem.flow(scheme)
    objective = flow.objective
    before, started = objective.counts, time.process_time()
    held, path = 0, [flow.w]
    for _ in range(UNITS):
        if isinstance(flow, Central):
            oscillation = flow.observe(spectrum=True).oscillation  # costs nothing more
            assert oscillation is not None
            held = max(held, int(np.count_nonzero(oscillation.variance)))
        flow.advance()
        path.append(flow.w)
    seconds = time.process_time() - started
    counts = {key: objective.counts[key] - before[key] for key in problem.prices}
    bill = sum(problem.prices[key] * count for key, count in counts.items())
    covered = UNITS
    if isinstance(flow, AdaptiveCentral) and flow.last_step is not None:
        covered = flow.last_step.t1  # the last step may go on beyond the last whole time
    return {
        "path": torch.stack(path).numpy(),
        "seconds": seconds * UNITS / covered,
        "bill": bill / covered,
        "counts": counts,
        "prices": problem.prices,
        "held": held,
        "weights": objective.dim,
    }


def run_closed(name: str, scheme: Scheme) -> dict[str, Any]:
    """Follow a problem in closed form; the path is that of the error."""
    example = examples.EXAMPLES[name]()
    problem, (t0, t1) = _Counting(example.problem), example.interval
    started = time.process_time()
    if scheme.kind == "euler":
        path = dvi.integrate(problem, example.z0, example.interval, dt=1 / scheme.parameter)
    else:
        path = dvi.integrate(
            problem, example.z0, example.interval, method="adaptive", rtol=scheme.parameter
        )
    seconds = time.process_time() - started
    errors = [z - example.exact(t) for t, z in zip(path.t, path.states, strict=True)]
    return {
        "path": np.array(errors),
        "seconds": seconds,
        "bill": problem.evaluations / (t1 - t0),
        "counts": {"gradient": problem.evaluations},
        "prices": {"gradient": 1.0},
        "held": 0,
        "weights": len(example.z0),
    }


class _Counting:
    """A problem that counts its drifts and its looks at the constraint, one each."""

    def __init__(self, problem: dvi.ArrayProblem) -> None:
        self._problem, self.evaluations = problem, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._problem, name)

    def drift(self, t: float, z: np.ndarray) -> np.ndarray:
        self.evaluations += 1
        return self._problem.drift(t, z)

    def contact(self, *arguments: Any) -> dvi.Contact:
        self.evaluations += 1
        return self._problem.contact(*arguments)

    def linearize(self, t: float, z: np.ndarray) -> dvi.Linearization[np.ndarray]:
        self.evaluations += 2
        return self._problem.linearize(t, z)


def run(name: str, scheme: Scheme, out: Path, again: bool) -> str:
    """Run a scheme on a problem unless its file is there, and return a line on it."""
    file = out / name / f"{scheme.name}.npz"
    settings = _settings(name)
    if again or not file.exists() or str(np.load(file)["settings"]) != settings:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        started = time.process_time()
        try:
            if name in CLOSED:
                found = run_closed(name, scheme)
            else:
                found = run_network(name, scheme, file.parent)
        except (flows.FlowsError, CCPError) as error:
            seconds = time.process_time() - started
            return f"{name} {scheme.name}: failed after {seconds:.1f} s: {error}"
        path = found.pop("path")
        np.savez(file, path=path, settings=settings, found=json.dumps(found))
    found = json.loads(str(np.load(file)["found"]))
    return f"{name} {scheme.name}: {found['bill']:.1f} gradients per unit, {found['seconds']:.1f} s"


def _settings(name: str) -> str:
    if name in CLOSED:
        return name
    cell, later = NETWORKS[name]
    return f"{cell.settings()}, float64, {UNITS} units after {later}"


def main() -> None:
    """Run what is missing, print a line for each run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/work_precision"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks/work_precision.md"))
    names = (*NETWORKS, *CLOSED)
    parser.add_argument("--problems", nargs="+", default=list(names), choices=names)
    parser.add_argument(
        "--again", nargs="+", default=[], help="kinds of schemes to run again (ours, strict, …)"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    _compile()
    for name in chosen.problems:
        for scheme in schemes(name in CLOSED):
            print(run(name, scheme, chosen.out, scheme.kind in chosen.again), flush=True)
    write_report(chosen.page, chosen.out, [name for name in names if (chosen.out / name).exists()])


def _compile() -> None:
    """Compile all kernels before anything is timed."""
    for method in ("euler", "adaptive"):
        example = examples.spectrahedron()
        dvi.integrate(example.problem, example.z0, example.interval, method=method)


if __name__ == "__main__":
    main()
