"""Running processes side by side, what is recorded, and what is written."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import flows
from flows import storage
from flows.discrete import Discrete
from flows.process import Start


def quartic(w):
    x, y = w
    return 0.5 * (x * y - 1) ** 2 + 0.05 * (x - 2) ** 2


@pytest.fixture
def objective():
    return flows.Objective.from_function(quartic, torch.tensor([0.5, 1.5], dtype=torch.float64))


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)).double()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    targets = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    return flows.Objective(model, nn.functional.mse_loss, inputs, targets)


def test_records_every_process(network):
    dataset = flows.run(network, flows.GD(0.3), steps=12, spectrum_every=4).dataset
    assert list(dataset.process.values) == ["discrete", "central", "stable"]
    assert dataset.sizes["step"] == 13
    assert np.all(np.isfinite(dataset.loss))
    assert np.all(np.isfinite(dataset.effective_sharpness.sel(process="central")[:, 0]))
    measured = np.isfinite(dataset.effective_sharpness.sel(process="stable")[:, 0].values)
    np.testing.assert_array_equal(np.flatnonzero(measured), [0, 4, 8, 12])
    np.testing.assert_array_equal(dataset.distance.sel(process="discrete"), 0.0)
    np.testing.assert_array_equal(dataset.distance[:, 0], 0.0)
    for name, variable in dataset.data_vars.items():
        assert variable.attrs["units"], name
        assert variable.attrs["long_name"], name


def test_discrete_process_is_gradient_descent(network):
    run = flows.run(network, flows.GD(0.3), steps=5, processes=["discrete"], save_weights=[5])
    w = network.w0
    for _ in range(5):
        w = w - 0.3 * network.gradient(w)
    np.testing.assert_allclose(run.weights("discrete", 5), w, rtol=1e-13, atol=1e-15)


def test_stable_flow_is_gradient_flow(network):
    run = flows.run(network, flows.GD(0.3), steps=4, processes=["stable"], save_weights=[4])
    w = network.w0
    for _ in range(4000):
        w = w - 0.3 * 1e-3 * network.gradient(w)
    start = float((w - network.w0).norm())
    assert np.linalg.norm(run.weights("stable", 4) - w.numpy()) < 0.02 * start


def test_stable_flow_stays_stable_where_the_hessian_is_stiff():
    stiff = torch.tensor([300.0, 1.0], dtype=torch.float64)
    objective = flows.Objective.from_function(
        lambda w: 0.5 * (stiff * w**2).sum(), torch.ones(2, dtype=torch.float64)
    )
    dataset = flows.run(objective, flows.GD(0.1), steps=3, processes=["stable"]).dataset
    assert np.all(np.diff(dataset.loss.sel(process="stable")) < 0)


def test_warm_start(network):
    run = flows.run(network, flows.GD(0.3), steps=0, warm_start=5, save_weights=[0])
    optimizer = Discrete(network, flows.GD(0.3), Start(network.w0, network.w0.new_zeros(0)))
    for _ in range(5):
        optimizer.advance()
    for process in ("discrete", "central", "stable"):
        np.testing.assert_array_equal(run.weights(process, 0), optimizer.w)


def test_counts_are_charged_to_the_process_that_asks(network):
    options = {"spectrum_every": 100, "integrator": "euler", "check": False}
    run = flows.run(network, flows.GD(0.3), steps=6, **options)
    assert run.counts["discrete"]["gradient"] == 7
    assert run.counts["discrete"]["third"] == 0
    assert run.counts["central"]["ccp"] == 4 * 6 + 1
    # That at the start is known from the spectrum of the discrete process.
    assert run.counts["central"]["gradient"] == 4 * 6
    total = network.counts
    for operation in ("gradient", "hvp", "third"):
        assert sum(c[operation] for c in run.counts.values()) == total[operation]


def test_same_run_twice_is_the_same(network):
    first, second = (flows.run(network, flows.GD(0.3), steps=8).dataset for _ in range(2))
    xr.testing.assert_identical(
        first.drop_vars("seconds").drop_attrs(), second.drop_vars("seconds").drop_attrs()
    )


@pytest.mark.parametrize("processes", [["central"], ["discrete"], ["stable", "discrete"]])
def test_any_choice_of_processes(objective, processes):
    run = flows.run(objective, flows.GD(0.3), steps=3, processes=processes)
    assert list(run.dataset.process.values) == processes
    assert all(np.isfinite(value) for value in run.scores().values())


def test_divergence_stops_one_process_and_not_the_others(objective):
    run = flows.run(objective, flows.GD(5.0), steps=30)
    assert "diverged" in run.dataset.attrs["stopped_discrete"]
    assert "stopped_stable" not in run.dataset.attrs
    stable = run.dataset.loss.sel(process="stable")
    assert np.all(np.isfinite(stable))
    assert np.isnan(run.dataset.loss.sel(process="discrete")[-1])


def test_divergence_is_seen_long_before_overflow():
    quadratic = flows.Objective.from_function(
        lambda w: 0.5 * (w**2).sum(), torch.ones(2, dtype=torch.float64)
    )
    dataset = flows.run(quadratic, flows.GD(3.0), steps=60, processes=["discrete"]).dataset
    assert "diverged" in dataset.attrs["stopped_discrete"]
    assert np.nanmax(dataset.loss) <= 1e8


def test_writes_and_loads(tmp_path, network):
    out = tmp_path / "a" / "run"
    run = flows.run(
        network, flows.GD(0.3), steps=5, out=out, save_weights=5, provenance={"seed": 3}
    )
    assert sorted(p.name for p in out.iterdir()) == ["run.nc", "weights.safetensors"]
    again = flows.load(out)
    xr.testing.assert_equal(again.dataset, run.dataset)
    assert again.counts == run.counts
    np.testing.assert_array_equal(again.weights("central", 5), run.weights("central", 5))
    attributes = again.dataset.attrs
    assert attributes["method"] == "gd"
    assert attributes["lr"] == 0.3
    assert attributes["seed"] == 3
    assert "torch" in json.loads(attributes["versions"])
    for name in ("command", "created", "derivatives", "device", "dtype", "integrator", "rtol"):
        assert name in attributes


def test_refuses_to_overwrite(tmp_path, objective):
    flows.run(objective, flows.GD(0.3), steps=1, out=tmp_path)
    before = (tmp_path / "run.nc").read_bytes()
    with pytest.raises(storage.StorageError, match="already holds a run"):
        flows.run(objective, flows.GD(0.3), steps=2, out=tmp_path)
    assert (tmp_path / "run.nc").read_bytes() == before
    flows.run(objective, flows.GD(0.3), steps=2, out=tmp_path, overwrite=True)
    assert flows.load(tmp_path).dataset.sizes["step"] == 3


def test_unwritable_out_is_found_before_any_work(tmp_path, objective):
    (tmp_path / "file").write_text("x")
    before = objective.counts
    with pytest.raises(storage.StorageError, match="out"):
        flows.run(objective, flows.GD(0.3), steps=1, out=tmp_path / "file" / "run")
    assert objective.counts == before


def test_failed_write_leaves_nothing_behind(tmp_path):
    target = tmp_path / "run.nc"
    target.write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(storage.StorageError, match="No space left"):
        storage.write_atomically(target, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]
    assert target.read_text() == "old"


def test_interrupted_run_keeps_what_it_has(tmp_path, objective, monkeypatch):
    advance = Discrete.advance

    def interrupt(self):
        if self.t == 3:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Discrete, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        flows.run(objective, flows.GD(0.3), steps=10, out=tmp_path)
    dataset = flows.load(tmp_path).dataset
    assert dataset.attrs["stopped_run"] == "interrupted"
    assert np.isfinite(dataset.loss.sel(process="discrete")[3])


def test_missing_or_broken_run(tmp_path):
    with pytest.raises(storage.StorageError, match="holds no run"):
        flows.load(tmp_path)
    (tmp_path / "run.nc").write_text("not a netCDF file")
    with pytest.raises(storage.StorageError, match="not a readable run"):
        flows.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"steps": -1}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": 1, "warm_start": -1}, "warm_start"),
        ({"steps": 1, "substeps": 0}, "substeps"),
        ({"steps": 1, "integrator": "rk4"}, "integrator"),
        ({"steps": 1, "integrator": "euler", "rtol": 0.1}, "rtol"),
        ({"steps": 1, "rtol": 0.0}, "rtol"),
        ({"steps": 1, "rtol": np.nan}, "rtol"),
        ({"steps": 1, "spectrum_every": 0}, "spectrum_every"),
        ({"steps": 1, "save_weights": 0}, "save_weights"),
        ({"steps": 1, "save_weights": "k"}, "save_weights"),
        ({"steps": 1, "save_weights": [2]}, r"save_weights must be .* in 0\.\.1, found 2"),
        ({"steps": 1, "processes": 3}, "processes"),
        ({"steps": 1, "out": 3}, "out"),
        ({"steps": 1, "provenance": 3}, "provenance"),
        ({"steps": 1, "test_inputs": "digits"}, "test_inputs"),
        ({"steps": 1, "start": 3}, "start"),
        ({"steps": 1, "start": Start(torch.ones(3), torch.ones(0))}, r"start\.w"),
        ({"steps": 1, "start": Start(torch.ones(2), torch.ones(1))}, r"start\.nu"),
        ({"steps": 1, "processes": ["adam"]}, "processes"),
        ({"steps": 1, "processes": []}, "processes"),
        ({"steps": 1, "processes": ["stable", "stable"]}, "processes"),
    ],
)
def test_bad_arguments(objective, arguments, name):
    with pytest.raises(flows.InvalidArgumentError, match=name):
        flows.run(objective, flows.GD(0.3), **arguments)


def test_whole_numbers_of_numpy_are_whole_numbers(objective):
    run = flows.run(objective, flows.GD(0.3), steps=np.int64(2), save_weights=np.int64(2))
    assert run.dataset.sizes["step"] == 3
    assert run.weights("discrete", 2).shape == (2,)


def test_what_to_run_and_how_are_checked(objective):
    with pytest.raises(flows.InvalidArgumentError, match="objective must be"):
        flows.run(quartic, flows.GD(0.3), steps=1)
    with pytest.raises(flows.InvalidArgumentError, match="method must be"):
        flows.run(objective, "gd", steps=1)


@pytest.mark.parametrize("lr", [0.0, -1.0, np.nan, np.inf, "fast"])
def test_bad_learning_rate(lr):
    with pytest.raises(flows.InvalidArgumentError, match="lr"):
        flows.GD(lr)


def test_weights_that_were_not_saved(objective):
    run = flows.run(objective, flows.GD(0.3), steps=2, save_weights=[1])
    with pytest.raises(flows.InvalidArgumentError, match="central/1"):
        run.weights("central", 2)
