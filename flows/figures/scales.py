"""The two scales of a figure, and the one rule that leads from the paper's to the small one.

The **paper** scale is that of the paper's public code: 1,000 images of the first 4 classes of
CIFAR-10, or 1,000 sequences of 8 letters from an alphabet of 4, and the networks in their full
sizes.

The **small** scale is for two cores and a few minutes:

* a tenth of the examples;
* the 8×8 digits that come with scikit-learn in place of CIFAR-10, so that nothing is downloaded,
  with as many classes, a fifth of the labels being random (a hundred small digits are fitted
  within a few steps otherwise); sequences of half the length;
* a quarter of every width and number of heads (but at least 2 heads), half of every depth,
  rounded up;
* 400 steps, with a learning rate of 1, 2 or 5 × 10^k at which the optimizer meets the edge of
  stability in the first half of them (where the edge lies depends on all of the above); they are
  listed in :mod:`flows.figures.settings`; ``python -m bench.small_scale`` checks them.

Both are in float32, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows._errors import InvalidArgumentError

SCALES = ("small", "paper")
FOR_SEQUENCES = ("gpt", "rnn", "lstm")

#: Sizes of the networks in the paper's public code; the plain recurrent network is not in it,
#: and gets the width of the LSTM.
PAPER_SIZES: dict[str, dict[str, int]] = {
    "mlp": {"width": 256, "depth": 2},
    "cnn": {"width": 32},
    "resnet": {"width": 16, "depth": 3},
    "vit": {"width": 64, "depth": 4, "heads": 8, "head_width": 64},
    "gpt": {"width": 32, "depth": 4, "heads": 4},
    "rnn": {"width": 48, "depth": 1},
    "lstm": {"width": 48, "depth": 2},
}
#: Where those sizes, and those of the data, are published.
SIZES_SOURCE = dict.fromkeys(PAPER_SIZES, "defaults of the paper's public code") | {
    "rnn": "data: defaults of the paper's public code; network: chosen here"
}
_PAPER_IMAGES = {"task": "cifar10", "examples": 1000, "classes": 4}
_PAPER_SEQUENCES = {"task": "sorting", "examples": 1000, "length": 8, "alphabet": 4}
_FEWER = {"examples": 10, "length": 2, "width": 4, "head_width": 4, "heads": 4, "depth": 2}
_AT_LEAST = {"heads": 2, "depth": 1}
_LABEL_NOISE = 0.2


@dataclass(frozen=True)
class Problem:
    """Data, loss and network, as options of :mod:`flows.tasks`.

    Attributes
    ----------
    task, model : dict
        Options of :func:`flows.tasks.load` and :func:`flows.tasks.build_model`, and the name.
    """

    task: dict[str, Any]
    model: dict[str, Any]


def problem(model: str, loss: str, scale: str) -> Problem:
    """Return the training problem of a network and a loss at a scale.

    Parameters
    ----------
    model : str
        A key of :data:`PAPER_SIZES`.
    loss : {"mse", "cross-entropy"}
    scale : {"small", "paper"}

    Returns
    -------
    Problem

    Raises
    ------
    InvalidArgumentError
        For another scale.

    Examples
    --------
    >>> from flows.figures.scales import problem
    >>> problem("cnn", "mse", "paper").model, problem("cnn", "mse", "small").model
    ({'name': 'cnn', 'width': 32}, {'name': 'cnn', 'width': 8})
    """
    if scale not in SCALES:
        raise InvalidArgumentError(f"scale must be one of {', '.join(SCALES)}, found {scale!r}")
    data: dict[str, Any] = _PAPER_SEQUENCES if model in FOR_SEQUENCES else _PAPER_IMAGES
    data = {**data, "loss": loss}
    sizes: dict[str, Any] = PAPER_SIZES[model]
    if scale == "paper":
        return Problem(data, {"name": model, **sizes})
    data, sizes = _reduced(data), _reduced(sizes)
    if data["task"] == "cifar10":
        data |= {"task": "digits", "label_noise": _LABEL_NOISE}
    return Problem(data, {"name": model, **sizes})


def _reduced(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: max(_AT_LEAST.get(name, 1), -(-value // _FEWER[name])) if name in _FEWER else value
        for name, value in options.items()
    }
