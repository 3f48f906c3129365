"""Processes side by side: midpoints, starts from another's state, leaving and re-entering."""

import numpy as np
import pytest
import torch
from torch import nn

import flows
from flows.adaptive import AdaptiveCentral
from flows.process import Start
from tests.flows import golden

METHODS = {
    "gd": lambda: flows.GD(0.1),
    "rmsprop-norm": lambda: flows.RMSPropNorm(0.01, 0.9, eps=1e-8, bias_correction=True),
    "rmsprop": lambda: flows.RMSProp(0.005, 0.9, eps=1e-8, bias_correction=True),
    "generic": lambda: flows.Preconditioned(
        0.005,
        initial_state=torch.ones_like,
        update=lambda nu, g, t: 0.9 * nu + 0.1 * g**2,
        rate=lambda nu, g, t: (g**2 - nu) / 9,
        scale=lambda nu, t: (nu + 1e-3).sqrt(),
    ),
}


@pytest.fixture(scope="module")
def network():
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    inputs = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    targets = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    return flows.Objective(model, nn.functional.mse_loss, inputs, targets)


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]()


def test_midpoints_of_the_iterates(network, method):
    run = flows.run(
        network,
        method,
        steps=6,
        warm_start=2,
        processes=["discrete", "midpoint"],
        save_weights=1,
        check=False,
    )
    w = [run.weights("discrete", step) for step in range(7)]
    np.testing.assert_array_equal(run.weights("midpoint", 0), w[0])
    for t in range(1, 6):
        midpoint = (w[t - 1] + 2 * w[t] + w[t + 1]) / 4
        np.testing.assert_allclose(run.weights("midpoint", t), midpoint, rtol=1e-12, atol=1e-14)
        loss = float(run.dataset.loss.sel(process="midpoint", step=t))
        assert loss == pytest.approx(network.value(torch.tensor(midpoint)), rel=1e-12)


def test_midpoints_take_an_alternating_component_out():
    # On ½·20·w² with η = 0.1 every step flips the sign: the midpoints are at rest at 0.
    objective = flows.Objective.from_function(
        lambda w: 10 * w.square().sum(), torch.ones(1, dtype=torch.float64)
    )
    run = flows.run(objective, flows.GD(0.1), steps=4, processes=["midpoint"], save_weights=1)
    for t in range(1, 5):
        assert abs(run.weights("midpoint", t)[0]) < 1e-14


def test_golden_midpoints():
    # The file stores distances ‖w_t − w*_t‖ and the sharpness at w*_t; its `midpoint_W` are the
    # iterates themselves, saved between two steps.
    truth = golden.load("b_moons")
    run = flows.run(
        truth.objective,
        truth.method,
        steps=100,
        processes=["discrete", "midpoint"],
        spectrum_every=1,
        check=False,
    )
    distance = run.dataset.distance.sel(process="midpoint").values
    np.testing.assert_allclose(distance[1:30], truth.arrays["dist"][1:30, 2], rtol=1e-6)
    sharpness = run.dataset.effective_sharpness.sel(process="midpoint").values[:, 0]
    np.testing.assert_allclose(sharpness[1:30], truth.arrays["midpoint_eigs"][1:30, 0], rtol=1e-4)


@pytest.mark.parametrize("process", ["discrete", "central", "stable"])
def test_going_on_from_a_saved_state(network, method, process):
    options = {"processes": [process], "check": False, "save_weights": 2}
    # Steps of adaptive length begin anew, which changes their errors; Euler steps do not.
    options["integrator"] = "euler"
    whole = flows.run(network, method, steps=8, warm_start=2, **options)
    rest = flows.run(network, method, steps=4, start=whole.start(process, 4), **options)
    for step in (0, 2, 4):
        np.testing.assert_allclose(
            rest.weights(process, step), whole.weights(process, step + 4), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(
            rest.state(process, step), whole.state(process, step + 4), rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("origin", ["discrete", "midpoint", "central", "stable"])
def test_processes_begin_where_another_was(network, method, origin):
    first = flows.run(
        network, method, steps=4, processes=[origin], save_weights=[0, 4], check=False
    )
    start = first.start(origin, 4)
    assert start.updates == 4
    run = flows.run(
        network,
        method,
        steps=1,
        processes=["discrete", "midpoint", "central", "stable"],
        start=start,
        save_weights=1,
        check=False,
    )
    for process in ("discrete", "midpoint", "central", "stable"):
        np.testing.assert_array_equal(run.weights(process, 0), first.weights(origin, 4))
    # All scale the next step by the same state, which holds the gradient there exactly once.
    w, nu = torch.tensor(first.weights(origin, 4)), torch.tensor(first.state(origin, 4))
    gradient = network.gradient(w)
    if origin in ("discrete", "midpoint"):
        nu = method.update(nu, gradient, 5)
    step = w - gradient / method.preconditioner(nu, 5)
    np.testing.assert_allclose(run.weights("discrete", 1), step.numpy(), rtol=1e-12)
    np.testing.assert_allclose(run.state("central", 0), nu.numpy(), rtol=1e-12)
    np.testing.assert_allclose(run.state("stable", 0), nu.numpy(), rtol=1e-12)


def test_unsaved_state_is_named(network):
    run = flows.run(network, METHODS["gd"](), steps=1, processes="discrete", save_weights=[0])
    with pytest.raises(flows.InvalidArgumentError, match="saved: discrete/0"):
        run.start("discrete", 1)


def hilly(w):
    """Walls ``S = 3.2 + sin x − z`` around a floor that falls along x and is flattest at z = 0.

    The effective sharpness is about S/2 for each method below. Twice it meets the edge as sin x
    rises; there the flow moves along it, aside to z > 0, and leaves it as sin x falls.
    """
    x, z, y = w
    return 0.5 * (3.2 + torch.sin(x) - z) * y**2 - 0.4 * x + 0.2 * z**2


EDGES = {
    "gd": flows.GD(0.5),
    "rmsprop-norm": flows.RMSPropNorm(0.2, 0.9),  # at rest ν = ‖g‖² = 0.16
    "rmsprop": flows.RMSProp(0.2, 0.9, eps=0.4),  # at rest ν_y = 0
    "generic": flows.Preconditioned(
        0.5,
        initial_state=lambda w: w.new_zeros(()),
        update=lambda nu, g, t: nu,
        rate=lambda nu, g, t: 0 * nu,
        scale=lambda nu, t: 1 + nu,
    ),
}


def hill(name):
    """Return the objective, the start of the flow, and the time it takes."""
    w0 = torch.tensor([-1.0, 0.0, 0.0], dtype=torch.float64)
    nu = EDGES[name].initial_state(w0)
    if name == "rmsprop-norm":
        nu = nu + 0.16
    if name == "rmsprop":
        nu = nu + 1e-6  # at ν_y = 0 itself √ν has no derivative
    objective = flows.Objective.from_function(hilly, w0)
    return objective, Start(w0, nu), 96 if name == "rmsprop" else 56


@pytest.mark.parametrize("name", EDGES)
def test_accepted_steps_end_within_the_edge(name):
    objective, start, duration = hill(name)
    flow = AdaptiveCentral(objective, EDGES[name], start)
    for _ in range(duration):
        flow.advance()
        step = flow.last_step
        w, nu = flow.problem.split(step.z1)
        root = flow.problem.preconditioner(step.t1, nu).sqrt()
        root = torch.diag(root.expand(3))
        H = torch.autograd.functional.hessian(hilly, w)
        A = torch.linalg.solve(root, torch.linalg.solve(root, H).T)
        assert float(torch.linalg.eigvalsh(A)[-1]) < 2.01


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("integrator", ["euler", "adaptive"])
def test_leaves_and_re_enters_the_edge(name, integrator):
    objective, start, steps = hill(name)
    run = flows.run(
        objective,
        EDGES[name],
        steps=steps,
        processes=["central"],
        start=start,
        integrator=integrator,
        check=False,
    )
    variance = run.dataset.oscillation_variance.max("direction").fillna(0.0).values
    sharpness = run.dataset.effective_sharpness.sel(process="central").values[:, 0]
    at_edge = variance > 0
    entries = np.flatnonzero(~at_edge[:-1] & at_edge[1:])
    exits = np.flatnonzero(at_edge[:-1] & ~at_edge[1:])
    assert len(entries) == 2
    assert entries[0] < exits[0] < entries[1]
    assert np.max(sharpness) < 2.02
    assert sharpness[(exits[0] + entries[1]) // 2] < 1.8
    assert float(run.dataset.natural_residual.max()) < 1e-10
