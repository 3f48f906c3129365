"""Time averages and scores."""

import numpy as np
import pytest
import xarray as xr

import flows
from flows.predictions import gaussian_average, scores


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
    assert result["distance_ratio"] == 2.0
    assert result["flow_loss_error"] == pytest.approx(0.5)
    assert result["predicted_loss_error"] == pytest.approx(0.1)
    assert result["critical"] == 2
    assert set(scores(dataset.sel(process=["stable"]))) == set()
