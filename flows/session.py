"""The processes of a run, in step, with the bill of each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from flows._errors import FlowsError
from flows._watch import Watch
from flows.ablated import Ablated
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
from flows.stationary import Stationary

PROCESSES: dict[str, type[Process]] = {
    "discrete": Discrete,
    "midpoint": Midpoint,
    "central": Central,
    "stable": Stable,
    "stationary": Stationary,
    "ablated": Ablated,
}
# Name of a saved state beside that of the weights.
STATE = "/nu"


def holds_gradient(process: str) -> bool:
    """Return whether the state of a process contains the gradient at its weights."""
    return issubclass(PROCESSES[process], Flow | Quasistatic)


class Session:
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
        """Make a process of class ``kind``; it is not in the session if it cannot start."""
        with _Account(self, name):
            self.active[name] = kind(self._objective, method, start, **options)

    def observe(self, step: int, *, spectrum: bool) -> None:
        """Record where every process is."""
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
        """Advance every process by one optimizer step."""
        for name in list(self.active):
            process = self.active[name]
            with _Account(self, name):
                process.advance()

    def keep_weights(self, step: int) -> None:
        """Keep weights and state of every process."""
        for name, process in self.active.items():
            self.weights[f"{name}/{step}"] = process.w.cpu().numpy().copy()
            self.weights[f"{name}/{step}{STATE}"] = process.state.nu.cpu().numpy().copy()

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

    def __init__(self, session: Session, name: str) -> None:
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
