"""Run what a figure shows, unless it has run already, and draw the figure."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows import storage
from flows.figures.experiment import Experiment
from flows.figures.registry import find

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from flows.objective import Objective
    from flows.result import Run

_logger = logging.getLogger(__name__)
_RECORD = "experiment"  # attribute of a run that holds everything that decides its result
_DPI = 150


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """At which scale, and on which machine, experiments run.

    Attributes
    ----------
    scale : {"small", "paper"}
        See :mod:`flows.figures.scales`.
    seed : int
        Of initial weights, label noise and generated data.
    device : str
        Where the network is.
    chunk : int, optional
        Examples per pass through the network.
    memory : str or int, optional
        What one evaluation may add to the memory in use; see :class:`flows.Objective`.
    data : path, optional
        Local copy of CIFAR-10, for the paper's scale.
    """

    scale: str = "small"
    seed: int = 0
    device: str = "cpu"
    chunk: int | None = None
    memory: str | int | None = None
    data: str | Path | None = None


def reproduce(
    name: str,
    out: str | Path,
    conditions: Conditions | None = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Drawing:
    """Make a figure of the paper, or one of its kind.

    Each experiment of the figure runs into ``out/<experiment>``; the figure is written to
    ``out/<name>.png``. A finished run of the same experiment that lies there already, of this
    or another figure, is used instead of running again.

    Parameters
    ----------
    name : str
        A key of :data:`flows.figures.FIGURES`.
    out : path
        Folder.
    conditions : Conditions, optional
        Scale, seed and machine; by default the small scale on the processor.
    overwrite : bool
        Run again what lies there.
    progress : bool
        Show a progress bar for each run.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidArgumentError
        For an unknown figure or scale.
    StorageError
        If a folder holds the run of another experiment, or cannot be written.

    Examples
    --------
    >>> from flows.figures import reproduce
    >>> reproduce("fig1", "runs/figures")
    Traceback (most recent call last):
      ...
    flows._errors.InvalidArgumentError: figure: unknown figure 'fig1' (flows reproduce --list)
    """
    figure = find(name)
    folder = Path(out)
    conditions = conditions or Conditions()
    runs = [
        run_experiment(each, folder / each.name, conditions, overwrite=overwrite, progress=progress)
        for each in figure.experiments
    ]
    drawing = figure.draw(figure, runs)
    storage.write_atomically(
        folder / f"{name}.png", lambda path: drawing.savefig(path, format="png", dpi=_DPI)
    )
    return drawing


def run_experiment(
    experiment: Experiment,
    folder: Path,
    conditions: Conditions,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Run:
    """Return the finished run in the folder, or run the experiment into it.

    Parameters and errors are those of :func:`reproduce`.
    """
    import flows

    scale = conditions.scale
    record = experiment.record(scale, seed=conditions.seed)
    if not overwrite and (found := _finished(folder, record)) is not None:
        _logger.info("%s: using the finished run in %s", experiment.name, folder)
        return found
    how = experiment.settings(scale)
    objective, provenance = make_objective(experiment, conditions)
    return flows.run(
        objective,
        experiment.make_method(scale),
        steps=how.steps,
        warm_start=how.warm_start,
        processes=experiment.processes,
        out=folder,
        overwrite=True,
        progress=progress,
        provenance=provenance | {_RECORD: record, "scale": scale, "seed": conditions.seed},
        **experiment.options,
    )


def _finished(folder: Path, record: str) -> Run | None:
    """Return the run in the folder if it is finished, and None if there is none or only a part."""
    import flows

    if not (folder / storage.RESULTS).is_file():
        return None
    run = flows.load(folder)
    found = run.dataset.attrs.get(_RECORD)
    if found != record:
        raise storage.StorageError(
            f"out: {folder} holds the run of another experiment; choose another folder or overwrite"
        )
    last = run.dataset.loss.isel(step=-1)
    ended = [
        f"stopped_{name}" in run.dataset.attrs or np.isfinite(last.sel(process=name))
        for name in run.dataset.process.values
    ]
    return run if all(ended) and "stopped_run" not in run.dataset.attrs else None


def make_objective(
    experiment: Experiment, conditions: Conditions
) -> tuple[Objective, dict[str, Any]]:
    """Return the loss of an experiment as a function of the weights, and what to record of it.

    Parameters and errors are those of :func:`reproduce`.
    """
    import torch

    import flows
    from flows.commands import parse_device
    from flows.tasks import build_model, load

    what = experiment.problem(conditions.scale)
    options, sizes = dict(what.task), dict(what.model)
    if conditions.data is not None and options["task"] == "cifar10":
        options["path"] = conditions.data
    task = load(
        options.pop("task"),
        seed=conditions.seed,
        dtype=torch.float32,
        device=parse_device(conditions.device),
        **options,
    )
    model = build_model(sizes.pop("name"), task, seed=conditions.seed, **sizes)
    weights = sum(parameter.numel() for parameter in model.parameters())
    objective = flows.Objective(
        model,
        task.loss,
        task.inputs,
        task.targets,
        chunk=conditions.chunk,
        memory=conditions.memory,
    )
    return objective, {
        "problem": f"{task.description}; {experiment.model} with {weights:,} weights",
        "task": task.name,
        "model": experiment.model,
    }
