"""Run an optimizer and its flows side by side."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from flows import storage
from flows._arguments import check_instance, check_integer
from flows._errors import InvalidArgumentError
from flows._examples import Data
from flows._provenance import attributes_of
from flows._watch import make_watch
from flows.adaptive import RTOL, AdaptiveCentral, require_inner, require_rtol
from flows.central import Central
from flows.discrete import Discrete
from flows.methods import Method
from flows.objective import Objective
from flows.process import Process, Start
from flows.record import Recorder
from flows.result import Run
from flows.session import PROCESSES, Session
from flows.stationarity import Stationarity
from flows.stationary import require_terms

# Seconds between progress lines where they go to a file and not to a screen.
_LOG_INTERVAL = 30.0


def run(
    objective: Objective,
    method: Method,
    *,
    steps: int,
    processes: Iterable[str] = ("discrete", "central", "stable"),
    out: str | Path | None = None,
    overwrite: bool = False,
    start: Start | None = None,
    warm_start: int = 0,
    integrator: str = "adaptive",
    rtol: float | None = None,
    inner: str = "flow",
    substeps: int = 4,
    mixed_term: bool = False,
    closure: str = "complementarity",
    curvature: str = "exact",
    spectrum_every: int = 5,
    stationarity_every: int = 0,
    save_weights: int | Iterable[int] = (),
    gradient_entries: Iterable[int] = (),
    test_inputs: Data = None,
    check: bool = True,
    progress: bool = False,
    provenance: Mapping[str, str | float | int] | None = None,
) -> Run:
    """Run an optimizer and its flows side by side from the same weights.

    Parameters
    ----------
    objective : Objective
        The loss.
    method : Method
        The optimizer, for example ``flows.GD(0.02)``.
    steps : int
        Optimizer steps, which are units of time of the flows.
    processes : iterable of {"discrete", "midpoint", "central", "stable", "stationary", "ablated"}
        What to run. Not every method has all: the stationary flow is RMSProp's, and the ablated
        flow is of RMSProp and RMSProp-Norm.
    out : path, optional
        Folder for ``run.nc`` (and saved weights). Nothing is written without it.
    overwrite : bool
        Whether a run already in ``out`` may be replaced.
    start : Start, optional
        Weights, optimizer state and number of updates to begin with; by default the
        objective's own weights and the method's initial state.
    warm_start : int
        Optimizer steps before all processes start.
    integrator : {"adaptive", "euler"}
        How the central flow is integrated: in steps as long as ``rtol`` allows, or by ``substeps``
        Euler steps per unit of time, the published scheme.
    rtol : float, optional
        Error of the central flow's weights allowed per length of their path; the default gives
        about the accuracy of four Euler steps per unit of time.
    inner : {"flow", "discrete"}
        What the central flow is until the optimizer's oscillation has set in: the flow, or the
        midpoints of the optimizer (:class:`flows.adaptive.AdaptiveCentral`).
    substeps : int
        Euler steps per unit of time of the central, stationary and ablated flow.
    mixed_term : bool
        See :class:`flows.central.Central`.
    closure, curvature : str
        See :class:`flows.stationary.Stationary`.
    spectrum_every : int
        Steps between measurements of the effective eigenvalues of processes that do not need
        them to advance.
    stationarity_every : int
        Steps between comparisons of RMSProp's ν with its stationary value (0: none); see
        :class:`flows.stationarity.Stationarity`.
    save_weights : int or iterable of int
        Steps at which weights and state of every process are kept; an int is an interval.
    gradient_entries : iterable of int
        Weights whose entries of ``g²`` are recorded, of every process and as predicted.
    test_inputs : Tensor, or tuple, list or dictionary of tensors, optional
        Inputs on which the outputs of the network are recorded, of every process.
    check : bool
        Whether to check the derivatives of the objective first (:meth:`Objective.check`).
    progress : bool
        Whether to show a progress bar on standard error.
    provenance : mapping, optional
        Further attributes for the data set (task, model, seed, …).

    Returns
    -------
    Run
        A process that cannot go on (divergence, a failed solve) is recorded as stopped, with
        the reason as attribute ``stopped_<process>``, while the others go on.

    Raises
    ------
    InvalidArgumentError
        For arguments out of range.
    StorageError
        If ``out`` cannot be written or holds a run already.
    DerivativeCheckError
        If the third derivatives of the model are wrong.

    Examples
    --------
    >>> import flows, torch
    >>> w0 = torch.tensor([1.0, 1.5], dtype=torch.float64)
    >>> objective = flows.Objective.from_function(lambda w: (w[0] * w[1] - 1) ** 2 / 2, w0)
    >>> result = flows.run(objective, flows.GD(0.5), steps=20)
    >>> bool(result.dataset.loss.sel(process="central")[-1] < 1e-3)
    True
    """
    check_instance("objective", objective, Objective, "a flows.Objective")
    check_instance("method", method, Method, "a flows.Method such as flows.GD(lr=0.02)")
    names = _checked_processes(processes, method)
    steps = check_integer("steps", steps, 0)
    warm_start = check_integer("warm_start", warm_start, 0)
    stationarity_every = check_integer("stationarity_every", stationarity_every, 0)
    substeps = check_integer("substeps", substeps, 1)
    spectrum_every = check_integer("spectrum_every", spectrum_every, 1)
    _check_start(start, objective, method)
    if provenance is not None:
        check_instance("provenance", provenance, Mapping, "a mapping or None")
    require_terms(closure, curvature)
    central, scheme = _central(integrator, rtol, inner, substeps)
    if stationarity_every:
        Stationarity.require(method)
    kept = _kept_steps(save_weights, steps)
    folder = None if out is None else storage.prepare(out, overwrite=overwrite)
    if check:
        objective.check()
    begin = _warm_start(objective, method, start, warm_start)
    watch = make_watch(objective, gradient_entries, test_inputs)
    session = Session(Recorder(names, steps), objective, watch)
    if stationarity_every:
        session.monitor = Stationarity(objective, method, names, steps, stationarity_every)
    options: dict[str, dict[str, object]] = {
        "central": {**scheme, "mixed_term": mixed_term},
        "stationary": {"substeps": substeps, "closure": closure, "curvature": curvature},
        "ablated": {"substeps": substeps},
    }
    for name in names:
        kind = central if name == "central" else PROCESSES[name]
        session.add(name, kind, method, begin, options.get(name, {}))
    started = time.perf_counter()
    given = {"integrator": integrator, "substeps": substeps, **scheme, **(provenance or {})}
    attributes = attributes_of(method, objective, given, steps, warm_start)
    attributes |= {"updates": begin.updates, "holds_gradient": int(begin.holds_gradient)}
    try:
        interval = 0.2 if sys.stderr.isatty() else _LOG_INTERVAL
        with tqdm(total=steps, disable=not progress, unit="step", mininterval=interval) as bar:
            for step in range(steps + 1):
                session.observe(step, spectrum=step % spectrum_every == 0 or step == steps)
                if step in kept:
                    session.keep_weights(step)
                if step < steps:
                    session.advance()
                    bar.set_postfix_str(session.summary(), refresh=False)
                    bar.update()
    except KeyboardInterrupt:
        session.recorder.stopped["run"] = "interrupted"
        raise
    finally:
        attributes["seconds_total"] = time.perf_counter() - started
        dataset = session.dataset(attributes)
        if folder is not None:
            storage.save(folder, dataset, session.weights)
    return Run(dataset, session.weights, folder)


def _warm_start(objective: Objective, method: Method, start: Start | None, steps: int) -> Start:
    w0 = objective.w0
    if start is None:
        start = Start(w0, method.initial_state(w0))
    start = replace(start, w=start.w.to(w0), nu=start.nu.to(w0))
    if steps == 0:
        return start
    optimizer = Discrete(objective, method, start)
    for _ in range(steps):
        optimizer.advance()
    return Start(*optimizer.state, start.updates + steps)


def _checked_processes(processes: Iterable[str], method: Method) -> tuple[str, ...]:
    check_instance("processes", processes, Iterable, "names of processes")
    names = (processes,) if isinstance(processes, str) else tuple(processes)
    for name in names:
        if name not in PROCESSES:
            raise InvalidArgumentError(
                f"processes: unknown process {name!r}; choose from {', '.join(PROCESSES)}"
            )
    if not names or len(set(names)) < len(names):
        raise InvalidArgumentError(f"processes must be distinct and at least one, found {names}")
    for name in names:
        PROCESSES[name].require(method)
    return names


def _check_start(start: Start | None, objective: Objective, method: Method) -> None:
    if start is None:
        return
    check_instance("start", start, Start, "a flows.process.Start or None")
    w0 = objective.w0
    for name, found, like in (
        ("w", start.w, w0),
        ("nu", start.nu, method.initial_state(w0)),
    ):
        check_instance(f"start.{name}", found, Tensor, "a tensor")
        if found.shape != like.shape:
            raise InvalidArgumentError(
                f"start.{name} must have shape {tuple(like.shape)}, found {tuple(found.shape)}"
            )


def _kept_steps(save_weights: int | Iterable[int], steps: int) -> frozenset[int]:
    if not isinstance(save_weights, Iterable):
        return frozenset(range(0, steps + 1, check_integer("save_weights", save_weights, 1)))
    return frozenset(check_integer("save_weights", step, 0, steps) for step in save_weights)


def _central(
    integrator: str, rtol: float | None, inner: str, substeps: int
) -> tuple[type[Process], dict[str, Any]]:
    """Return the class of the central flow and the options of its integrator."""
    require_inner(inner)
    if integrator == "euler":
        if inner != "flow":
            raise InvalidArgumentError(
                "inner='discrete' goes with integrator='adaptive', not 'euler'"
            )
        if rtol is not None:
            raise InvalidArgumentError("rtol goes with integrator='adaptive', found 'euler'")
        return Central, {"substeps": substeps}
    if integrator == "adaptive":
        rtol = RTOL if rtol is None else rtol
        require_rtol(rtol)
        return AdaptiveCentral, {"rtol": rtol, "inner": inner}
    raise InvalidArgumentError(f"integrator must be 'adaptive' or 'euler', found {integrator!r}")
