"""Networks of the paper, in the sizes one asks for.

All activations are smooth: a central flow needs third derivatives of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from flows._errors import InvalidArgumentError
from flows.tasks._labels import check_integer
from flows.tasks._task import Task

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


def mlp(
    task: Task, *, width: int = 256, depth: int = 2, activation: str = "gelu", seed: int = 0
) -> nn.Module:
    """Return a fully connected network.

    Flatten, then ``depth`` times Linear and activation, then Linear.

    Parameters
    ----------
    task : Task
        A task with real inputs.
    width : int
        Neurons in a hidden layer; 256 in the paper's code.
    depth : int
        Hidden layers; 2 in the paper's code.
    activation : {"gelu", "tanh", "silu", "softplus"}
        The nonlinearity.
    seed : int
        Of the initial weights.

    Returns
    -------
    torch.nn.Module
        In the dtype and on the device of the task.

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or the task's inputs are tokens.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import mlp
    >>> len(mlp(tasks.load("digits", examples=30), width=8, depth=3))
    8
    """
    _require("mlp", task, real=True)
    check_integer("width", width, 1)
    check_integer("depth", depth, 1)
    make_activation = _activation(activation)

    def build() -> nn.Module:
        sizes = [math.prod(task.input_shape), *[width] * depth]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), make_activation()]
        return nn.Sequential(*layers, nn.Linear(width, task.outputs))

    return _initialised(build, task, seed)


def cnn(task: Task, *, width: int = 32, activation: str = "gelu", seed: int = 0) -> nn.Module:
    """Return the paper's convolutional network.

    Twice a 3×3 convolution without bias (``width``, then ``2·width`` channels), the activation
    and an average over 2×2 pixels; then Linear without bias to ``4·width``, activation, Linear.

    Parameters
    ----------
    task : Task
        A task with images, of shape (channels, height, width) with sides of at least 4.
    width : int
        Channels of the first convolution; 32 in the paper's code.
    activation : {"gelu", "tanh", "silu", "softplus"}
        The nonlinearity.
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
    _require("cnn", task, real=True)
    check_integer("width", width, 1)
    make_activation = _activation(activation)
    if len(task.input_shape) != 3 or min(task.input_shape[1:]) < 4:
        raise InvalidArgumentError(
            f"model 'cnn' needs images of at least 4x4 pixels, found inputs of shape "
            f"{task.input_shape} in task {task.name!r}"
        )
    channels, height, breadth = task.input_shape

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

    return _initialised(build, task, seed)


class Lstm(nn.Module):
    """Embedding, stacked LSTM layers, and a linear readout at every position.

    Parameters
    ----------
    alphabet, width, depth, outputs : int
        Number of tokens, of units in embedding and layers, of layers, and of outputs.
    """

    def __init__(self, alphabet: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet, width)
        self.recurrence = nn.LSTM(width, width, num_layers=depth, batch_first=True)
        self.readout = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the outputs at every position, shape (N, T, outputs), for tokens (N, T)."""
        return self.readout(self.recurrence(self.embedding(tokens))[0])


def lstm(task: Task, *, width: int = 48, depth: int = 2, seed: int = 0) -> nn.Module:
    """Return a recurrent network that predicts the next token.

    Parameters
    ----------
    task : Task
        A task whose inputs are tokens.
    width : int
        Units in the embedding and in each layer; 48 in the paper's code.
    depth : int
        Layers; 2 in the paper's code.
    seed : int
        Of the initial weights.

    Returns
    -------
    torch.nn.Module
        In the dtype and on the device of the task.

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or the task's inputs are no tokens.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import lstm
    >>> task = tasks.load("sorting", examples=10)
    >>> lstm(task, width=8, depth=1)(task.inputs).shape
    torch.Size([10, 15, 4])
    """
    _require("lstm", task, real=False)
    check_integer("width", width, 1)
    check_integer("depth", depth, 1)
    alphabet = task.alphabet or task.outputs
    return _initialised(lambda: Lstm(alphabet, width, depth, task.outputs), task, seed)


def _require(model: str, task: Task, *, real: bool) -> None:
    if real != (task.alphabet is None):
        wanted, found = ("real numbers", "tokens") if real else ("tokens", "real numbers")
        raise InvalidArgumentError(
            f"model {model!r} takes {wanted} as inputs, found {found} in task {task.name!r}"
        )


def _activation(name: str) -> Callable[[], nn.Module]:
    if name not in ACTIVATIONS:
        raise InvalidArgumentError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, found {name!r}"
        )
    return ACTIVATIONS[name]


def _initialised(build: Callable[[], nn.Module], task: Task, seed: int) -> nn.Module:
    """Build a network from a seed, leaving torch's global random state as it was."""
    check_integer("seed", seed, 0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build()
    return model.to(device=task.inputs.device, dtype=task.dtype)
