"""Does the term of ν's rate that the paper drops matter?  ``python -m bench.mixed_term``.

``E g² = g² + g ⊙ 𝒯[Σ] + diag(HΣH)`` to the order of Σ; the published experiments drop the middle
term from dν/dt, and so does :func:`flows.run` unless ``mixed_term=True``. Three runs of
:mod:`bench.edge_of_stability` are repeated with it, and the distances of the two central flows to
the same optimizer run are compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import flows
from bench.edge_of_stability import Cell, edge_of_stability

_CELLS = (
    Cell("rmsprop", "mlp", "mse"),
    Cell("rmsprop-norm", "mlp", "mse"),
    Cell("rmsprop", "rnn", "mse"),
)
_STEPS = 250
_SHOWN = (50, 100, 150, 200, 250)
_COLUMNS = ("network, method", "mixed term", *(f"step {s}" for s in _SHOWN), "predicted loss")


def distances(cell: Cell, mixed_term: bool) -> tuple[np.ndarray, float]:
    """Return distances of the central flow to the optimizer, and the error of its loss."""
    objective, method = cell.objective(), cell.optimizer()
    run = flows.run(
        objective,
        method,
        steps=_STEPS,
        processes=("discrete", "central"),
        start=edge_of_stability(objective, method),
        mixed_term=mixed_term,
        spectrum_every=_STEPS,
    )
    distance = run.dataset.distance.sel(process="central").values
    return distance[list(_SHOWN)], run.scores()["predicted_loss_error"]


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path("docs/mixed_term_table.md"))
    chosen = parser.parse_args()
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS)]
    for cell in _CELLS:
        for mixed_term in (False, True):
            found, error = distances(cell, mixed_term)
            cells = [f"{cell.model}, {cell.method}", "kept" if mixed_term else "dropped"]
            cells += ["stopped" if np.isnan(value) else f"{value:.4f}" for value in found]
            lines.append("| " + " | ".join([*cells, f"{error:.2%}"]) + " |")
            print(lines[-1], flush=True)
    chosen.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
