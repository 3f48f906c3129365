"""Run an optimizer and its flows side by side."""

from __future__ import annotations

import datetime
import json
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from flows import predictions, storage
from flows._errors import FlowsError, InvalidArgumentError
from flows._examples import Data
from flows._watch import Watch, make_watch
from flows.ablated import Ablated
from flows.adaptive import RTOL, AdaptiveCentral, require_rtol
from flows.central import Central
from flows.discrete import Discrete
from flows.methods import Method
from flows.midpoint import Midpoint
from flows.objective import Objective
from flows.process import Flow, Observation, Oscillation, Process, Start
from flows.quasistatic import Quasistatic
from flows.record import Recorder
from flows.stable import Stable
from flows.stationarity import Stationarity
from flows.stationary import Stationary, require_terms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROCESSES: dict[str, type[Process]] = {
    "discrete": Discrete,
    "midpoint": Midpoint,
    "central": Central,
    "stable": Stable,
    "stationary": Stationary,
    "ablated": Ablated,
}
# Seconds between progress lines where they go to a file and not to a screen.
_LOG_INTERVAL = 30.0
# Name of a saved state beside that of the weights.
_STATE = "/nu"
_PACKAGES = ("ccpsolve", "torch", "numpy", "scipy", "numba", "xarray")


class Run:
    """The result of :func:`run`.

    Attributes
    ----------
    dataset : xarray.Dataset
        Everything recorded; see the guide to result files.
    path : Path or None
        The run folder, if there is one.
    """

    def __init__(
        self, dataset: xr.Dataset, weights: Mapping[str, np.ndarray], path: Path | None
    ) -> None:
        self.dataset = dataset
        self.path = path
        self._weights = dict(weights)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Oracle calls of each process: gradients, Hessian and third-derivative columns, CCPs."""
        table = self.dataset.counts
        return {
            str(process): {
                str(name): int(table.sel(process=process, operation=name))
                for name in table.operation.values
            }
            for process in table.process.values
        }

    def weights(self, process: str, step: int) -> np.ndarray:
        """Return the flat weights of a process saved at a step (see ``save_weights``)."""
        return self._saved(process, step, "")

    def state(self, process: str, step: int) -> np.ndarray:
        """Return the optimizer's state ν of a process saved at a step, empty if it has none.

        That of a flow holds the gradient at its weights, that of the optimizer does not yet.
        """
        return self._saved(process, step, _STATE)

    def start(self, process: str, step: int) -> Start:
        """Return a start for another run from where a process was at a saved step.

        Parameters
        ----------
        process : str
            Any of the processes may begin where any other was.
        step : int
            A step with saved weights.

        Returns
        -------
        Start
            For ``flows.run(..., start=...)``, on the CPU.

        Raises
        ------
        InvalidArgumentError
            If nothing is saved there.
        """
        return Start(
            torch.tensor(self.weights(process, step)),
            torch.tensor(self.state(process, step)),
            int(self.dataset.attrs.get("updates", 0)) + step,
            holds_gradient=issubclass(PROCESSES[process], Flow | Quasistatic)
            or (step == 0 and bool(self.dataset.attrs.get("holds_gradient", 0))),
        )

    def _saved(self, process: str, step: int, what: str) -> np.ndarray:
        try:
            return self._weights[f"{process}/{step}{what}"]
        except KeyError:
            saved = (name for name in sorted(self._weights) if not name.endswith(_STATE))
            raise InvalidArgumentError(
                f"no weights of process {process!r} at step {step}; "
                f"saved: {', '.join(saved) or 'none'}"
            ) from None

    def scores(self, sigma: float | None = None) -> dict[str, float]:
        """Return :func:`flows.predictions.scores` of this run."""
        return predictions.scores(self.dataset, sigma)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the summary figure, and save it to ``path`` (by suffix) if given."""
        from flows.plots import summary_figure

        figure = summary_figure(self.dataset)
        if path is not None:
            target = Path(path)
            kind = target.suffix.lstrip(".") or "png"
            storage.write_atomically(target, lambda p: figure.savefig(p, format=kind))
        return figure


def load(path: str | Path) -> Run:
    """Load a run folder written by :func:`run`."""
    dataset, weights = storage.read(path)
    return Run(dataset, weights, Path(path))


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
    names = _checked_processes(processes, method)
    _check_counts(steps=steps, warm_start=warm_start, stationarity_every=stationarity_every)
    _check_counts(minimum=1, substeps=substeps, spectrum_every=spectrum_every)
    require_terms(closure, curvature)
    central, scheme = _central(integrator, rtol, substeps)
    if stationarity_every:
        Stationarity.require(method)
    kept = _kept_steps(save_weights, steps)
    folder = None if out is None else storage.prepare(out, overwrite=overwrite)
    if check:
        objective.check()
    begin = _warm_start(objective, method, start, warm_start)
    watch = make_watch(objective, gradient_entries, test_inputs)
    session = _Session(Recorder(names, steps), objective, watch)
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
    attributes = _attributes(method, objective, given, steps, warm_start)
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


class _Session:
    """The processes of a run, in step, with their accounts."""

    def __init__(self, recorder: Recorder, objective: Objective, watch: Watch) -> None:
        self.active: dict[str, Process] = {}
        self.recorder = recorder
        self.weights: dict[str, np.ndarray] = {}
        self.monitor: Stationarity | None = None
        self._objective = objective
        self._watch = watch
        recorder.entries = watch.entries
        self._latest: dict[str, Observation] = {}

    def add(
        self,
        name: str,
        kind: type[Process],
        method: Method,
        start: Start,
        options: Mapping[str, Any],
    ) -> None:
        with _Account(self, name):
            self.active[name] = kind(self._objective, method, start, **options)

    def observe(self, step: int, *, spectrum: bool) -> None:
        self._latest = {}
        for name in list(self.active):
            process = self.active[name]
            with _Account(self, name):
                observation = process.observe(spectrum=spectrum)
                self._latest[name] = observation
                self.recorder.observe(step, name, observation)
                self.recorder.watch(step, name, self._watch.measure(process, observation))
        if self.monitor is not None:
            self.monitor.observe(step, self.active)
        discrete = self.active.get("discrete")
        if discrete is None:
            return
        for name, process in self.active.items():
            offset = discrete.w - process.w
            self.recorder.distance(step, name, float(offset.norm()))
            oscillation = self._latest[name].oscillation
            if oscillation is not None:
                self.recorder.displacement(step, _coordinates(oscillation, offset))

    def dataset(self, attributes: dict[str, str | float | int]) -> xr.Dataset:
        """Return everything recorded."""
        if self.monitor is None:
            return self.recorder.dataset(attributes)
        attributes |= {f"monitor_{name}": count for name, count in self.monitor.counts.items()}
        variables, coordinates = self.monitor.variables()
        return self.recorder.dataset(attributes).assign(variables).assign_coords(coordinates)

    def advance(self) -> None:
        for name in list(self.active):
            process = self.active[name]
            with _Account(self, name):
                process.advance()

    def keep_weights(self, step: int) -> None:
        for name, process in self.active.items():
            self.weights[f"{name}/{step}"] = process.w.cpu().numpy().copy()
            self.weights[f"{name}/{step}{_STATE}"] = process.state.nu.cpu().numpy().copy()

    def summary(self) -> str:
        """Return loss and sharpness for the progress bar."""
        for name in ("central", "discrete", "stable"):
            if name in self._latest:
                seen = self._latest[name]
                if len(seen.eigenvalues):
                    return f"loss {seen.loss:.4g}, sharpness {seen.eigenvalues[0]:.3f}"
                return f"loss {seen.loss:.4g}"
        return "stopped"


class _Account:
    """Charges oracle calls and time to a process, and takes it out of the run if it stops."""

    def __init__(self, session: _Session, name: str) -> None:
        self._session, self._name = session, name

    def __enter__(self) -> None:
        self._before = dict(self._session._objective.counts)
        self._start = time.perf_counter()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        recorder, name = self._session.recorder, self._name
        recorder.seconds[name] += time.perf_counter() - self._start
        account = recorder.counts[name]
        for operation, count in self._session._objective.counts.items():
            spent = count - self._before.get(operation, 0)
            account[operation] = account.get(operation, 0) + spent
        process = self._session.active.get(name)
        if process is not None:
            account |= process.own_counts
        if isinstance(error, FlowsError):
            recorder.stopped[name] = str(error)
            self._session.active.pop(name, None)
            return True
        return False


def _coordinates(oscillation: Oscillation, offset: Tensor) -> np.ndarray:
    return (oscillation.directions.T @ offset).double().cpu().numpy()


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


def _central(
    integrator: str, rtol: float | None, substeps: int
) -> tuple[type[Process], dict[str, Any]]:
    """Return the class of the central flow and the options of its integrator."""
    if integrator == "euler":
        if rtol is not None:
            raise InvalidArgumentError("rtol goes with integrator='adaptive', found 'euler'")
        return Central, {"substeps": substeps}
    if integrator == "adaptive":
        rtol = RTOL if rtol is None else rtol
        require_rtol(rtol)
        return AdaptiveCentral, {"rtol": rtol}
    raise InvalidArgumentError(f"integrator must be 'adaptive' or 'euler', found {integrator!r}")


def _check_counts(minimum: int = 0, **arguments: int) -> None:
    for name, value in arguments.items():
        if not isinstance(value, int) or value < minimum:
            raise InvalidArgumentError(f"{name} must be an integer ≥ {minimum}, found {value!r}")


def _kept_steps(save_weights: int | Iterable[int], steps: int) -> frozenset[int]:
    if isinstance(save_weights, int):
        _check_counts(minimum=1, save_weights=save_weights)
        return frozenset(range(0, steps + 1, save_weights))
    return frozenset(save_weights)


def _attributes(
    method: Method,
    objective: Objective,
    provenance: Mapping[str, str | float | int],
    steps: int,
    warm_start: int,
) -> dict[str, str | float | int]:
    versions = {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()}
    now = datetime.datetime.now(datetime.UTC)
    return {
        "title": f"{method!r} and its flows",
        **method.describe(),
        "threshold": method.threshold,
        "steps": steps,
        "warm_start": warm_start,
        "weights": objective.dim,
        "dtype": str(objective.dtype).removeprefix("torch."),
        "device": _device_name(objective.device),
        "versions": json.dumps(versions),
        "command": " ".join(sys.argv),
        "created": now.isoformat(timespec="seconds"),
        **provenance,
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
