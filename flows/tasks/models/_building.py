"""What every network for a task needs: a fitting task, and weights from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from flows._arguments import check_integer
from flows._errors import InvalidArgumentError
from flows.tasks._task import Task


def require_kind(model: str, task: Task, *, real: bool) -> None:
    """Raise unless the inputs are real numbers, or else tokens."""
    if real != (task.alphabet is None):
        wanted, found = ("real numbers", "tokens") if real else ("tokens", "real numbers")
        raise InvalidArgumentError(
            f"model {model!r} takes {wanted} as inputs, found {found} in task {task.name!r}"
        )


def require_images(model: str, task: Task, *, side: int) -> tuple[int, int, int]:
    """Return channels, height and width of the images; raise if a side is below ``side``."""
    require_kind(model, task, real=True)
    if len(task.input_shape) != 3 or min(task.input_shape[1:]) < side:
        raise InvalidArgumentError(
            f"model {model!r} needs images of at least {side}x{side} pixels, found inputs of shape "
            f"{task.input_shape} in task {task.name!r}"
        )
    channels, height, width = task.input_shape
    return channels, height, width


def require_scale(argument: str, value: float) -> None:
    """Raise unless the factor is a number at least zero."""
    if not (math.isfinite(value) and value >= 0):
        raise InvalidArgumentError(f"{argument} must be a number at least 0, found {value}")


def scale_readout(layer: nn.Linear, factor: float) -> None:
    """Multiply the initial weights of the last layer by a factor."""
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(factor)


def initialised(build: Callable[[], nn.Module], task: Task, seed: int) -> nn.Module:
    """Build a network from a seed, leaving torch's global random state as it was."""
    check_integer("seed", seed, 0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build()
    return model.to(device=task.inputs.device, dtype=task.dtype)
