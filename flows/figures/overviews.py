"""One optimizer on all networks: small panels side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows import plots
from flows.figures.experiment import METHODS, Experiment, Figure
from flows.figures.summaries import LOSS_NAMES, MODEL_NAMES
from flows.predictions import averaging_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from flows.result import Run

_MODELS = ("cnn", "resnet", "vit", "gpt", "rnn", "mlp")
_PANELS = (plots.draw_loss, plots.draw_sharpness, plots.draw_distance)
_PANEL_SIZE = (2.6, 2.3)  # inches


def figures() -> Iterator[Figure]:
    """Yield the overviews."""
    for method in METHODS:
        for loss, loss_name in LOSS_NAMES.items():
            short = "ce" if loss == "cross-entropy" else loss
            yield Figure(
                name=f"{method}-{short}",
                title=f"{plots.METHOD_NAMES[method]} on all networks, {loss_name}",
                shows="Train loss, effective sharpness and distance to the optimizer, network by "
                "network.",
                experiments=tuple(Experiment(method, model, loss) for model in _MODELS),
                draw=draw,
            )


def draw(figure: Figure, runs: list[Run]) -> Drawing:
    """Draw a column of panels for each run, and one legend for all."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    with mpl.rc_context(plots.STYLE):
        width, height = _PANEL_SIZE
        drawing = Drawing(
            figsize=(width * len(runs), height * len(_PANELS) + 0.8), layout="constrained"
        )
        grid = drawing.subplots(len(_PANELS), len(runs), squeeze=False, sharex="col")
        entries: dict[str, Artist] = {}
        for column, (experiment, run) in enumerate(zip(figure.experiments, runs, strict=True)):
            dataset = run.dataset
            for row, panel in enumerate(_PANELS):
                axes = grid[row, column]
                panel(axes, dataset, averaging_width(dataset.sizes["step"] - 1))
                entries |= _take_legend(axes)
                axes.set_title(MODEL_NAMES[experiment.model] if row == 0 else "")
                if column > 0:
                    axes.set_ylabel("")
            grid[-1, column].set_xlabel("optimizer step")
        drawing.suptitle(figure.title, x=0.01, ha="left", fontsize=12)
        handles, labels = list(entries.values()), list(entries)
        drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return drawing


def _take_legend(axes: Axes) -> dict[str, Artist]:
    """Remove the legend of a panel, and return its entries by their labels."""
    handles, labels = axes.get_legend_handles_labels()
    if legend := axes.get_legend():
        legend.remove()
    # A label ends in what holds for this panel alone, such as "(up to 9.3)"; in its own panel
    # "its" means the optimizer's.
    shared = [label.partition(" (")[0].replace("its average", "average") for label in labels]
    return dict(zip(shared, handles, strict=True))
