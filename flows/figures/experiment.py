"""What a figure shows: experiments, and a drawing of their results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flows.figures.scales import Problem, problem
from flows.figures.settings import Settings, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from flows.methods import Method
    from flows.result import Run

METHODS = {"gd": "GD", "rmsprop-norm": "RMSPropNorm", "rmsprop": "RMSProp"}
_PROCESSES = ("discrete", "central", "stable")


@dataclass(frozen=True)
class Experiment:
    """One run of a figure: an optimizer on a network, and what runs beside it.

    Parameters
    ----------
    method : {"gd", "rmsprop-norm", "rmsprop"}
        The optimizer; its learning rate and the like are looked up in
        :mod:`flows.figures.settings`.
    model : str
        Network, a key of :data:`flows.figures.scales.PAPER_SIZES`.
    loss : {"mse", "cross-entropy"}
        Loss.
    processes : tuple of str
        See :func:`flows.run`.
    lr_factor : float
        The learning rate is multiplied by it, for figures that compare several.
    options : mapping
        Further options of :func:`flows.run`, such as ``save_weights``.
    overrides : mapping
        Settings that differ from the table, such as ``beta2`` or ``steps``.

    Examples
    --------
    >>> from flows.figures import Experiment
    >>> Experiment("gd", "cnn", "mse", lr_factor=0.5).name
    'gd-cnn-mse-lr0.5'
    """

    method: str
    model: str
    loss: str
    processes: tuple[str, ...] = _PROCESSES
    lr_factor: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """Name of the folder of the run."""
        parts = [self.method, self.model, "ce" if self.loss == "cross-entropy" else self.loss]
        if self.lr_factor != 1:
            parts.append(f"lr{self.lr_factor:g}")
        parts += [f"{key}{value}" for key, value in sorted(self.overrides.items())]
        return "-".join(parts)

    def problem(self, scale: str) -> Problem:
        """Return data, loss and network at a scale."""
        return problem(self.model, self.loss, scale)

    def settings(self, scale: str) -> Settings:
        """Return learning rate, steps and the like at a scale."""
        table = settings(self.method, self.model, self.loss, scale)
        changed = dict(self.overrides)
        if self.lr_factor != 1:
            changed.setdefault("lr", self.lr_factor * table.lr)
        kept = {name: where for name, where in table.published.items() if name not in changed}
        return replace(table, **changed, published=kept)

    def make_method(self, scale: str) -> Method:
        """Return the optimizer at a scale."""
        import flows

        return getattr(flows, METHODS[self.method])(**self.settings(scale).optimizer())

    def record(self, scale: str, *, seed: int) -> str:
        """Return everything that decides the result, as JSON, to recognise a finished run."""
        what = self.problem(scale)
        how = self.settings(scale)
        values = {
            "method": self.method,
            "optimizer": how.optimizer(),
            "steps": how.steps,
            "warm_start": how.warm_start,
            "task": what.task,
            "model": what.model,
            "processes": list(self.processes),
            "options": dict(self.options),
            "seed": seed,
        }
        return json.dumps(values, sort_keys=True)


@dataclass(frozen=True)
class Figure:
    """A figure that one command makes.

    Parameters
    ----------
    name : str
        What the command calls it.
    title : str
        One line.
    shows : str
        What there is to see, in a sentence or two.
    experiments : tuple of Experiment
        What must run first.
    draw : callable
        Draws the figure from ``(figure, runs)``; ``runs`` are in the order of ``experiments``.
    basis : str
        Where it is said that the figure of this number in the paper shows this, or empty for a
        figure that is named by what it shows.
    """

    name: str
    title: str
    shows: str
    experiments: tuple[Experiment, ...]
    draw: Callable[[Figure, list[Run]], Drawing]
    basis: str = ""
