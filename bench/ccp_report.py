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
_COLD, _WARM = _KERNELS = ("ours, kernel, cold", "ours, kernel, warm")
_NO_POINTS = ("ours, certificate", "ours, batch")  # the X of others
_SINGULAR = ("rank_deficient", "condition_1e12")

_HEAD = """---
orphan: true
---

# Benchmark of CCP solvers

`python -m bench.ccp` on {machine}, one core, float64. Times are multiples of the floor (one n×n
Cholesky solve plus one k×k eigendecomposition called from compiled code, measured in alternation
with each solver), medians of CPU time. There are {problems} problems of {families}; *flows* are
problems met along central flows of small networks.
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
    parts = [head, _limits(rows), _by_order(rows)]
    parts += [_times_of_families(rows, name) for name in _KERNELS] + [_by_family(rows)]
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
    text = "\n\nTimes are shifted geometric means over the problems.\n\n"
    return "## By order" + text + markdown_table(header, lines)


def _medians(rows: list[dict[str, Any]]) -> str:
    """Return the median time and, in brackets, the largest of the families' medians."""
    if not rows:
        return "–"
    families = {
        name: float(np.median([row["floors"] for row in _select(rows, family=name)]))
        for name in _names(rows, "family")
    }
    worst = max(families, key=families.__getitem__)
    median = np.median([row["floors"] for row in rows])
    return f"{median:.2g} ({families[worst]:.2g} {worst})"


def _overhead(rows: list[dict[str, Any]], solver: str) -> str:
    """Return the median microseconds by which a Python call exceeds the kernel."""
    kernel = {(row["family"], row["seed"]): row for row in _select(rows, solver=_COLD)}
    more = [
        row["seconds"] - kernel[row["family"], row["seed"]]["seconds"]
        for row in _select(rows, solver=solver)
        if (row["family"], row["seed"]) in kernel and row["family"] not in _SINGULAR
    ]
    return f"{1e6 * np.median(more):.0f}" if more else "–"


def _limits(rows: list[dict[str, Any]]) -> str:
    orders = _names(rows, "k")
    header = ["", "limit", *[f"k = {k}" for k in orders]]
    by_order = {k: _select(rows, k=k) for k in orders}
    interior = {k: _select(found, family="interior") for k, found in by_order.items()}
    lines = [
        ["cold", "8 (10 at 30)", *[_medians(_select(by_order[k], solver=_COLD)) for k in orders]],
        ["warm, α changed by 1e-3", "4"]
        + [_medians(_select(by_order[k], solver=_WARM)) for k in orders],
        ["warm, X* interior", "2 from 8 on"]
        + [_medians(_select(interior[k], solver=_WARM)) for k in orders],
        ["certificate, both norms", "3"]
        + [_medians(_select(by_order[k], solver="ours, certificate")) for k in orders],
    ]
    for solver, limit in (("ours, solve_ccp", "50"), ("ours, CCPSolver", "15")):
        line = [f"{solver[6:]} above the kernel, µs", f"{limit} at 3"]
        lines.append(line + [_overhead(by_order[k], solver) for k in orders])
    text = (
        "\n\nMedian over all problems, in floors; in brackets the largest median of a family. "
        "The time of a\nPython call includes validation and certificate (singular β, where an "
        "answer takes more, left out).\n\n"
    )
    return "## Ours, against the limits" + text + markdown_table(header, lines)


def _times_of_families(rows: list[dict[str, Any]], solver: str) -> str:
    orders = _names(rows, "k")
    lines = []
    for family in _names(rows, "family"):
        cells = [_select(rows, family=family, solver=solver, k=k) for k in orders]
        times = [[row["floors"] for row in cell] for cell in cells]
        lines.append([family, *[f"{np.median(t):.2g}" if t else "–" for t in times]])
    header = ["median floors", *[f"k = {k}" for k in orders]]
    return f"## By family: {solver}\n\n" + markdown_table(header, lines)


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

    figure, axes = plt.subplots(figsize=(9.0, 5.0), layout="constrained")
    for solver in _names(rows, "solver"):
        if solver in _NO_POINTS:
            continue
        chosen = _select(rows, solver=solver)
        residuals = [min(max(row["residual"], 1e-17), 1.0) for row in chosen]
        axes.loglog(
            [row["floors"] for row in chosen],
            residuals,
            linestyle="none",
            marker="^" if solver.startswith("ours") else "o",
            markersize=4,
            alpha=0.6,
            rasterized=True,  # hundreds of points each
            label=solver,
        )
    axes.axhline(_SUCCESS, color="grey", linewidth=0.8)
    axes.set_xlabel("time per problem, multiples of the floor")
    axes.set_ylabel("natural residual")
    figure.legend(fontsize="small", loc="outside right upper")
    figure.savefig(path, dpi=200)
    plt.close(figure)
