"""`inner="discrete"`: where nothing is critical the central flow takes the optimizer's steps."""

import numpy as np
import pytest
import torch

import flows
from bench.edge_of_stability import Cell
from flows.adaptive import AdaptiveCentral
from flows.discrete import Discrete
from flows.predictions import gaussian_average
from flows.process import Start

SLOW = 0.02  # learning rate of gradient descent far from the edge
METHODS = {
    "gd": flows.GD(SLOW),
    "gd, schedule": flows.GD(lambda t: SLOW * (1 + 0.1 * np.sin(t))),
    "rmsprop-norm": flows.RMSPropNorm(0.02, 0.9, eps=1e-8, bias_correction=True),
    "rmsprop": flows.RMSProp(0.002, 0.9, eps=1e-6, bias_correction=True),
}


def valley():
    """A loss with a curved valley and sharpness below 10."""
    w0 = torch.tensor([1.2, -0.7, 0.4], dtype=torch.float64)
    curvature = torch.tensor([4.0, 1.0, 0.2], dtype=torch.float64)
    return flows.Objective.from_function(
        lambda w: 0.5 * (curvature * w**2).sum() + 0.1 * torch.cos(w.sum()), w0
    )


@pytest.mark.parametrize("name", METHODS)
def test_away_from_the_edge_it_is_the_optimizer(name):
    objective, method = valley(), METHODS[name]
    w = objective.w0
    optimizer = Discrete(objective, method, Start(w, method.initial_state(w)))
    flow = AdaptiveCentral(
        objective, method, Start(w, method.initial_state(w)), inner="discrete", max_step=1.0
    )
    for _ in range(12):
        flow.advance()
        optimizer.advance()
        np.testing.assert_allclose(flow.w, optimizer.w, rtol=1e-11, atol=1e-13)
    optimizer.observe(spectrum=False)  # the state of a flow holds the gradient where it is
    np.testing.assert_allclose(flow.state.nu, optimizer.nu, rtol=1e-11)


def test_long_steps_end_where_the_optimizer_is():
    objective, method = valley(), METHODS["gd"]
    w = objective.w0
    optimizer = Discrete(objective, method, Start(w, method.initial_state(w)))
    flow = AdaptiveCentral(objective, method, Start(w, method.initial_state(w)), inner="discrete")
    ends = {}
    for _ in range(40):
        flow.advance()
        ends[flow.last_step.t1] = flow.last_step.z1
    assert len(ends) < 20
    for step in range(41):
        if float(step) in ends:
            np.testing.assert_allclose(ends[float(step)], optimizer.w, rtol=1e-11, atol=1e-13)
        optimizer.advance()


def test_it_follows_the_optimizer_from_the_first_step():
    """Through the stable phase (to step 90) and after it, on a perceptron; σ = 5 steps."""
    cell, steps = Cell("gd", "mlp", "mse"), 130
    objective, method = cell.objective(dtype=torch.float64), cell.optimizer()
    start = Start(objective.w0, method.initial_state(objective.w0))
    optimizer = Discrete(objective, method, start)
    iterates = [optimizer.w]
    for _ in range(steps):
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
    ratio = np.array(away["flow"]) / np.array(away["discrete"])
    assert ratio[59:85].min() > 5
    assert ratio[20:].min() > 1
    assert flow._integrator.statistics.contacts < 35


def test_it_needs_the_adaptive_integrator():
    with pytest.raises(flows.InvalidArgumentError, match="inner='discrete'"):
        flows.run(valley(), METHODS["gd"], steps=1, integrator="euler", inner="discrete")
    with pytest.raises(flows.InvalidArgumentError, match="inner must be"):
        flows.run(valley(), METHODS["gd"], steps=1, inner="euler")
