"""Does the central flow stay at the edge?  ``python -m bench.sharpness``.

Cells of :mod:`bench.edge_of_stability`: after every accepted step of the adaptive integrator, at
its default tolerance, the effective sharpness is computed anew where the step has ended. (What a
run reports is the eigenvalue where the step was predicted to end, with the linear change by its
correction.)
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from bench.edge_of_stability import LOSSES, METHODS, MODELS, Cell, cells, edge_of_stability
from ccpsolve import CCPError
from flows import FlowsError
from flows.adaptive import AdaptiveCentral
from flows.spectrum import CriticalSubspace

_UNITS = 400
_LIMIT = 2.02
_EIGENVALUE = 1e-3  # error of the sharpness that is computed anew
_COLUMNS = (
    *("network", "loss", "method", "units of time", "steps", "restarted"),
    *("largest sharpness", f"steps above {_LIMIT:g}", "CPU seconds"),
)


def look(cell: Cell) -> str:
    """Follow one flow; return its line of the table."""
    torch.set_num_threads(1)
    objective, anew, method = cell.objective(), cell.objective(), cell.optimizer()
    flow = AdaptiveCentral(objective, method, edge_of_stability(objective, method))
    subspace = CriticalSubspace(objective.dim, eigenvalue_tol=_EIGENVALUE, guards=1)
    started = time.process_time()
    integrator = flow._begin()
    found: list[float] = []
    reason = ""
    while integrator.t < _UNITS:
        try:
            integrator.step(math.inf)
        except (CCPError, FlowsError) as error:
            reason = f" ({error})"
            break
        state = flow.problem.split(integrator.z)
        p = flow.problem.preconditioner(integrator.t, state.nu)
        spectrum = subspace.update(lambda V, w=state.w: anew.hvp(w, V), p)
        found.append(float(spectrum.values[0]))
    beyond = sum(value > _LIMIT for value in found)
    entries = (
        *(cell.model, cell.loss, cell.method, f"{integrator.t:.0f}{reason}", f"{len(found):,}"),
        *(f"{integrator.statistics.restarted}", f"{max(found):.4f}", f"{beyond}"),
        f"{time.process_time() - started:.0f}",
    )
    return "| " + " | ".join(entries) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--losses", nargs="+", default=LOSSES, choices=LOSSES)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--table", type=Path, default=Path("docs/sharpness_table.md"))
    chosen = parser.parse_args(arguments)
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * 3 + " --: |" * 6]
    print("\n".join(lines), flush=True)
    with ProcessPoolExecutor(chosen.workers) as pool:
        for line in pool.map(look, cells(chosen.methods, chosen.models, chosen.losses)):
            print(line, flush=True)
            lines.append(line)
    chosen.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
