"""The convolutional network."""

from __future__ import annotations

from torch import nn

from flows._arguments import check_integer
from flows.tasks._task import Task
from flows.tasks.models._activations import activation_maker
from flows.tasks.models._building import initialised, require_images

_SMALLEST_SIDE = 4  # it is halved twice


def cnn(
    task: Task,
    *,
    width: int = 32,
    activation: str = "gelu",
    activation_beta: float | None = None,
    seed: int = 0,
) -> nn.Module:
    """Return the paper's convolutional network.

    Twice a 3×3 convolution without bias (``width``, then ``2·width`` channels), the activation
    and an average over 2×2 pixels; then Linear without bias to ``4·width``, activation, Linear.

    Parameters
    ----------
    task : Task
        A task with images, of shape (channels, height, width) with sides of at least 4.
    width : int
        Channels of the first convolution; 32 in the paper's code.
    activation : {"gelu", "tanh", "silu", "softplus", "beta-gelu"}
        The nonlinearity.
    activation_beta : float, optional
        The β of ``"beta-gelu"``, x Φ(βx).
    seed : int
        Of the initial weights.

    Returns
    -------
    torch.nn.Module
        In the dtype and on the device of the task.

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or the task's inputs are no images.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import cnn
    >>> task = tasks.load("digits", examples=30)
    >>> cnn(task, width=4)(task.inputs).shape
    torch.Size([30, 10])
    """
    channels, height, breadth = require_images("cnn", task, side=_SMALLEST_SIDE)
    check_integer("width", width, 1)
    make_activation = activation_maker(activation, activation_beta)

    def convolution(before: int, after: int) -> list[nn.Module]:
        layer = nn.Conv2d(before, after, kernel_size=3, padding="same", bias=False)
        return [layer, make_activation(), nn.AvgPool2d(2)]

    def build() -> nn.Module:
        return nn.Sequential(
            *convolution(channels, width),
            *convolution(width, 2 * width),
            nn.Flatten(),
            nn.Linear(2 * width * (height // 4) * (breadth // 4), 4 * width, bias=False),
            make_activation(),
            nn.Linear(4 * width, task.outputs),
        )

    return initialised(build, task, seed)
