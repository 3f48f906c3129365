"""Table of the edge-of-stability benchmark, from its run folders."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

import flows

__all__ = ["Row", "read_row", "settings_of", "write_report"]

FAILURE = "failed.json"
NOT_RUN = "not run"
STEPS_AT_EDGE = 200
SMALL_ERROR = 0.03
HALF = 0.5
CERTIFIED = 1e-8  # natural residual


class Cell(Protocol):
    """What is known of a cell before it has run."""

    method: str
    model: str
    loss: str


@dataclass(frozen=True)
class Row:
    """What a run shows of a cell; ``reason`` says why there is nothing."""

    model: str
    loss: str
    method: str
    weights: int = 0
    lr: float = math.nan
    started_after: int = 0
    steps_at_edge: int = 0
    most_critical: int = 0
    distance_central: float = math.nan
    distance_stable: float = math.nan
    predicted_error: float = math.nan
    flow_error: float = math.nan
    variance_error: float = math.nan
    worst_residual: float = math.nan
    minutes: float = 0.0
    reason: str = ""

    @property
    def distance_ratio(self) -> float:
        """Distance of the central flow to the optimizer over that of the stable flow."""
        return self.distance_central / self.distance_stable

    @property
    def certified(self) -> bool:
        """Whether every complementarity problem was solved, and every solution checked."""
        return not self.reason and self.worst_residual < CERTIFIED

    @property
    def at_edge(self) -> bool:
        """Whether the run is long enough at the edge of stability."""
        return self.steps_at_edge >= STEPS_AT_EDGE

    @property
    def close(self) -> bool:
        """Whether the central flow is closer than half the distance of the stable flow."""
        return self.distance_ratio < HALF

    @property
    def predicts(self) -> bool:
        """Whether the predicted loss is good, and better than the flow's own."""
        return self.predicted_error < min(SMALL_ERROR, self.flow_error)

    def __str__(self) -> str:
        if self.reason:
            return f"{self.model} {self.loss} {self.method}: {self.reason}"
        return (
            f"{self.model} {self.loss} {self.method}: {self.steps_at_edge} steps at the edge, "
            f"distance ratio {self.distance_ratio:.2f}, predicted loss off by "
            f"{self.predicted_error:.2%} (flow {self.flow_error:.2%}), {self.minutes:.1f} min"
        )


def settings_of(folder: Path) -> str | None:
    """Return the settings of the run in a folder, None if there is none."""
    if (folder / FAILURE).exists():
        return str(json.loads((folder / FAILURE).read_text(encoding="utf-8"))["settings"])
    if not (folder / "run.nc").exists():
        return None
    return str(flows.load(folder).dataset.attrs.get("settings"))


def read_row(folder: Path, cell: Cell) -> Row:
    """Return what the folder of a cell shows."""
    names = (cell.model, cell.loss, cell.method)
    if (folder / FAILURE).exists():
        failure = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        return Row(*names, reason=failure["reason"], minutes=failure["minutes"])
    if not (folder / "run.nc").exists():
        return Row(*names, reason=NOT_RUN)
    dataset = flows.load(folder).dataset
    attributes: dict[str, Any] = dataset.attrs
    stopped = attributes.get("stopped_central") or attributes.get("stopped_discrete", "")
    return Row(
        *names,
        weights=int(attributes["weights"]),
        lr=float(attributes["lr"]),
        started_after=int(attributes["started_after"]),
        steps_at_edge=int((dataset.oscillation_variance.max("direction") > 0).sum()),
        most_critical=int(dataset.critical.max()),
        **_distances(dataset),
        **_errors(dataset),
        worst_residual=float(dataset.natural_residual.max()),
        minutes=float(dataset.seconds.sum()) / 60,
        reason=f"stopped: {stopped}" if stopped else "",
    )


def _distances(dataset: xr.Dataset) -> dict[str, float]:
    """Return the distances to the optimizer at the end, or where the stable flow stopped."""
    central, stable = (dataset.distance.sel(process=name).values for name in ("central", "stable"))
    last = np.flatnonzero(np.isfinite(central) & np.isfinite(stable))[-1]
    return {"distance_central": float(central[last]), "distance_stable": float(stable[last])}


def _errors(dataset: xr.Dataset) -> dict[str, float]:
    scores = flows.predictions.scores(dataset)
    return {
        "predicted_error": scores["predicted_loss_error"],
        "flow_error": scores["flow_loss_error"],
        "variance_error": scores.get("variance_error", math.nan),
    }


_COLUMNS = (
    "network | loss | method | weights | lr | start | steps at the edge | critical | "
    "distance central / stable | predicted loss | flow's own loss | variance | residual"
)


def write_report(path: Path, rows: list[Row]) -> None:
    """Write the table and what it sums up to."""
    head = _COLUMNS.split(" | ")
    lines = [
        _summary(rows),
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *(_line(row) for row in rows),
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def _summary(rows: list[Row]) -> str:
    def count(name: str) -> int:
        return sum(bool(getattr(row, name)) for row in rows)

    minutes = sum(row.minutes for row in rows)
    ran = sum(row.reason != NOT_RUN for row in rows)
    return (
        f"Of {len(rows)} cells, {ran} have run. Of these, {count('at_edge')} spend at least "
        f"{STEPS_AT_EDGE} steps at the edge, {count('certified')} have every complementarity "
        f"problem certified, in {count('close')} the central flow ends less than half as far from "
        f"the optimizer as the stable flow, and in {count('predicts')} the predicted loss is "
        f"within {SMALL_ERROR:.0%} and better than the flow's own. "
        f"Wall time of the runs: {minutes:.0f} minutes."
    )


def _line(row: Row) -> str:
    names = f"| {row.model} | {row.loss} | {row.method} | "
    if row.reason:
        return names + f"{row.reason} |" + " |" * 9
    cells = (
        f"{row.weights:,}",
        f"{row.lr:g}",
        str(row.started_after),
        _marked(f"{row.steps_at_edge}", row.at_edge),
        str(row.most_critical),
        f"{row.distance_central:.2g} / {row.distance_stable:.2g} = "
        + _marked(f"{row.distance_ratio:.2f}", row.close),
        _marked(f"{row.predicted_error:.2%}", row.predicts),
        f"{row.flow_error:.2%}",
        f"{row.variance_error:.1%}",
        _marked(f"{row.worst_residual:.0e}", row.certified),
    )
    return names + " | ".join(cells) + " |"


def _marked(text: str, good: bool) -> str:
    """Mark what does not meet its criterion."""
    return text if good else f"**{text}**"
