"""What a run measures of every process on request: entries of g², and outputs on test examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flows._errors import InvalidArgumentError
from flows._examples import Data, require_valid
from flows.objective import Objective
from flows.process import Observation, Process


@dataclass(frozen=True)
class Watch:
    """Entries of the gradient, and inputs of the network, to follow along a run."""

    entries: tuple[int, ...]
    inputs: Data

    def measure(self, process: Process, seen: Observation) -> dict[str, np.ndarray]:
        """Return what is watched of a process where it was just observed, by variable."""
        found = {}
        if self.entries and seen.gradient is not None:
            entries = list(self.entries)
            squares = seen.gradient[entries].double().square()
            found["squared_gradient_entries"] = _numpy(squares)
            oscillation = seen.oscillation
            if oscillation is not None and oscillation.gradient_variance is not None:
                variance = oscillation.gradient_variance[entries].double()
                found["predicted_squared_gradient_entries"] = _numpy(squares + variance)
        if self.inputs is not None:
            outputs = process.objective.outputs(process.w, self.inputs)
            found["outputs"] = _numpy(outputs.flatten())
        return found


def make_watch(objective: Objective, entries: Iterable[int], inputs: Data) -> Watch:
    """Check what is to be watched.

    Raises
    ------
    InvalidArgumentError
        If an entry is no index of a weight, or the outputs on the inputs are no tensor.
    """
    indices = tuple(entries)
    for index in indices:
        if not isinstance(index, int | np.integer) or not 0 <= index < objective.dim:
            raise InvalidArgumentError(
                f"gradient_entries must be whole numbers in 0..{objective.dim - 1}, found {index!r}"
            )
    require_valid("test_inputs", inputs)
    if inputs is not None and not isinstance(objective.outputs(objective.w0, inputs), Tensor):
        raise InvalidArgumentError("test_inputs need a network whose outputs are one tensor")
    return Watch(tuple(int(index) for index in indices), inputs)


def _numpy(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.detach().to(torch.float64).cpu().numpy()
    return array
