"""What the figures are, and where their values come from, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.figures.experiment import Experiment, Figure
from flows.figures.registry import FIGURES
from flows.figures.scales import SIZES_SOURCE

_OURS = "chosen here"


def listing() -> str:
    """Return one line for every figure.

    Examples
    --------
    >>> from flows.figures import listing
    >>> print(listing().splitlines()[0])
    gd-mse                   Gradient descent on all networks, MSE
    """
    width = max(len(name) for name in FIGURES)
    return "\n".join(f"{name:{width}}  {figure.title}" for name, figure in FIGURES.items())


def explain(figure: Figure, scale: str) -> str:
    """Return what a figure shows and runs, and where each value comes from.

    Parameters
    ----------
    figure : Figure
    scale : {"small", "paper"}

    Returns
    -------
    str

    Examples
    --------
    >>> from flows.figures import explain, find
    >>> print(explain(find("gd-mlp-mse"), "paper"))  # doctest: +ELLIPSIS
    gd-mlp-mse: Gradient descent, MLP, MSE
    ...
      learning rate 0.02 (README of the paper's public code)
    ...
    """
    lines = [f"{figure.name}: {figure.title}", figure.shows]
    if figure.basis:
        lines.append(f"That this is the paper's {figure.name}: {figure.basis}.")
    for experiment in figure.experiments:
        lines += _explain_experiment(experiment, scale)
    return "\n".join(lines)


def _explain_experiment(experiment: Experiment, scale: str) -> list[str]:
    what, how = experiment.problem(scale), experiment.settings(scale)
    source = SIZES_SOURCE[experiment.model] if scale == "paper" else "by the rule of small scale"
    lines = [
        f"run {experiment.name}: {', '.join(experiment.processes)}",
        f"  data {_pairs(what.task)} ({source})",
        f"  network {_pairs(what.model)} ({source})",
    ]
    names = {"lr": "learning rate", "steps": "steps", "warm_start": "steps before the flows start"}
    if how.adaptive:
        names |= {"beta2": "beta2", "eps": "epsilon", "bias_correction": "bias correction"}
    for name, label in names.items():
        value = getattr(how, name)
        shown = ("off", "on")[value] if isinstance(value, bool) else f"{value:g}"
        lines.append(f"  {label} {shown} ({how.published.get(name, _OURS)})")
    return lines


def _pairs(options: Mapping[str, Any]) -> str:
    (_, first), *rest = options.items()
    return ", ".join([str(first), *(f"{name} {value}" for name, value in rest)])
