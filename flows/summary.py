"""What a run says in a few lines of text."""

from __future__ import annotations

import numpy as np
import xarray as xr

# Natural residual up to which a complementarity problem counts as solved.
_SOLVED = 1e-10


def summarize(dataset: xr.Dataset) -> str:
    """Return the outcome of a run as a small table and a few sentences.

    Parameters
    ----------
    dataset : xarray.Dataset
        The result of :func:`flows.run`.

    Returns
    -------
    str
        Several lines: at the end of the run, the loss, the effective sharpness, and the distance
        to the optimizer of each process; what it cost; how many directions are critical, how much
        closer to the optimizer the central flow is than the stable flow, the certificates of the
        complementarity problems, and why a process stopped, if one did.

    Examples
    --------
    >>> import flows, torch
    >>> from flows.summary import summarize
    >>> w0 = torch.tensor([1.0, 1.5], dtype=torch.float64)
    >>> objective = flows.Objective.from_function(lambda w: (w[0] * w[1] - 1) ** 2 / 2, w0)
    >>> run = flows.run(objective, flows.GD(0.5), steps=20)
    >>> print(summarize(run.dataset).splitlines()[2].split("  ")[0])
    final loss
    """
    processes = [str(name) for name in dataset.process.values]
    lines = [str(dataset.attrs.get("problem", "")), *_table(dataset, processes), ""]
    if "central" in processes:
        lines += _central_lines(dataset)
    lines += _stopped_lines(dataset, processes)
    return "\n".join(lines).strip("\n")


def _table(dataset: xr.Dataset, processes: list[str]) -> list[str]:
    header = f"{dataset.attrs.get('title', '')}, {dataset.step.values[-1]} steps"
    rows = [
        ("final loss", [f"{last(dataset.loss.sel(process=p)):.6g}" for p in processes]),
        ("effective sharpness", [_sharpness(dataset, p) for p in processes]),
        ("distance to the optimizer", [_distance(dataset, p) for p in processes]),
    ]
    for operation, name in _OPERATIONS.items():
        if operation in dataset.operation:
            counts = dataset.counts.sel(operation=operation)
            rows.append((name, [f"{int(counts.sel(process=p)):,}" for p in processes]))
    rows.append(("seconds", [f"{float(dataset.seconds.sel(process=p)):.1f}" for p in processes]))
    names = "".join(f"{name:>14}" for name in processes)
    body = [f"{name:<30}" + "".join(f"{cell:>14}" for cell in cells) for name, cells in rows]
    return [header, f"{'':<30}{names}", *body]


_OPERATIONS = {
    "gradient": "gradients",
    "hvp": "Hessian columns",
    "third": "third-derivative columns",
    "ccp": "complementarity problems",
}


def _central_lines(dataset: xr.Dataset) -> list[str]:
    if np.isnan(dataset.loss.sel(process="central").values).all():
        return []
    lines = [f"critical directions of the central flow at the end: {last(dataset.critical):.0f}"]
    if "distance" in dataset and {"discrete", "stable"} <= set(dataset.process.values):
        central = last(dataset.distance.sel(process="central"))
        stable = last(dataset.distance.sel(process="stable"))
        lines.append(
            f"distance to the optimizer: central flow {central:.4g}, stable flow {stable:.4g}"
            + (f", ratio {stable / central:.3g}" if central > 0 else "")
        )
    return [*lines, _certificates(dataset)]


def _certificates(dataset: xr.Dataset) -> str:
    residual = dataset.natural_residual.values
    bound = dataset.error_bound.values
    reached = np.isfinite(dataset.loss.sel(process="central").values)
    certified = np.isfinite(bound[reached]).all() and (residual[reached] <= _SOLVED).all()
    worst = f"worst natural residual {_worst(residual):.1e}, error bound {_worst(bound):.1e}"
    verdict = "all certified" if certified else "NOT all certified"
    return f"complementarity problems: {verdict} ({worst})"


def _stopped_lines(dataset: xr.Dataset, processes: list[str]) -> list[str]:
    reasons = ((process, dataset.attrs.get(f"stopped_{process}")) for process in processes)
    return [f"{process} stopped early: {reason}" for process, reason in reasons if reason]


def _sharpness(dataset: xr.Dataset, process: str) -> str:
    if dataset.sizes.get("eigenvalue", 0) == 0:
        return "-"
    return f"{last(dataset.effective_sharpness.sel(process=process, eigenvalue=0)):.4f}"


def _distance(dataset: xr.Dataset, process: str) -> str:
    value = last(dataset.distance.sel(process=process))
    return "-" if process == "discrete" or np.isnan(value) else f"{value:.4g}"


def last(series: xr.DataArray) -> float:
    """Return the last value of a series that is not NaN, or NaN if there is none."""
    known = series.values[np.isfinite(series.values)]
    return float(known[-1]) if known.size else float("nan")


def _worst(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")
