"""`inner="discrete"`: the central flow is the optimizer until the oscillation has set in."""

import numpy as np
import pytest
import torch

import flows
from bench.edge_of_stability import Cell
from flows.adaptive import AdaptiveCentral
from flows.discrete import Discrete
from flows.midpoint import Midpoint
from flows.predictions import gaussian_average
from flows.process import Start

SLOW = 0.02  # learning rate of gradient descent far from the edge
METHODS = {
    "gd": flows.GD(SLOW),
    "gd, schedule": flows.GD(lambda t: SLOW * (1 + 0.1 * np.sin(t))),
    "rmsprop-norm": flows.RMSPropNorm(0.02, 0.9, eps=1e-8, bias_correction=True),
    "rmsprop": flows.RMSProp(0.002, 0.9, eps=1e-6, bias_correction=True),
}
EDGE = flows.GD(0.5)


def valley():
    """A loss with a curved valley and sharpness below 10."""
    w0 = torch.tensor([1.2, -0.7, 0.4], dtype=torch.float64)
    curvature = torch.tensor([4.0, 1.0, 0.2], dtype=torch.float64)
    return flows.Objective.from_function(
        lambda w: 0.5 * (curvature * w**2).sum() + 0.1 * torch.cos(w.sum()), w0
    )


def sharpening(x=1.2, y=1e-3):
    """``½eˣy² + (x − 1.6)²/20``: without an oscillation y the sharpness eˣ tends to 4.95.

    With the step η = ½ the edge is eˣ = 4; the central flow stays there with ``Σ_yy = HELD``. The
    optimizer ends up there as well, after cycles in which the sharpness is above and below.
    """
    w0 = torch.tensor([x, y], dtype=torch.float64)
    return flows.Objective.from_function(
        lambda w: 0.5 * torch.exp(w[0]) * w[1] ** 2 + 0.05 * (w[0] - 1.6) ** 2, w0
    )


HELD = 0.2 * (1.6 - np.log(4)) / 4


def discrete_inner(objective, method, start=None):
    start = start or Start(objective.w0, method.initial_state(objective.w0))
    return AdaptiveCentral(objective, method, start, inner="discrete")


def until_begun(flow, most=200):
    """Advance a flow until the oscillation has set in; return all weights up to there."""
    weights = [flow.w.numpy()]
    while flow.began is None and flow.t < most:
        flow.advance()
        weights.append(flow.w.numpy())
    return np.array(weights)


@pytest.mark.parametrize("name", METHODS)
def test_without_an_oscillation_it_is_the_optimizer(name):
    objective, method = valley(), METHODS[name]
    start = Start(objective.w0, method.initial_state(objective.w0))
    midpoints, flow = Midpoint(objective, method, start), discrete_inner(objective, method)
    before = dict(objective.counts)
    for _ in range(40):
        flow.advance()
        midpoints.advance()
        np.testing.assert_array_equal(flow.w, midpoints.w)
    assert flow.began is None
    np.testing.assert_array_equal(flow.nu, midpoints.nu)
    assert objective.counts["gradient"] - before.get("gradient", 0) == 80  # of either one a step
    assert objective.counts["hvp"] < 40


def start_of(objective, method):
    return Start(objective.w0, method.initial_state(objective.w0))


def iterates_of(objective, method, steps):
    optimizer = Discrete(objective, method, start_of(objective, method))
    iterates = [optimizer.w.numpy()]
    for _ in range(steps):
        optimizer.advance()
        iterates.append(optimizer.w.numpy())
    return np.array(iterates)


def test_it_overshoots_the_edge_and_begins_where_the_oscillation_turns():
    objective = sharpening()
    flow = discrete_inner(objective, EDGE)
    sharpness = np.exp(until_begun(flow)[:, 0])
    y = np.abs(iterates_of(objective, EDGE, 200)[:, 1])
    assert sharpness.max() > 4.5
    assert sharpness[-1] < 4
    first = y[: flow.t].argmax()
    assert first + 1 < flow.began <= first + 4
    assert y[first] > 1000 * y[:first].min()
    plain = AdaptiveCentral(objective, EDGE, start_of(objective, EDGE))
    for process in (flow, plain):
        while process.t < 200:
            process.advance()
        np.testing.assert_allclose(process.w[0], np.log(4), atol=5e-3)
        variance = process.observe(spectrum=True).oscillation.variance[0]
        np.testing.assert_allclose(variance / 2, HELD, rtol=5e-2)  # UᵀPU = 1 with P = 1/η = 2


def test_it_begins_where_it_does_whether_or_not_it_is_observed():
    began = []
    for observed in (False, True):
        flow = discrete_inner(sharpening(), EDGE)
        while flow.began is None:
            if observed:
                flow.observe(spectrum=True)
            flow.advance()
        began.append(flow.began)
    assert began[0] == began[1]


def test_the_first_steps_of_training_are_no_onset():
    """They may begin beyond the edge and be thrown below: only then can they come to it."""
    objective = sharpening(x=1.45, y=0.3)
    flow = discrete_inner(objective, EDGE)
    sharpness = np.exp(until_begun(flow)[:, 0])
    below = int(np.flatnonzero(sharpness < 4)[0])
    assert below < 10 < flow.t
    assert (sharpness[below:] > 4).any()


@pytest.mark.parametrize("updates", [60, 100, 140, 180, 280])
def test_it_begins_soon_where_an_oscillation_is_there_already(updates):
    objective = sharpening()
    w = torch.tensor(iterates_of(objective, EDGE, updates)[-1])
    start = Start(w, EDGE.initial_state(w), updates)
    assert len(until_begun(discrete_inner(objective, EDGE, start))) < 40


def test_drift_across_the_edge_and_back_is_no_onset():
    """The sharpness rises above the edge and falls with x, but nothing oscillates."""

    def wave(w):
        x, y = w
        return 0.5 * (3.9 + 0.3 * torch.sin(x)) * y**2 - 0.3 * x

    w0 = torch.tensor([-1.0, 0.0], dtype=torch.float64)  # y = 0 exactly: it never grows
    flow = discrete_inner(flows.Objective.from_function(wave, w0), EDGE)
    weights = until_begun(flow, most=80)
    sharpness = 3.9 + 0.3 * np.sin(weights[:, 0])
    assert np.count_nonzero(np.diff(np.sign(sharpness - 4)) < 0) >= 1  # back at least once
    assert flow.began is None


def test_it_follows_the_optimizer_from_the_first_step():
    """Through the stable phase, the overshoot (96 to 170) and after it; averages of σ = 5 steps.

    At the end of the overshoot the sharpness falls so fast that the average is far from both.
    """
    cell, steps = Cell("gd", "mlp", "mse"), 230
    objective, method = cell.objective(dtype=torch.float64), cell.optimizer()
    start = Start(objective.w0, method.initial_state(objective.w0))
    optimizer = Discrete(objective, method, start)
    iterates = [optimizer.w]
    for _ in range(steps + 20):
        optimizer.advance()
        iterates.append(optimizer.w)
    average = gaussian_average(torch.stack(iterates).numpy().T, 5.0).T
    away = {}
    for inner in ("flow", "discrete"):
        flow = AdaptiveCentral(objective, method, start, inner=inner)
        away[inner] = []
        for step in range(1, steps + 1):
            flow.advance()
            away[inner].append(np.linalg.norm(flow.w.numpy() - average[step]))
    assert 165 < flow.began < 175
    ratio = np.array(away["flow"]) / np.array(away["discrete"])
    assert ratio[59:85].min() > 5
    assert ratio[85:155].min() > 8
    assert ratio[175:].min() > 2


def test_a_run_records_both_parts():
    dataset = flows.run(
        sharpening(), EDGE, steps=80, processes=["discrete", "central"], inner="discrete"
    ).dataset
    sharpness = dataset.effective_sharpness.sel(process="central", eigenvalue=0)
    variance = dataset.oscillation_variance
    begun = int(np.flatnonzero(np.isfinite(variance[:, 0]) & (variance[:, 0] > 0))[0])
    assert 50 < begun < 80
    assert np.nanmax(sharpness[:begun]) > 2.2
    assert np.nanmax(sharpness[begun:]) < 2.02
    loss = dataset.loss.sel(process="central")
    np.testing.assert_array_equal(dataset.predicted_loss[:begun], loss[:begun])
    assert not np.isnan(dataset.predicted_squared_gradient).any()


def test_it_needs_the_adaptive_integrator():
    with pytest.raises(flows.InvalidArgumentError, match="inner='discrete'"):
        flows.run(valley(), METHODS["gd"], steps=1, integrator="euler", inner="discrete")
    with pytest.raises(flows.InvalidArgumentError, match="inner must be"):
        flows.run(valley(), METHODS["gd"], steps=1, inner="euler")
