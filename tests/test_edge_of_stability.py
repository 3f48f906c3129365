"""The edge-of-stability benchmark: its table is resumable, and tells good cells from bad ones."""

import json

import pytest

from bench import edge_of_stability as bench
from bench.edge_of_stability_report import Row, read_row, write_report


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(bench, "_STEPS", 12)
    monkeypatch.setattr(bench, "EXAMPLES", {"mlp": (30, 30)})


def test_every_cell_has_its_settings():
    cells = list(bench.cells(list(bench.METHODS), list(bench.MODELS), list(bench.LOSSES)))
    assert len({cell.name for cell in cells}) == 36
    assert len({cell.settings() for cell in cells}) == 36


def test_a_cell_runs_once_and_again_when_its_settings_change(short, tmp_path, monkeypatch):
    cell = bench.Cell("gd", "mlp", "mse")
    bench.run_cell(cell, tmp_path)
    row = read_row(tmp_path / cell.name, cell)
    assert row.certified
    assert row.started_after > 0
    file = tmp_path / cell.name / "run.nc"
    before = file.stat().st_mtime_ns
    bench.run_cell(cell, tmp_path)
    assert file.stat().st_mtime_ns == before
    monkeypatch.setattr(bench, "_STEPS", 11)
    bench.run_cell(cell, tmp_path)
    assert file.stat().st_mtime_ns > before


def test_a_failed_cell_stays_with_its_reason(short, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_LONGEST_WARM_UP", 10)
    monkeypatch.setitem(bench._LR, ("mlp", "mse"), (1e-6, 1e-6, 1e-6))
    cell = bench.Cell("gd", "mlp", "mse")
    assert "did not rise" in bench.run_cell(cell, tmp_path)
    assert json.loads((tmp_path / cell.name / "failed.json").read_text())["settings"]
    write_report(tmp_path / "table.md", [read_row(tmp_path / cell.name, cell)])
    assert "did not rise" in (tmp_path / "table.md").read_text()


def row(**changes):
    good = {
        "steps_at_edge": 300,
        "distance_central": 0.1,
        "distance_stable": 1.0,
        "predicted_error": 0.01,
        "flow_error": 0.02,
        "worst_residual": 1e-15,
    }
    return Row("mlp", "mse", "gd", **(good | changes))


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, None),
        ({"steps_at_edge": 199}, "at_edge"),
        ({"distance_central": 0.6}, "close"),
        ({"predicted_error": 0.025}, "predicts"),
        ({"predicted_error": 0.035, "flow_error": 0.1}, "predicts"),
        ({"worst_residual": 1e-3}, "certified"),
        ({"reason": "stopped"}, "certified"),
    ],
)
def test_what_misses_its_criterion(changes, missed):
    met = {name: getattr(row(**changes), name) for name in ("at_edge", "close", "predicts")}
    met["certified"] = row(**changes).certified
    assert [name for name, value in met.items() if not value] == ([missed] if missed else [])
