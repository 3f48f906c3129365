"""The multilayer perceptron."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from flows._arguments import check_integer
from flows.tasks._task import Task
from flows.tasks.models._activations import activation_maker
from flows.tasks.models._building import initialised, require_kind


def mlp(
    task: Task,
    *,
    width: int = 256,
    depth: int = 2,
    activation: str = "gelu",
    activation_beta: float | None = None,
    seed: int = 0,
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
        If an option is out of range, or the task's inputs are tokens.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import mlp
    >>> len(mlp(tasks.load("digits", examples=30), width=8, depth=3))
    8
    """
    require_kind("mlp", task, real=True)
    check_integer("width", width, 1)
    check_integer("depth", depth, 1)
    make_activation = activation_maker(activation, activation_beta)

    def build() -> nn.Module:
        sizes = [math.prod(task.input_shape), *[width] * depth]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), make_activation()]
        return nn.Sequential(*layers, nn.Linear(width, task.outputs))

    return initialised(build, task, seed)
