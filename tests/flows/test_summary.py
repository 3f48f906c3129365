"""The printed summary, on synthetic results whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from flows.summary import last, summarize
from tests.flows.test_plots import STEPS, synthetic_run


@pytest.fixture
def dataset() -> xr.Dataset:
    """Return a run with distances 0.1 and 0.5 at its end, and certified problems."""
    run = synthetic_run()
    run["distance"].loc[{"step": STEPS}] = [0.0, 0.1, 0.5]
    run["natural_residual"] = ("step", np.full(STEPS + 1, 1e-15))
    run["error_bound"] = ("step", np.full(STEPS + 1, 2e-13))
    run["seconds"] = ("process", [1.0, 20.0, 3.0])
    counts = [[401, 0], [1601, 1_234_567], [4001, 0]]
    run["counts"] = (("process", "operation"), counts)
    return run.assign_coords(operation=["gradient", "third"])


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return line.removeprefix(name).split()


def test_table(dataset):
    text = summarize(dataset)
    assert text.startswith("a synthetic problem\n")
    final = [f"{dataset.loss.sel(process=p).values[-1]:.6g}" for p in dataset.process.values]
    assert row(text, "final loss") == final
    assert row(text, "distance to the optimizer") == ["-", "0.1", "0.5"]
    assert row(text, "effective sharpness")[1] == "2.0000"
    assert row(text, "gradients") == ["401", "1,601", "4,001"]
    assert row(text, "third-derivative columns") == ["0", "1,234,567", "0"]
    assert row(text, "seconds") == ["1.0", "20.0", "3.0"]


def test_verdicts(dataset):
    text = summarize(dataset)
    assert "critical directions of the central flow at the end: 2" in text
    assert "central flow 0.1, stable flow 0.5, ratio 5\n" in text
    assert "all certified (worst natural residual 1.0e-15, error bound 2.0e-13)" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("natural_residual", 1e-9), ("error_bound", np.inf), ("error_bound", np.nan)],
)
def test_one_problem_that_is_not_certified_is_told(dataset, name, value):
    dataset[name].loc[{"step": 7}] = value
    assert "complementarity problems: NOT all certified" in summarize(dataset)


def test_steps_after_a_stop_need_no_certificate(dataset):
    behind = dataset.step > 30
    for name in ("natural_residual", "error_bound", "critical"):
        dataset[name] = dataset[name].where(~behind)
    dataset["loss"] = dataset.loss.where(~(behind & (dataset.process == "central")))
    dataset.attrs["stopped_central"] = "no solution at step 30"
    text = summarize(dataset)
    assert "all certified" in text
    assert "NOT" not in text
    assert text.endswith("central stopped early: no solution at step 30")


def test_processes_that_were_not_run_are_not_spoken_of(dataset):
    text = summarize(dataset.sel(process=["discrete", "stable"]))
    assert "central" not in text
    assert "complementarity" not in text


def test_last_is_the_last_that_was_measured():
    assert last(xr.DataArray([1.0, 2.0, np.nan])) == 2.0
    assert np.isnan(last(xr.DataArray([np.nan])))
