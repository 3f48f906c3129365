"""Page of the work–precision benchmark, from its result files."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = ["Result", "at_error", "read_results", "write_report"]

_BASELINES = ("strict", "three", "warm", "economical", "euler")
_REFERENCE = 4  # Euler's scheme as published: four steps per unit of time
_LABELS = {
    "strict": ("Euler, strict", "s", "#b2182b"),
    "three": ("Euler, strict from three vectors", "P", "#d6604d"),
    "warm": ("Euler, strict from warm vectors", "D", "#ef8a62"),
    "economical": ("Euler, economical", "o", "#4d4d4d"),
    "euler": ("Euler, economical", "o", "#4d4d4d"),
    "ours": ("adaptive", "^", "#2166ac"),
    "differences": ("adaptive, by differences", "v", "#67a9cf"),
}


@dataclass(frozen=True)
class Result:
    """One run: a scheme, its error and what it cost.

    Attributes
    ----------
    bill : float
        Gradients per unit of time.
    seconds : float
        CPU time of the whole run.
    weights, held : int
        Dimension of the weights, and most directions held at a time, as far as the run says.
    length : float
        Of the fine path; NaN for problems in closed form.
    """

    kind: str
    parameter: float
    error: float
    bill: float
    seconds: float
    weights: int = 0
    held: int = 0
    length: float = math.nan


def read_results(folder: Path) -> list[Result]:
    """Return the runs of a problem, with errors against the fine solution in the same folder."""
    fine = next(folder.glob("fine-*.npz"), None)
    truth, length = 0.0, math.nan
    if fine is not None:
        truth = np.load(fine)["path"]
        length = float(np.linalg.norm(np.diff(truth, axis=0), axis=1).sum())
    results = []
    for file in sorted(folder.glob("*.npz")):
        stored = np.load(file)
        found = json.loads(str(stored["found"]))
        kind, parameter = file.stem.split("-", 1)
        error = float(np.median(np.linalg.norm(stored["path"] - truth, axis=-1).max(-1)))
        results.append(
            Result(
                kind,
                float(parameter),
                error,
                found["bill"],
                found["seconds"],
                found["weights"],
                found["held"],
                length,
            )
        )
    return sorted(results, key=lambda result: (result.kind, result.parameter))


def at_error(results: list[Result], error: float) -> tuple[float, float, float]:
    """Return bill, seconds and parameter of the cheapest run with no larger error; NaN if none.

    Runs at neighbouring parameters of which one is more and one less accurate are interpolated:
    logarithms of bill, seconds and parameter are linear in that of the error.
    """
    best = (math.nan, math.nan, math.nan)
    candidates = [(r.bill, r.seconds, r.parameter) for r in results if r.error <= error]
    for a, b in itertools.pairwise(results):
        if (a.error - error) * (b.error - error) < 0:
            s = math.log(error / a.error) / math.log(b.error / a.error)
            pairs = ((a.bill, b.bill), (a.seconds, b.seconds), (a.parameter, b.parameter))
            bill, seconds, parameter = (x ** (1 - s) * y**s for x, y in pairs)
            candidates.append((bill, seconds, parameter))
    return min(candidates, default=best)


def write_report(page: Path, out: Path, names: list[str]) -> None:
    """Write the tables, and the picture beside them."""
    results = {name: read_results(out / name) for name in names}
    page.parent.mkdir(parents=True, exist_ok=True)
    _draw(page.with_suffix(".png"), results)
    lines = [_HEAD, f"![]({page.stem}.png)", "", *_summary(results), "", *_runs(results), ""]
    page.write_text("\n".join(lines), encoding="utf-8")


_HEAD = """# Work and precision of the central flow

`python -m bench.work_precision`. Error: largest distance ‖w − w_fine‖ over integer times, from
adaptive steps of at most 1/32 with rtol 1e-4 and eigenvectors to the residual 1e-6 (on the last
problems, from the exact solution); Euler's scheme converges to it with first order. Bill:
gradients per unit of time, a column of second or third derivatives counted as many as it takes
CPU time when it is asked for alone. *Strict*: a spectrum from scratch to the residual 1e-7 and
all pairs of third derivatives at each of four steps per unit of time, found from eight random
vectors; *three*: the same from three, as the adaptive integrator starts (where that does not
converge within 1,000 products, no figure is given); *warm*: the same from the vectors of the last
step; *economical*: that to the residual 1e-3. *Adaptive*: `AdaptiveCentral` at several `rtol`,
per unit of time covered (its last step may go on beyond the last whole time), medians of five runs
at tolerances 3 % apart, because its steps react to rounding; *differences*: the same with
`derivatives="differences"`, where the gradients are all there is. On problems in closed form the
drift counts one and a look at the constraint one.
"""


def _summary(results: dict[str, list[Result]]) -> list[str]:
    """Return the tables of bills at the error of Euler's scheme with four steps."""
    lines = [
        "## At the error of Euler's scheme with four steps per unit of time",
        "",
        "| problem | weights | directions | error | strict | three | warm | economical |",
        "| --- |" + " --: |" * 7,
    ]
    references = {name: _references(runs) for name, runs in results.items()}
    for name, kinds in references.items():
        economical = kinds["economical"]
        bills = ["" if r is None else f"{r.bill:.3g}" for r in kinds.values()]
        row = [f"{economical.weights:,}", str(economical.held or ""), f"{economical.error:.1e}"]
        lines.append("| " + " | ".join([name, *row, *bills]) + " |")
    lines += [
        "",
        "| problem | scheme | bill | rtol | fewer than strict | than three | than warm | "
        "than economical | CPU time, strict / this |",
        "| --- | --- |" + " --: |" * 7,
    ]
    for kind in ("ours", "differences"):
        for name, kinds in references.items():
            ours = [r for r in results[name] if r.kind == kind]
            if ours:
                lines.append(_comparison(name, kind, ours, kinds))
    return lines


def _references(runs: list[Result]) -> dict[str, Result | None]:
    """Return Euler's schemes with four steps, by kind."""
    found = {r.kind: r for r in runs if r.kind in _BASELINES and r.parameter == _REFERENCE}
    kinds = {kind: found.get(kind) for kind in ("strict", "three", "warm")}
    return {**kinds, "economical": found.get("economical", found.get("euler"))}


def _comparison(name: str, kind: str, ours: list[Result], kinds: dict[str, Result | None]) -> str:
    """Return a row: what a scheme of ours costs at the error of Euler's."""
    economical = kinds["economical"]
    bill, seconds, rtol = at_error(ours, economical.error)
    row = [name, _LABELS[kind][0], f"{bill:.3g}", f"{rtol:.1g}"]
    row += ["" if r is None else f"{r.bill / bill:.1f}" for r in kinds.values()]
    row.append(f"{(kinds['strict'] or economical).seconds / seconds:.1f}")
    return "| " + " | ".join(row).replace("nan", "not reached") + " |"


def _runs(results: dict[str, list[Result]]) -> list[str]:
    """Return the table of all runs."""
    lines = [
        "## All runs",
        "",
        "| problem | scheme | error | error / (rtol × length) | bill | CPU seconds |",
        "| --- | --- |" + " --: |" * 4,
    ]
    for name, runs in results.items():
        for r in runs:
            if r.kind == "fine":
                continue
            adaptive = r.kind in ("ours", "differences")
            setting = f"rtol {r.parameter:g}" if adaptive else f"{r.parameter:g} steps"
            relative = r.error / (r.parameter * r.length) if adaptive else math.nan
            share = f"{relative:.2f}" if math.isfinite(relative) else ""
            lines.append(
                f"| {name} | {_LABELS[r.kind][0]}, {setting} | {r.error:.1e} | {share} | "
                f"{r.bill:.3g} | {r.seconds:.2f} |"
            )
    return lines


def _draw(path: Path, results: dict[str, list[Result]]) -> None:
    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.1 * columns, 2.9 * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(results) :]:
        ax.set_axis_off()
    shown = {}
    for ax, (name, runs) in zip(axes.flat, results.items(), strict=False):
        for kind, (label, marker, color) in _LABELS.items():
            points = [(r.bill, r.error) for r in runs if r.kind == kind]
            if points:
                (line,) = ax.loglog(*zip(*points, strict=True), marker=marker, color=color, ms=4.5)
                shown.setdefault(label, line)
        ax.set_title(name, fontsize=10)
        ax.grid(True, which="major", color="0.9")
        ax.tick_params(labelsize=8)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x >= 1 else f"{x:.0e}"))
            axis.set_minor_formatter(NullFormatter())
    for ax in axes[-1]:
        ax.set_xlabel("gradients per unit of time", fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel("error", fontsize=9)
    figure.legend(
        shown.values(),
        shown.keys(),
        loc="outside lower center",
        ncol=len(shown),
        fontsize=9,
        frameon=False,
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)
