"""Small networks of every architecture, on small tasks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flows import Objective, tasks
from flows.tasks import Task

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"width": 8},
    "cnn": {"width": 3},
    "resnet": {"width": 3},
    "vit": {"width": 8, "heads": 2},
    "gpt": {"width": 8, "heads": 2},
    "rnn": {"width": 8},
    "lstm": {"width": 8},
}
FOR_SEQUENCES = ("gpt", "rnn", "lstm")
LOSSES = ("mse", "cross-entropy")


def task(
    name: str,
    loss: str = "mse",
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    examples: int = 16,
) -> Task:
    """Return a task that the architecture can learn."""
    options: dict[str, Any] = {"loss": loss, "dtype": dtype, "device": device}
    if name in FOR_SEQUENCES:
        return tasks.load("sorting", examples=examples, length=4, **options)
    return tasks.load("digits", examples=examples, classes=4, **options)


def objective(
    name: str, problem: Task, *, model: dict[str, Any] | None = None, **options: Any
) -> Objective:
    """Return the loss of a small network of that architecture on the task."""
    network = tasks.build_model(name, problem, **{**SMALL[name], **(model or {})})
    return Objective(network, problem.loss, problem.inputs, problem.targets, **options)


def directions(d: int, m: int, like: Tensor) -> Tensor:
    """Return m random unit columns, the same on every device and in every dtype."""
    generator = torch.Generator().manual_seed(7)
    U = torch.randn(d, m, generator=generator, dtype=torch.float64)
    return (U / U.norm(dim=0)).to(like)


def somewhere(objective: Objective) -> Tensor:
    """Return weights near the first ones, where no derivative vanishes by construction.

    (Residual branches and readouts start at zero in some networks.)
    """
    return objective.w0 + 2.0 * directions(objective.dim, 1, objective.w0)[:, 0]
