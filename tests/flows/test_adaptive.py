"""The central flow by the adaptive integrator."""

import gc

import numpy as np
import pytest
import torch

import flows
from bench.edge_of_stability import Cell
from bench.sharpness import look
from flows._contact import CentralContact
from flows.adaptive import AdaptiveCentral
from flows.central import Central
from flows.process import ProcessStopped, Start
from flows.spectrum import CriticalSubspace
from tests.flows import golden
from tests.flows.test_central import FALL, LR, TURN, begin, smat, smooth, valley


@pytest.fixture
def valleys():
    return flows.Objective.from_function(valley, torch.zeros(5, dtype=torch.float64))


def test_directions_enter_one_after_the_other(valleys):
    result = flows.run(valleys, flows.GD(LR), steps=6, processes=["central"], save_weights=1)
    for t in range(7):
        w = torch.tensor(result.weights("central", t))
        walls = TURN.T @ smat(w[:3]).numpy() @ TURN
        np.testing.assert_allclose(walls, np.diag(np.minimum(1.0, LR * FALL * t)), atol=5e-3)
    variance = result.dataset.oscillation_variance.values
    np.testing.assert_allclose(variance[6], 2 * FALL / LR, rtol=1e-2)
    assert np.nanmax(result.dataset.effective_sharpness.values) < 2.02
    assert np.nanmax(result.dataset.natural_residual.values) < 1e-10


def test_an_impulse_may_throw_every_direction_below_the_edge():
    """Also when more of them were held than are left in the frame."""
    cell = Cell("rmsprop", "gpt", "cross-entropy")
    objective, method = cell.objective(dtype=torch.float64), cell.optimizer()
    flow = AdaptiveCentral(
        objective, method, Start(objective.w0, method.initial_state(objective.w0))
    )
    flow.advance()
    assert flow.observe(spectrum=True).eigenvalues[0] < 2.02


def test_directions_that_a_rejected_step_found_are_seen_by_the_next():
    """Rayleigh–Ritz from exact eigenvectors has no residual, and sees nothing else."""
    curvatures = torch.tensor([3.9, 2.4, 2.0, 0.5, 0.4, 0.3], dtype=torch.float64)

    def loss(w):  # the third curvature rises with the last weight
        return ((curvatures + 2.0 * torch.eye(6).double()[2] * w[5]) * w**2).sum() / 2

    def state(rise):
        return torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, rise], dtype=torch.float64)

    objective = flows.Objective.from_function(loss, state(0.0))
    problem = AdaptiveCentral(objective, flows.GD(0.5), begin(state(0.0))).problem
    nobody = np.zeros((0, 0))
    first = problem.contact(0.0, state(0.0), None, nobody)
    assert first.spectrum.above(1.7) == 1
    hidden = problem.contact(1.0, state(0.9), first, np.zeros((1, 1)))
    assert hidden.spectrum.above(1.7) == 1
    anew = CriticalSubspace(6, tol=1e-8)
    found = anew.update(lambda V: objective.hvp(state(1.1), V), torch.tensor(2.0).double())
    problem._latest = found
    seen = problem.contact(1.0, state(0.9), first, np.zeros((1, 1)))
    np.testing.assert_allclose(seen.spectrum.values[:2], [1.95, 1.9], atol=1e-2)


def methods():
    return [
        flows.GD(lambda t: 0.57 + 0.01 * t),
        flows.RMSPropNorm(0.6, beta2=0.9),
        flows.RMSProp(0.05, beta2=0.9, eps=1e-3, bias_correction=True),
        flows.Preconditioned(
            0.5,
            initial_state=torch.ones_like,
            update=lambda nu, g, t: 0.9 * nu + 0.1 * g**2,
            rate=lambda nu, g, t: (g**2 - nu) / 9,
            scale=lambda nu, t: (nu + 1e-4).sqrt(),
        ),
    ]


@pytest.mark.parametrize("method", methods(), ids=lambda m: m.name)
def test_agrees_with_fine_euler_steps(method):
    w0 = torch.linspace(-0.6, 0.8, 6, dtype=torch.float64)
    objective = flows.Objective.from_function(smooth, w0)
    start = Start(w0, method.initial_state(w0))
    fine = Central(objective, method, start, substeps=64)
    flow = AdaptiveCentral(objective, method, start, rtol=2e-3)
    observed = [flow.observe(spectrum=True)]
    length = 0.0
    for _ in range(12):
        before = fine.w
        fine.advance()
        flow.advance()
        observed.append(flow.observe(spectrum=True))
        length += float((fine.w - before).norm())
        assert float((flow.w - fine.w).norm()) < 0.01 * length + 1e-3
    assert any(seen.oscillation.variance.any() for seen in observed)  # the edge was met


def test_golden_trajectory():
    truth, fine = golden.load("b_moons"), golden.load("b_moons_sub64").snapshots("central")
    run = flows.run(
        truth.objective,
        truth.method,
        steps=30,
        start=truth.start,
        processes=["central"],
        save_weights=[10, 20, 30],
        check=False,
    )
    for step in (10, 20, 30):
        error = np.linalg.norm(run.weights("central", step) - fine[step])
        assert error < 0.003 * truth.path_length
    assert np.nanmax(run.dataset.effective_sharpness.values) < 2.03
    counts = run.counts["central"]
    assert counts["hvp"] < 30 * 31 / 3
    assert counts["third"] < 30 * 4 / 3


def test_stops_where_the_loss_is_not_finite():
    objective = flows.Objective.from_function(
        lambda w: torch.log(w).sum(), torch.ones(2, dtype=torch.float64)
    )
    flow = AdaptiveCentral(objective, flows.GD(0.1), begin(-torch.ones(2, dtype=torch.float64)))
    with pytest.raises(ProcessStopped):
        flow.observe(spectrum=True)


def test_a_long_run_does_not_keep_what_is_behind_it():
    w0 = torch.linspace(-0.6, 0.8, 6, dtype=torch.float64)
    objective = flows.Objective.from_function(smooth, w0)
    method = flows.GD(0.55)
    flow = AdaptiveCentral(objective, method, Start(w0, method.initial_state(w0)), rtol=1e-3)
    for _ in range(30):
        flow.observe(spectrum=True)
        flow.advance()
    steps = flow._integrator.statistics.steps
    gc.collect()
    alive = sum(type(thing) is CentralContact for thing in gc.get_objects())
    assert steps > 20
    assert alive <= 8


def test_the_edge_is_held_where_a_correction_is_too_large_to_be_linear():
    """RMSProp, steps of ten units: small entries of ν change by multiples, and so do directions."""
    *_, largest, beyond, _ = look(Cell("rmsprop", "mlp", "mse")).strip("| ").split(" | ")
    assert float(largest) < 2.02
    assert int(beyond) == 0
