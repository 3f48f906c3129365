"""One optimizer on one network: the summary figure, for every optimizer, network and loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.figures.experiment import METHODS, Experiment, Figure
from flows.figures.scales import PAPER_SIZES
from flows.plots import METHOD_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from flows.result import Run

MODEL_NAMES = {
    "mlp": "MLP",
    "cnn": "CNN",
    "resnet": "ResNet",
    "vit": "ViT",
    "gpt": "GPT",
    "rnn": "RNN",
    "lstm": "LSTM",
}
LOSS_NAMES = {"mse": "MSE", "cross-entropy": "cross-entropy"}


def figures() -> Iterator[Figure]:
    """Yield the summary figures."""
    for method in METHODS:
        for model in PAPER_SIZES:
            for loss in LOSS_NAMES:
                experiment = Experiment(method, model, loss)
                yield Figure(
                    name=experiment.name,
                    title=f"{METHOD_NAMES[method]}, {MODEL_NAMES[model]}, {LOSS_NAMES[loss]}",
                    shows="The optimizer beside its central and its stable flow: train loss, "
                    "effective sharpness, distance, and the variance of the oscillation, "
                    "predicted and measured.",
                    experiments=(experiment,),
                    draw=draw,
                )


def draw(figure: Figure, runs: list[Run]) -> Drawing:
    """Draw the summary figure of the only run."""
    (run,) = runs
    return run.plot()
