"""What a run found, in memory or read back from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr

from flows import predictions, storage
from flows._errors import InvalidArgumentError
from flows.process import Start
from flows.session import STATE, holds_gradient

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        return self._saved(process, step, STATE)

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
            holds_gradient=holds_gradient(process)
            or (step == 0 and bool(self.dataset.attrs.get("holds_gradient", 0))),
        )

    def _saved(self, process: str, step: int, what: str) -> np.ndarray:
        try:
            return self._weights[f"{process}/{step}{what}"]
        except KeyError:
            saved = (name for name in sorted(self._weights) if not name.endswith(STATE))
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
