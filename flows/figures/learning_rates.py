"""One optimizer at several learning rates: the sharpness levels off at 2/η for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from flows import plots
from flows.figures.experiment import Experiment, Figure
from flows.figures.summaries import LOSS_NAMES, MODEL_NAMES
from flows.predictions import averaging_width, gaussian_average

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from flows.result import Run

_FACTORS = (2.0, 1.0, 0.5)
_COLOURS = ("#D55E00", "#0072B2", "#009E73")
_PREDICTED = (0, (2, 2))


def figures() -> Iterator[Figure]:
    """Yield the figures; the learning rates 0.02 and 0.01 of the ViT are those of the site."""
    for model in ("mlp", "vit"):
        for loss in LOSS_NAMES:
            runs = tuple(Experiment("gd", model, loss, lr_factor=factor) for factor in _FACTORS)
            short = "ce" if loss == "cross-entropy" else loss
            yield Figure(
                name=f"gd-{model}-{short}-lrs",
                title=f"Gradient descent at three learning rates, {MODEL_NAMES[model]}, "
                f"{LOSS_NAMES[loss]}",
                shows="The sharpness rises to 2/η and stays there, the lower the larger the "
                "learning rate η, for the optimizer (dots) and its central flow; the loss of the "
                "central flow decreases all the while.",
                experiments=runs,
                draw=draw,
            )


def draw(figure: Figure, runs: list[Run]) -> Drawing:
    """Draw sharpness, loss and distance of all runs over each other."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    with mpl.rc_context(plots.STYLE):
        drawing = Drawing(figsize=(12, 3.9), layout="constrained")
        panels = drawing.subplots(1, 3, sharex=True)
        for run, colour in zip(runs, _COLOURS, strict=True):
            _draw_sharpness(panels[0], run, colour)
            _draw_loss(panels[1], run, colour)
            _draw_distance(panels[2], run, colour)
        # One entry in black says what a kind of line is, whatever its colour.
        panels[1].plot([], [], color="black", label="optimizer")
        panels[1].plot([], [], color="black", ls=_PREDICTED, label="predicted by the central flow")
        panels[2].plot([], [], color="black", label="central flow")
        panels[2].plot([], [], color="black", ls="--", label="stable flow")
        for axes in panels:
            axes.set_xlabel("optimizer step")
            axes.legend()
        panels[0].set(title="a  Sharpness", ylabel=r"largest eigenvalue of $H$", ylim=(0, None))
        panels[1].set(title="b  Train loss, averaged", ylabel="loss", yscale="log")
        panels[2].set(
            title="c  Distance to the optimizer",
            ylabel=r"$\|w - w_{\mathrm{optimizer}}\|$",
            ylim=(0, None),
        )
        drawing.suptitle(figure.title, x=0.01, ha="left", fontsize=12)
    return drawing


def _draw_sharpness(axes: Axes, run: Run, colour: str) -> None:
    dataset, lr = run.dataset, float(run.dataset.attrs["lr"])
    axes.axhline(2 / lr, color=colour, lw=1, ls=":")
    optimizer = dataset.effective_sharpness.sel(process="discrete", eigenvalue=0).values / lr
    known = np.isfinite(optimizer)
    steps = dataset.step.values
    axes.plot(steps[known], optimizer[known], ".", color=colour, ms=3, alpha=0.5)
    flow = dataset.effective_sharpness.sel(process="central", eigenvalue=0).values / lr
    axes.plot(steps, flow, color=colour, label=rf"$\eta$ = {lr:g}, $2/\eta$ = {2 / lr:g}")


def _draw_loss(axes: Axes, run: Run, colour: str) -> None:
    dataset = run.dataset
    steps, sigma = dataset.step.values, averaging_width(dataset.sizes["step"] - 1)
    average = gaussian_average(dataset.loss.sel(process="discrete").values, sigma)
    axes.plot(steps, average, color=colour)
    axes.plot(steps, dataset.predicted_loss.values, color="black", ls=_PREDICTED, lw=1.1)


def _draw_distance(axes: Axes, run: Run, colour: str) -> None:
    dataset = run.dataset
    for process, line in (("central", "-"), ("stable", "--")):
        distance = dataset.distance.sel(process=process).values
        axes.plot(dataset.step.values, distance, color=colour, ls=line)
