"""What a run records, as one xarray data set with names, units and provenance."""

from __future__ import annotations

import numpy as np
import xarray as xr

from flows.process import Observation

_UNITS = {
    "loss": ("train loss", "loss"),
    "gradient_norm": ("Euclidean norm of the gradient", "loss/weight"),
    "step_size": ("harmonic mean of the step sizes of the weights, d/tr P", "weight²/loss"),
    "effective_sharpness": ("largest eigenvalues of P⁻¹H, descending; 2 is the edge", "1"),
    "predicted_squared_gradient": ("time-average of ‖g‖² predicted by the central flow", "loss²"),
    "squared_gradient_entries": ("squares of entries of the gradient", "loss²/weight²"),
    "predicted_squared_gradient_entries": (
        "their time-averages predicted by the central flow",
        "loss²/weight²",
    ),
    "outputs": ("outputs of the network on the test inputs, flattened", "1"),
    "distance": ("Euclidean distance of the weights to the discrete process", "weight"),
    "predicted_loss": ("time-averaged loss predicted by the central flow", "loss"),
    "critical": ("number of critical directions of the central flow", "1"),
    "oscillation_variance": ("eigenvalues of X, Σ = UXUᵀ, UᵀPU = I, descending", "loss"),
    "displacement": ("coordinates of UᵀP(w_discrete − w_central) along X's axes", "loss^(1/2)"),
    "natural_residual": ("worst natural residual of the CCPs of one unit of time", "1"),
    "error_bound": ("worst certified bound on ‖X − X*‖_F over one unit of time", "loss"),
    "counts": ("oracle calls: gradients, columns of Hessian and third derivative, CCPs", "1"),
    "seconds": ("wall time", "s"),
}


class Recorder:
    """Collects observations step by step; :meth:`dataset` gives what there is so far."""

    def __init__(self, processes: tuple[str, ...], steps: int) -> None:
        self.processes = processes
        self._scalars = {
            (name, process): np.full(steps + 1, np.nan)
            for name in ("loss", "gradient_norm", "step_size", "distance")
            for process in processes
        }
        self._central = {
            name: np.full(steps + 1, np.nan)
            for name in ("predicted_loss", "critical", "natural_residual", "error_bound")
        }
        self._predicted_square = np.full(steps + 1, np.nan)
        self._watched: dict[str, dict[str, np.ndarray]] = {}
        empty = np.zeros(0)
        self._eigenvalues = {process: [empty] * (steps + 1) for process in processes}
        self._variance = [empty] * (steps + 1)
        self._displacement = [empty] * (steps + 1)
        self.counts: dict[str, dict[str, int]] = {process: {} for process in processes}
        self.seconds = dict.fromkeys(processes, 0.0)
        self.stopped: dict[str, str] = {}
        self.entries: tuple[int, ...] = ()

    def observe(self, step: int, process: str, observation: Observation) -> None:
        """Record one observation of one process."""
        self._scalars["loss", process][step] = observation.loss
        self._scalars["gradient_norm", process][step] = observation.gradient_norm
        self._scalars["step_size", process][step] = observation.step_size
        self._eigenvalues[process][step] = observation.eigenvalues
        oscillation = observation.oscillation
        if oscillation is not None:
            self._variance[step] = oscillation.variance
            if oscillation.gradient_variance is not None:
                added = float(oscillation.gradient_variance.sum())
                self._predicted_square[step] = observation.gradient_norm**2 + added
            for name, values in self._central.items():
                values[step] = getattr(oscillation, name)

    def watch(self, step: int, process: str, found: dict[str, np.ndarray]) -> None:
        """Record what a run watches of a process, by variable."""
        for name, values in found.items():
            of_process = self._watched.setdefault(name, {})
            if process not in of_process:
                of_process[process] = np.full((len(self._variance), len(values)), np.nan)
            of_process[process][step] = values

    def distance(self, step: int, process: str, value: float) -> None:
        """Record the distance of a process to the discrete one."""
        self._scalars["distance", process][step] = value

    def displacement(self, step: int, coordinates: np.ndarray) -> None:
        """Record the optimizer's place around the central flow."""
        self._displacement[step] = coordinates

    def dataset(self, attributes: dict[str, str | float | int]) -> xr.Dataset:
        """Return everything recorded, with ``attributes`` and the reasons of stopped processes."""
        data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for name in ("loss", "gradient_norm", "step_size", "distance"):
            stacked = np.stack([self._scalars[name, process] for process in self.processes])
            data[name] = (("process", "step"), stacked)
        width = max((len(e) for rows in self._eigenvalues.values() for e in rows), default=0)
        eigenvalues = np.stack([_pad(self._eigenvalues[p], width) for p in self.processes])
        data["effective_sharpness"] = (("process", "step", "eigenvalue"), eigenvalues)
        if "central" in self.processes:
            data |= {name: (("step",), values) for name, values in self._central.items()}
            data["predicted_squared_gradient"] = (("step",), self._predicted_square)
            width = max(len(v) for v in self._variance)
            axes = ("step", "direction")
            data["oscillation_variance"] = (axes, _pad(self._variance, width))
            data["displacement"] = (axes, _pad(self._displacement, width))
        data |= self._watched_data()
        operations = sorted({name for counts in self.counts.values() for name in counts})
        table = [[self.counts[p].get(name, 0) for name in operations] for p in self.processes]
        data["counts"] = (("process", "operation"), np.array(table, dtype=np.int64))
        data["seconds"] = (("process",), np.array([self.seconds[p] for p in self.processes]))
        steps = len(self._variance)
        coordinates = {
            "step": ("step", np.arange(steps), {"long_name": "optimizer step", "units": "1"}),
            "process": ("process", np.array(self.processes, dtype=object)),
            "operation": ("operation", np.array(operations, dtype=object)),
        }
        if "squared_gradient_entries" in data:
            coordinates["entry"] = ("entry", np.array(self.entries))
        stopped = {f"stopped_{process}": reason for process, reason in self.stopped.items()}
        variables = {
            name: (dims, values, {"long_name": _UNITS[name][0], "units": _UNITS[name][1]})
            for name, (dims, values) in data.items()
        }
        return xr.Dataset(variables, coords=coordinates, attrs=attributes | stopped)

    def _watched_data(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for name, found in self._watched.items():
            if name.startswith("predicted"):
                data[name] = (("step", "entry"), found["central"])
                continue
            (empty,) = {(len(self._variance), each.shape[1]) for each in found.values()}
            each = [found.get(p, np.full(empty, np.nan)) for p in self.processes]
            axis = "output" if name == "outputs" else "entry"
            data[name] = (("process", "step", axis), np.stack(each))
        return data


def _pad(rows: list[np.ndarray], width: int) -> np.ndarray:
    table = np.full((len(rows), width), np.nan)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table
