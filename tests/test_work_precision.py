"""The work–precision benchmark: bills at equal error, resumable runs, failures that show."""

import math

import numpy as np
import pytest

from bench import work_precision as bench
from bench.work_precision_report import Result, at_error, read_results, write_report


def test_bill_at_an_error_is_interpolated_or_that_of_a_cheaper_run():
    runs = [Result("ours", 1e-3, 1e-4, 40.0, 4.0), Result("ours", 1e-1, 1e-2, 10.0, 1.0)]
    bill, seconds, rtol = at_error(runs, 1e-3)
    assert (bill, seconds, rtol) == pytest.approx((20.0, 2.0, 1e-2))
    assert at_error(runs, 1.0)[0] == 10.0
    assert math.isnan(at_error(runs, 1e-5)[0])


def test_a_run_is_kept_until_its_settings_change(tmp_path, monkeypatch):
    scheme = bench.Scheme("euler", 4)
    for name in ("ours-0.01", "euler-4"):
        kind, parameter = name.split("-")
        bench.run("disc", bench.Scheme(kind, float(parameter)), tmp_path, again=False)
    file = tmp_path / "disc" / "euler-4.npz"
    before = file.stat().st_mtime_ns
    bench.run("disc", scheme, tmp_path, again=False)
    assert file.stat().st_mtime_ns == before
    bench.run("disc", scheme, tmp_path, again=True)
    assert file.stat().st_mtime_ns > before
    errors = {result.kind: result.error for result in read_results(tmp_path / "disc")}
    assert errors["ours"] < errors["euler"] < 0.1
    write_report(tmp_path / "page.md", tmp_path, ["disc"])
    assert "| disc |" in (tmp_path / "page.md").read_text()
    assert (tmp_path / "page.png").exists()


def test_schemes_follow_the_same_flow_from_the_same_start(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "UNITS", 3)
    name = "mlp-gd"
    found = {
        kind: bench.run_network(name, bench.Scheme(kind, parameter), tmp_path)
        for kind, parameter in (("economical", 4), ("strict", 4), ("ours", 1e-3))
    }
    paths = [run["path"] for run in found.values()]
    assert paths[0].shape == (4, found["strict"]["weights"])
    length = np.linalg.norm(np.diff(paths[0], axis=0), axis=1).sum()
    assert np.linalg.norm(paths[1] - paths[2], axis=1).max() < 0.01 * length
    assert found["strict"]["bill"] > found["economical"]["bill"] > found["ours"]["bill"]
    assert found["strict"]["counts"]["hvp"] > 2 * found["economical"]["counts"]["hvp"]
