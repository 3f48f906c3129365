"""The summary figure of a run, an optimizer and its flows in four panels, and the panels alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from flows.predictions import averaging_width, gaussian_average

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by every common kind of colour vision.
_COLOURS = {"discrete": "#000000", "central": "#0072B2", "stable": "#D55E00"}
_OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_PREDICTION = "#E69F00"
_DIRECTIONS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_LABELS = {"discrete": "optimizer", "central": "central flow", "stable": "stable flow"}
#: Names of the methods in titles.
METHOD_NAMES = {"gd": "Gradient descent", "rmsprop": "RMSProp", "rmsprop-norm": "RMSProp-Norm"}
#: Style of all figures.
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "lines.linewidth": 1.6,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
    "legend.borderpad": 0.1,
    "legend.fontsize": 9,
    "legend.markerscale": 2,
}
# Beyond this multiple of the threshold an eigenvalue is cut off, so that the edge stays visible.
_SHARPNESS_CUT = 3.0
# So many eigenvalues of each process are drawn; more are clutter.
_EIGENVALUES = 4
# A logarithmic axis is worth its oddness from this ratio on.
_WIDE_RANGE = 30.0
_BULK = (0.02, 0.98)


def summary_figure(dataset: xr.Dataset, *, sigma: float | None = None) -> Figure:
    """Draw what a central flow is for, in one figure.

    The panels show, against the step of the optimizer:

    a. the train loss: of the optimizer, its average over time with Gaussian weights, of the flows,
       and the average that the central flow predicts, ``L + tr X``;
    b. the largest eigenvalues of the effective Hessian ``P⁻¹H``, against the threshold 2;
    c. the Euclidean distance of the flows to the optimizer;
    d. the variance of the oscillation, predicted (eigenvalues of ``X``) and measured (average
       over time of the squared displacement of the optimizer along the same directions).

    Parameters
    ----------
    dataset : xarray.Dataset
        The result of :func:`flows.run`. Processes may be missing or may have stopped early.
    sigma : float, optional
        Width of the average over time, in optimizer steps. By default 50 as in the paper, and
        1/20 of the length of runs shorter than 1000 steps.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window; save it with ``figure.savefig``.

    Raises
    ------
    InvalidArgumentError
        If ``sigma`` is not a positive number.

    References
    ----------
    Cohen, Damian et al. (2024), arXiv:2410.24206.

    Examples
    --------
    >>> import flows, torch
    >>> from flows.plots import summary_figure
    >>> w0 = torch.tensor([1.0, 1.5], dtype=torch.float64)
    >>> objective = flows.Objective.from_function(lambda w: (w[0] * w[1] - 1) ** 2 / 2, w0)
    >>> figure = summary_figure(flows.run(objective, flows.GD(0.5), steps=20).dataset, sigma=5)
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['a  Train loss', 'b  Effective sharpness', 'c  Distance to the optimizer', 'd  Oscillation']
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if sigma is None:
        sigma = averaging_width(dataset.sizes["step"] - 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        panels: list[Callable[[Axes, xr.Dataset, float], None]] = [
            draw_loss,
            draw_sharpness,
            draw_distance,
            draw_oscillation,
        ]
        grid = figure.subplots(2, 2, sharex=True)
        for axes, draw in zip(grid.flat, panels, strict=True):
            draw(axes, dataset, sigma)
        grid[1, 0].set_xlabel("optimizer step")
        grid[1, 1].set_xlabel("optimizer step")
        grid[0, 0].set_xlim(0, max(1, int(dataset.step[-1])))
        figure.suptitle(_title(dataset), x=0.01, ha="left", fontsize=12)
    return figure


def draw_loss(axes: Axes, dataset: xr.Dataset, sigma: float) -> None:
    """Draw the train loss of every process, the optimizer's average and its prediction."""
    axes.set_title("a  Train loss")
    axes.set_ylabel("loss")
    steps = dataset.step.values
    shown = []
    for process in _processes(dataset):
        loss = dataset.loss.sel(process=process).values
        shown.append(loss)
        colour = _colour(dataset, process)
        if process == "discrete":
            axes.plot(steps, loss, color="0.75", lw=0.8, label=_LABELS[process], zorder=1)
            average = gaussian_average(loss, sigma)
            axes.plot(steps, average, color=colour, label=f"its average over {sigma:g} steps")
            _mark_stop(axes, steps, loss, "0.4")
        else:
            axes.plot(steps, loss, color=colour, label=_label(process))
            _mark_stop(axes, steps, loss, colour)
    if "predicted_loss" in dataset:
        axes.plot(
            steps,
            dataset.predicted_loss.values,
            color=_PREDICTION,
            ls=(0, (4, 1.5)),
            label="average predicted by the central flow",
        )
    if not _scale_y(axes, shown):
        _zoom_y(axes, shown)
    _legend(axes)


def draw_sharpness(axes: Axes, dataset: xr.Dataset, sigma: float) -> None:
    """Draw the largest eigenvalues of ``P⁻¹H`` of every process, and the edge of stability."""
    axes.set_title("b  Effective sharpness")
    axes.set_ylabel(r"top eigenvalues of $P^{-1}H$")
    threshold = float(dataset.attrs.get("threshold", 2.0))
    cut = _SHARPNESS_CUT * threshold
    highest = threshold
    axes.axhline(threshold, color="0.3", lw=1, ls=":", label=f"edge of stability, {threshold:g}")
    for process in _processes(dataset):
        eigenvalues = dataset.effective_sharpness.sel(process=process).values[:, :_EIGENVALUES]
        known = np.isfinite(eigenvalues).any(axis=-1)
        if not known.any():
            continue
        steps, eigenvalues = dataset.step.values[known], eigenvalues[known]
        if process == "discrete":
            lines = axes.plot(steps, eigenvalues, ".", color="0.55", ms=3, zorder=1)
        else:
            lines = axes.plot(steps, eigenvalues, color=_colour(dataset, process), lw=1.3)
        if process == "stable":
            for line in lines[1:]:
                line.set(alpha=0.35, lw=0.9)  # beyond the edge already; only the top one matters
        top = float(np.nanmax(eigenvalues))
        beyond = f" (up to {top:.3g})" if top > cut and process != "discrete" else ""
        lines[0].set_label(_label(process) + beyond)
        highest = max(highest, min(top, cut))
    axes.set_ylim(0, 1.1 * highest)
    _legend(axes)


def draw_distance(axes: Axes, dataset: xr.Dataset, sigma: float) -> None:
    """Draw the distances of the weights of the flows to those of the optimizer."""
    axes.set_title("c  Distance to the optimizer")
    axes.set_ylabel(r"$\|w - w_{\mathrm{optimizer}}\|$")
    steps = dataset.step.values
    shown = []
    for process in _processes(dataset):
        distance = dataset.distance.sel(process=process).values
        known = np.flatnonzero(np.isfinite(distance))
        if process == "discrete" or not known.size:
            continue
        colour = _colour(dataset, process)
        axes.plot(steps, distance, color=colour, label=_label(process))
        last = known[-1]
        axes.annotate(
            f"{distance[last]:.2g}",
            (steps[last], distance[last]),
            xytext=(-2, 4),
            textcoords="offset points",
            ha="right",
            color=colour,
        )
        _mark_stop(axes, steps, distance, colour)
        shown.append(distance)
    if not _scale_y(axes, shown):
        axes.set_ylim(bottom=0)
    _legend(axes)


def draw_oscillation(axes: Axes, dataset: xr.Dataset, sigma: float) -> None:
    """Draw the variance of the oscillation along the top directions, predicted and measured."""
    axes.set_title("d  Oscillation")
    axes.set_ylabel("variance along the top directions (loss)")
    count = min(dataset.sizes.get("direction", 0), len(_DIRECTIONS))
    if count == 0:
        _say(axes, "never at the edge of stability" if "critical" in dataset else "no central flow")
        return
    steps = dataset.step.values
    measured = gaussian_average(dataset.displacement.values.T**2, sigma)
    for direction in range(count):
        colour = _DIRECTIONS[direction]
        predicted = dataset.oscillation_variance.values[:, direction]
        axes.plot(steps, predicted, color=colour, lw=1.3, label=f"predicted, {direction + 1}")
        axes.plot(
            steps,
            measured[direction],
            color=colour,
            ls=(0, (1.2, 1.2)),
            lw=2.2,
            label=f"measured, {direction + 1}",
        )
    axes.set_ylim(bottom=0)
    _legend(axes, columns=count if count <= 3 else 2)


def _processes(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset.process.values]


def _label(process: str) -> str:
    return _LABELS.get(process, f"{process} flow")


def _colour(dataset: xr.Dataset, process: str) -> str:
    if process in _COLOURS:
        return _COLOURS[process]
    others = [name for name in _processes(dataset) if name not in _COLOURS]
    return _OTHER_COLOURS[others.index(process) % len(_OTHER_COLOURS)]


def _mark_stop(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Mark where a process stopped before the end of the run."""
    known = np.flatnonzero(np.isfinite(values))
    if known.size and known[-1] < len(values) - 1:
        last = known[-1]
        axes.plot(steps[last], values[last], "x", color=colour, ms=8, mew=2)
        axes.annotate(
            f"stopped at {steps[last]}",
            (steps[last], values[last]),
            xytext=(6, -3),
            textcoords="offset points",
            color=colour,
        )


def _scale_y(axes: Axes, curves: list[np.ndarray]) -> bool:
    """Choose a logarithmic axis where the curves span a wide range, and say whether they do."""
    values = np.concatenate([np.ravel(curve) for curve in curves]) if curves else np.zeros(0)
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return False
    low, high = np.quantile(positive, _BULK)
    if high > _WIDE_RANGE * low:
        axes.set_yscale("log")
        return True
    return False


def _zoom_y(axes: Axes, curves: list[np.ndarray]) -> None:
    """Show the bulk of the curves, and let short spikes and the first steps leave the frame."""
    values = np.concatenate([np.ravel(curve) for curve in curves]) if curves else np.zeros(0)
    values = values[np.isfinite(values)]
    if values.size:
        low, high = values.min(), np.quantile(values, _BULK[1])
        margin = 0.1 * (high - low) + 1e-6 * abs(high)
        axes.set_ylim(low - margin, high + 3 * margin)


def _legend(axes: Axes, columns: int = 1) -> None:
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="best", ncols=columns)
    else:
        _say(axes, "nothing recorded")


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4")


def _title(dataset: xr.Dataset) -> str:
    method = str(dataset.attrs.get("method", ""))
    name = METHOD_NAMES.get(method, method)
    lr = dataset.attrs.get("lr")
    how = f"{name}, learning rate {lr:g}" if lr is not None else name
    return "\n".join(line for line in (str(dataset.attrs.get("problem", "")), how) if line)
