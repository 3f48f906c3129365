"""Table and plot of the CCP benchmark, from its rows."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["markdown_table", "shifted_geometric_mean", "write_report"]

_SUCCESS = 1e-8  # natural residual
_SHIFT = 1.0  # floors

_HEAD = """---
orphan: true
---

# Benchmark of CCP solvers

`python -m bench.ccp` on {machine}. Times are multiples of the floor (one n×n Cholesky solve plus
one k×k eigendecomposition called from compiled code, measured beside each run), shifted geometric
means over {problems} problems of {families}.
Success: natural residual ≤ 1e-8, computed by us from the solver's X. Error: median ‖X − X*‖/‖X*‖
where X* is known and unique; it includes the effect of rounding the data, 1e-16·κ(β).

![time and accuracy](ccp.svg)
"""


def shifted_geometric_mean(values: Iterable[float], shift: float = _SHIFT) -> float:
    """Return ``exp(mean log(v + shift)) − shift``, which neither tiny nor huge values dominate.

    Examples
    --------
    >>> round(shifted_geometric_mean([1.0, 7.0], shift=1.0), 12)
    3.0
    """
    logs = [math.log(value + shift) for value in values]
    return math.exp(sum(logs) / len(logs)) - shift if logs else math.nan


def write_report(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write ccp.md and ccp.svg."""
    problems = {(row["family"], row["k"], row["seed"]) for row in rows}
    head = _HEAD.format(
        machine=platform.machine(),
        problems=len(problems),
        families=", ".join(dict.fromkeys(row["family"] for row in rows)),
    )
    parts = [head, _by_order(rows), _by_family(rows)]
    (folder / "ccp.md").write_text("\n".join(parts), encoding="utf-8")
    _plot(folder / "ccp.svg", rows)


def _names(rows: list[dict[str, Any]], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def _select(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def markdown_table(header: list[str], lines: list[list[str]]) -> str:
    """Return a table whose first column is text and whose others are numbers."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines]) + "\n"


def _success(rows: list[dict[str, Any]]) -> str:
    good = sum(row["residual"] <= _SUCCESS for row in rows)
    return f"{100.0 * good / len(rows):.0f} %" if rows else "–"


def _error(rows: list[dict[str, Any]]) -> str:
    known = [row["error"] for row in rows if not math.isnan(row["error"])]
    return f"{np.median(known):.0e}" if known else "–"


def _by_order(rows: list[dict[str, Any]]) -> str:
    orders = _names(rows, "k")
    header = ["time in floors (success, error)", *[f"k = {k}" for k in orders]]
    lines = []
    for solver in _names(rows, "solver"):
        line = [solver]
        for k in orders:
            chosen = _select(rows, solver=solver, k=k)
            time = shifted_geometric_mean(row["floors"] for row in chosen)
            line.append(f"{time:.3g} ({_success(chosen)}, {_error(chosen)})" if chosen else "–")
        lines.append(line)
    return "## By order\n\n" + markdown_table(header, lines)


def _by_family(rows: list[dict[str, Any]]) -> str:
    solvers = _names(rows, "solver")
    header = ["success", *solvers]
    lines = [
        [family, *[_success(_select(rows, family=family, solver=solver)) for solver in solvers]]
        for family in _names(rows, "family")
    ]
    return "## Success by family\n\n" + markdown_table(header, lines)


def _plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw time against residual, one colour a solver, one point a family and order."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8.0, 5.0), layout="constrained")
    for solver in _names(rows, "solver"):
        chosen = _select(rows, solver=solver)
        residuals = [min(max(row["residual"], 1e-17), 1.0) for row in chosen]
        axes.loglog(
            [row["floors"] for row in chosen],
            residuals,
            linestyle="none",
            marker="^" if solver.startswith("ours") else "o",
            markersize=4,
            alpha=0.6,
            label=solver,
        )
    axes.axhline(_SUCCESS, color="grey", linewidth=0.8)
    axes.set_xlabel("time per problem, multiples of the floor")
    axes.set_ylabel("natural residual")
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path)
    plt.close(figure)
