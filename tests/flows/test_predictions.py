"""Time averages and scores."""

import numpy as np
import pytest
import torch
import xarray as xr

import flows
import flows.process
from flows.predictions import gaussian_average, score_table, scores


def test_average_of_a_constant_is_the_constant():
    np.testing.assert_allclose(gaussian_average(np.full((2, 30), 3.0), sigma=7.0), 3.0)


def test_average_matches_its_definition():
    x = np.random.default_rng(0).standard_normal(40)
    t = np.arange(40)
    weights = np.exp(-0.5 * ((t[:, None] - t) / 3.0) ** 2) * (np.abs(t[:, None] - t) <= 12)
    np.testing.assert_allclose(gaussian_average(x, sigma=3.0), weights @ x / weights.sum(1))


def test_gaps_carry_no_weight():
    x = np.array([1.0, np.nan, 1.0, 5.0, np.nan])
    average = gaussian_average(x, sigma=2.0)
    np.testing.assert_array_equal(np.isnan(average), np.isnan(x))
    filled = gaussian_average(np.array([1.0, 1.0]), sigma=2.0)
    np.testing.assert_allclose(filled, 1.0)


def test_removes_an_oscillation_of_period_two():
    t = np.arange(200)
    average = gaussian_average(2.0 + 0.5 * (-1.0) ** t, sigma=10.0)
    np.testing.assert_allclose(average[50:150], 2.0, atol=1e-5)  # the window ends at 4σ


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan])
def test_bad_width(sigma):
    with pytest.raises(flows.InvalidArgumentError, match="sigma"):
        gaussian_average([1.0], sigma=sigma)


def test_scores():
    processes = ["discrete", "central", "stable"]
    loss = np.array([[2.0] * 4, [1.0] * 4, [0.5] * 4])
    distance = np.array([[0.0] * 4, [0.0, 1.0, 1.5, 2.0], [0.0, 2.0, 4.0, np.nan]])
    eigenvalues = np.full((3, 4, 2), 1.9)
    dataset = xr.Dataset(
        {
            "loss": (("process", "step"), loss),
            "distance": (("process", "step"), distance),
            "effective_sharpness": (("process", "step", "eigenvalue"), eigenvalues),
            "predicted_loss": ("step", [1.8] * 4),
            "critical": ("step", [0.0, 0.0, 1.0, 2.0]),
        },
        coords={"process": processes},
    )
    result = scores(dataset)
    assert result["distance_central"] == 2.0
    assert result["distance_ratio"] == pytest.approx(4.0 / 1.5)  # where both still run
    assert result["flow_loss_error"] == pytest.approx(0.5)
    assert result["predicted_loss_error"] == pytest.approx(0.1)
    assert result["critical"] == 2
    assert set(scores(dataset.sel(process=["stable"]))) == set()


@pytest.fixture(scope="module")
def valley():
    """GD around the floor of a slowly steepening valley, at the edge from the first step on."""
    fall, lr = 0.01, 0.5
    w0 = torch.tensor([1.0, (2 * fall) ** 0.5, 0.3], dtype=torch.float64)

    def f(w):
        x, y, z = w
        return 0.5 * (3.0 + x) * y**2 - fall * x + 0.5 * z**2 + 1

    start = flows.process.Start(w0, w0.new_zeros(0))
    return flows.run(
        flows.Objective.from_function(f, w0),
        flows.GD(lr),
        steps=150,
        start=start,
        gradient_entries=[2, 1],
        save_weights=1,
        check=False,
    )


def test_predicted_squares_of_the_gradient(valley):
    dataset = valley.dataset
    central = dataset.sel(process="central")
    # Σ = ηX along y and S = 2/η, so that HΣH adds S²ηX = 8X to g_y² and to ‖g‖². Within steps S is
    # 2/η only as far as the slack is zero.
    added = 8 * dataset.oscillation_variance.fillna(0.0).sum("direction")
    np.testing.assert_allclose(
        dataset.predicted_squared_gradient, central.gradient_norm**2 + added, rtol=5e-3, atol=1e-12
    )
    entries = dataset.predicted_squared_gradient_entries
    assert dataset.entry.values.tolist() == [2, 1]
    np.testing.assert_allclose(
        entries.values[:, 1], added + central.squared_gradient_entries[:, 1], rtol=5e-3, atol=1e-12
    )
    np.testing.assert_allclose(
        entries.values[:, 0], central.squared_gradient_entries[:, 0], rtol=1e-6, atol=1e-12
    )


def test_scores_of_predictions(valley):
    found = valley.scores(20.0)
    assert found["squared_gradient_error"] < 0.1 < found["flow_squared_gradient_error"]
    assert found["variance_error"] < 0.1
    assert found["entries_similarity"] > 0.98


def test_entries_and_outputs_are_those_of_the_weights():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    x, y, test = torch.randn(9, 3), torch.randn(9, 2), torch.randn(5, 3)
    objective = flows.Objective(model, torch.nn.functional.mse_loss, x, y)
    run = flows.run(
        objective,
        flows.RMSProp(0.01, 0.9, eps=1e-8, bias_correction=True),
        steps=6,
        gradient_entries=(0, 7),
        test_inputs=test,
        save_weights=3,
        check=False,
    )
    for process in ("discrete", "central", "stable"):
        w = torch.tensor(run.weights(process, 3))
        here = run.dataset.sel(process=process, step=3)
        outputs = objective.outputs(w, test).flatten()
        np.testing.assert_allclose(here.outputs, outputs.numpy(), rtol=1e-5)
        squares = objective.gradient(w)[[0, 7]].square()
        np.testing.assert_allclose(here.squared_gradient_entries, squares.numpy(), rtol=1e-4)
    found = run.scores()
    assert 0 < found["outputs_error_central"] < 0.1
    assert "outputs_error_stable" in found


def test_every_score_is_in_the_table(valley):
    found = valley.scores()
    rows = score_table(valley.dataset).splitlines()[2:]
    assert sorted(row.split("|")[1].strip() for row in rows) == sorted(found)


@pytest.mark.parametrize("entries", [[-1], [3], [0.5], ["a"]])
def test_entries_that_are_none(entries):
    objective = flows.Objective.from_function(lambda w: w.dot(w), torch.ones(3))
    with pytest.raises(flows.InvalidArgumentError, match="gradient_entries"):
        flows.run(objective, flows.GD(0.1), steps=1, gradient_entries=entries, check=False)
