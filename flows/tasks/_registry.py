"""Tasks and models by name; their modules (and torch) are imported when one is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flows._errors import InvalidArgumentError

if TYPE_CHECKING:
    from torch import nn

    from flows.tasks._task import Task

#: Name of a task, and the module whose function of the same name makes it.
TASKS: Mapping[str, str] = {
    "digits": "flows.tasks.digits",
    "sorting": "flows.tasks.sorting",
    "cifar10": "flows.tasks.cifar10",
}

#: Name of a model, and the module whose function of the same name builds it for a task.
MODELS: Mapping[str, str] = dict.fromkeys(
    ("mlp", "cnn", "resnet", "vit", "gpt", "rnn", "lstm"), "flows.tasks.models"
)


def load(name: str, **options: Any) -> Task:
    """Return the task of that name.

    Parameters
    ----------
    name : {"digits", "sorting", "cifar10"}
        A key of :data:`TASKS`.
    **options
        Of :func:`flows.tasks.digits.digits`, :func:`flows.tasks.sorting.sorting` or
        :func:`flows.tasks.cifar10.cifar10`.

    Returns
    -------
    Task

    Raises
    ------
    InvalidArgumentError
        If the name or an option is unknown, or an option has a value that is not allowed.

    Examples
    --------
    >>> from flows import tasks
    >>> tasks.load("digits", examples=30, classes=3).input_shape
    (1, 8, 8)
    """
    return _find("task", name, TASKS)(**_checked("task", name, options, TASKS))


def build_model(name: str, task: Task, **options: Any) -> nn.Module:
    """Return a network for a task, with initial weights from a seed.

    Parameters
    ----------
    name : {"mlp", "cnn", "resnet", "vit", "gpt", "rnn", "lstm"}
        A key of :data:`MODELS`.
    task : Task
        What the network is to fit; it gets the dtype and device of the task's real numbers.
    **options
        Of the function of that name in :mod:`flows.tasks.models`: ``width``, ``seed``, ….

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    InvalidArgumentError
        If the name or an option is unknown, an option has a value that is not allowed, or the
        model does not take inputs of the task's kind.

    Examples
    --------
    >>> from flows import tasks
    >>> task = tasks.load("digits", examples=30)
    >>> sum(p.numel() for p in tasks.build_model("mlp", task, width=8).parameters())
    682
    """
    builder = _find("model", name, MODELS)
    return builder(task, **_checked("model", name, options, MODELS))


def _find(kind: str, name: str, registry: Mapping[str, str]) -> Callable[..., Any]:
    if name not in registry:
        raise InvalidArgumentError(f"{kind} must be one of {', '.join(registry)}, found {name!r}")
    return getattr(import_module(registry[name]), name)


def _checked(
    kind: str, name: str, options: dict[str, Any], registry: Mapping[str, str]
) -> dict[str, Any]:
    parameters = inspect.signature(_find(kind, name, registry)).parameters.values()
    allowed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in allowed:
            raise InvalidArgumentError(
                f"{kind} {name!r} has no option {option}; allowed are {', '.join(allowed)}"
            )
    return options
