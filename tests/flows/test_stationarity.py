"""What is recorded of RMSProp's ν along a run, against direct computation."""

import numpy as np
import pytest
import torch

import flows
from ccpsolve.stationary import stationary_preconditioner
from flows._stationary_terms import exact_term, trace_term
from flows.figures import find
from flows.stationarity import RATES, cosine
from tests.flows.test_stationary import DIM, LR, curved


@pytest.fixture(scope="module")
def run():
    w0 = torch.tensor([0.3, -0.2, 0.25, 0.1, -0.15, 0.2], dtype=torch.float64)
    objective = flows.Objective.from_function(curved, w0)
    method = flows.RMSProp(LR / 20, 0.8, eps=1e-3, bias_correction=True)
    result = flows.run(
        objective,
        method,
        steps=20,
        processes=["discrete", "central"],
        save_weights=10,
        stationarity_every=10,
    )
    return objective, method, result


def test_everything_is_there_at_the_steps_asked_for(run):
    dataset = run[2].dataset
    measured = np.isfinite(dataset.nu_cosine.values)
    np.testing.assert_array_equal(measured, [[s % 10 == 0 for s in range(21)]] * 2)
    assert dataset.followed.values.tolist() == ["discrete", "central"]
    assert dataset.rate.values.tolist() == list(RATES)
    assert np.nanmax(dataset.stationary_gap.values) <= 1e-4
    assert dataset.attrs["monitor_stationary"] == 2 * 2 * 3
    assert dataset.nu_true.units == "(loss/weight)²"


@pytest.mark.parametrize("process", ["discrete", "central"])
def test_values_at_the_end(run, process):
    objective, method, result = run
    at = result.dataset.sel(followed=process).isel(step=20)
    w = torch.tensor(result.weights(process, 20))
    g = objective.gradient(w).numpy()
    H = objective.hvp(w, torch.eye(DIM, dtype=w.dtype)).numpy()
    lr = method.lr(1)
    best, alternative = (
        stationary_preconditioner(g, H, lr, tol=1e-10, gradient_term=term) for term in (True, False)
    )
    np.testing.assert_allclose(at.nu_predicted, best.nu, rtol=0.02)
    assert float(at.nu_cosine) == pytest.approx(cosine(at.nu_true.values, best.nu), abs=1e-3)
    assert float(at.nu_cosine_gradient) == pytest.approx(cosine(at.nu_true.values, g**2), abs=1e-9)
    rates = dict(zip(RATES, at.loss_decrease.values, strict=True))
    # p of the current ν: (√ν̂ + ε)/η, and ν̂ is what is recorded
    p = (np.sqrt(at.nu_true.values) + method.eps) / lr
    assert rates["current"] == pytest.approx(g @ (g / p), rel=1e-9)
    assert rates["stationary"] == pytest.approx(g @ (g / best.p), rel=0.01)
    assert rates["alternative"] == pytest.approx(g @ (g / alternative.p), rel=0.02)
    assert rates["alternative"] > rates["stationary"]


def test_nu_of_the_discrete_process_contains_its_gradient(run):
    """At step 0 ν̂ = g² for both processes, and the cosine with g² is 1."""
    dataset = run[2].dataset
    np.testing.assert_allclose(dataset.nu_cosine_gradient.values[:, 0], 1.0, rtol=1e-12)


def test_step_sizes_are_recorded(run):
    dataset = run[2].dataset
    nu = dataset.nu_true.sel(followed="central").isel(step=20).values
    expected = LR / 20 / np.mean(np.sqrt(nu) + 1e-3)
    assert float(dataset.step_size.sel(process="central")[20]) == pytest.approx(expected, rel=1e-9)


def test_other_methods_are_refused(run):
    with pytest.raises(flows.InvalidArgumentError, match="stationarity_every is defined for rms"):
        flows.run(run[0], flows.GD(0.1), steps=1, stationarity_every=1)


def test_a_failed_solve_leaves_a_gap_in_the_record(run, monkeypatch, caplog):
    def fail(*arguments):
        raise flows.FlowsError("no stationary preconditioner: out of luck")

    monkeypatch.setattr("flows.stationary_solver.StationarySolver.solve", fail)
    objective, method, _ = run
    result = flows.run(
        objective, method, steps=1, processes=["central"], stationarity_every=1, check=False
    )
    assert np.isnan(result.dataset.nu_cosine.values).all()
    assert np.isfinite(result.dataset.loss.values).all()
    assert "out of luck" in caplog.text


def test_differences_of_curvature_terms(run):
    """The simplified term lacks the weights 1 − g²/ν̄; the closures differ by the rate of ν."""
    objective, method, result = run
    at = result.dataset.sel(followed="central").isel(step=20)
    w = torch.tensor(result.weights("central", 20))
    g, lr = objective.gradient(w), method.lr(1)
    H = objective.hvp(w, torch.eye(DIM, dtype=w.dtype)).numpy()
    best = stationary_preconditioner(g.numpy(), H, lr, tol=1e-10)
    exact, simplified = exact_term(objective, w, best), trace_term(objective, w, g, best)
    norm = [float(x @ (x / torch.tensor(best.p))) ** 0.5 for x in (simplified - exact, exact)]
    found = at.curvature_difference.sel(term="simplified")
    assert float(found) == pytest.approx(norm[0] / norm[1], rel=0.05)
    assert 0 < float(at.curvature_difference.sel(term="complementarity")) < 10


@pytest.mark.parametrize("name", ["fig8", "fig9", "fig10"])
def test_figures_draw_what_was_recorded(run, name):
    figure = find(name)
    drawing = figure.draw(figure, [run[2]])
    assert len(drawing.axes) == (3 if name == "fig10" else 2)
    assert all(axes.lines for axes in drawing.axes)
    drawing.canvas.draw()
