"""The central flow of gradient descent against closed forms."""

import numpy as np
import pytest
import torch

import flows
from ccpsolve import svec
from flows.central import Central
from flows.discrete import Discrete
from flows.process import ProcessStopped, Start

LR = 0.5
EDGE = 2 / LR
FALL = np.array([1.0, 0.5])
TURN = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])


def smat(x):
    """The symmetric 2×2 matrix with svec coordinates x."""
    off = x[1] / 2**0.5
    return torch.stack([torch.stack([x[0], off]), torch.stack([off, x[2]])])


def valley(w):
    """A valley ``½yᵀS(x)y``, ``S = 3I + smat(x)``, whose floor falls along C as its walls steepen.

    On the floor (y = 0) the central flow moves S by ``S' = η(C − ½Σ)``: each eigenvalue rises
    at the rate ``ηc_i`` until it meets the edge 2/η, where Σ = 2c_i holds it, X = 2c_i/η.
    """
    x, y = w[:3], w[3:]
    S = 3.0 * torch.eye(2, dtype=w.dtype) + smat(x)
    C = torch.tensor(TURN @ np.diag(FALL) @ TURN.T, dtype=w.dtype)
    return 0.5 * y @ S @ y - (C * smat(x)).sum()


def begin(w):
    return Start(w, w.new_zeros(0))


@pytest.fixture
def valleys():
    return flows.Objective.from_function(valley, torch.zeros(5, dtype=torch.float64))


def test_directions_enter_one_after_the_other(valleys):
    result = flows.run(
        valleys, flows.GD(LR), steps=6, processes=["central"], integrator="euler", save_weights=1
    )
    # Euler is exact on straight paths.
    for t in range(7):
        w = torch.tensor(result.weights("central", t))
        walls = TURN.T @ smat(w[:3]).numpy() @ TURN
        np.testing.assert_allclose(walls, np.diag(np.minimum(1.0, LR * FALL * t)), atol=1e-9)
        np.testing.assert_allclose(w[3:], 0.0, atol=1e-9)
    variance = result.dataset.oscillation_variance.values
    np.testing.assert_allclose(variance[3, 0], 2 * FALL[0] / LR, rtol=1e-9)
    np.testing.assert_allclose(variance[5], 2 * FALL / LR, rtol=1e-9)
    np.testing.assert_array_equal(result.dataset.critical.values[[0, 3, 5]], [0, 1, 2])
    assert np.nanmax(result.dataset.natural_residual.values) < 1e-12


def test_predicted_loss_adds_the_trace(valleys):
    dataset = flows.run(
        valleys, flows.GD(LR), steps=5, processes=["central"], integrator="euler"
    ).dataset
    added = dataset.predicted_loss - dataset.loss.sel(process="central")
    trace = dataset.oscillation_variance.sum("direction")
    np.testing.assert_allclose(added.values, trace.values, atol=1e-12)


def test_effective_sharpness_never_passes_the_threshold_by_much(valleys):
    dataset = flows.run(
        valleys, flows.GD(LR), steps=10, processes=["central"], integrator="euler"
    ).dataset
    assert np.nanmax(dataset.effective_sharpness.values) < 2 + 1e-9


def test_follows_gradient_descent_and_its_oscillation():
    # On a valley that falls slowly GD oscillates: its average is the flow, its variance X.
    fall = 0.01

    def slow_valley(w):
        x, y = w
        return 0.5 * (3.0 + x) * y**2 - fall * x

    w0 = torch.tensor([1.0, (2 * fall) ** 0.5], dtype=torch.float64)
    objective = flows.Objective.from_function(slow_valley, w0)
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    optimizer, flow = (
        Discrete(objective, flows.GD(LR), begin(w0)),
        Central(objective, flows.GD(LR), begin(start)),
    )
    squares, losses = [], []
    oscillation = flow.observe(spectrum=True).oscillation
    for _ in range(400):
        losses.append(optimizer.observe(spectrum=False).loss - float(objective.value(flow.w)))
        squares.append(float(oscillation.directions[:, 0] @ (optimizer.w - flow.w)) ** 2)
        optimizer.advance()
    assert oscillation.variance[0] == pytest.approx(2 * fall / LR, rel=1e-9)
    assert np.mean(squares) == pytest.approx(oscillation.variance[0], rel=0.02)
    assert np.mean(losses) == pytest.approx(oscillation.variance[0], rel=0.02)


def smooth(w):
    A = torch.linspace(0.5, 3.0, len(w), dtype=w.dtype)
    return 0.5 * (A * w**2).sum() + 0.1 * torch.sin(w.sum()) * (w**2).sum() - 0.5 * w[0]


def test_first_order_in_the_step():
    w0 = torch.linspace(-0.6, 0.8, 6, dtype=torch.float64)
    objective = flows.Objective.from_function(smooth, w0)

    def final(substeps):
        flow = Central(objective, flows.GD(0.62), begin(w0), substeps=substeps)
        for _ in range(6):
            flow.advance()
        return flow.w.numpy()

    fine = final(128)
    errors = [np.linalg.norm(final(s) - fine) for s in (4, 8, 16)]
    assert errors[0] < 0.05
    np.testing.assert_array_less(errors[1:], 0.62 * np.array(errors[:-1]))


def test_loss_decreases_at_the_rate_of_proposition_1(valleys):
    # dL/dt = −η|proj_T(−∇L)|²: on the edge the flow's velocity is the projection of −η∇L.
    edge = torch.zeros(5, dtype=torch.float64)
    edge[:3] = torch.tensor(svec(TURN @ np.diag([1.0, 0.5]) @ TURN.T))
    flow = Central(valleys, flows.GD(LR), begin(edge))
    velocity = (flow._step(0, flow.state).state.w - edge).numpy() / 0.25
    gradient = valleys.gradient(edge).numpy()
    assert gradient @ velocity == pytest.approx(-velocity @ velocity / LR, rel=1e-9)
    assert gradient @ velocity == pytest.approx(-LR * FALL[1] ** 2, rel=1e-9)
    assert -LR * gradient @ gradient < gradient @ velocity < 0


def test_oscillation_is_reported_in_the_flow_s_own_axes(valleys):
    flow = Central(valleys, flows.GD(LR), begin(torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0]).double()))
    oscillation = flow.observe(spectrum=True).oscillation
    # UᵀPU = I with P = 1/η, so the axes' duals PU have the norm η^(−1/2).
    np.testing.assert_allclose(oscillation.directions.norm(dim=0), LR**-0.5, rtol=1e-9)
    np.testing.assert_allclose(oscillation.directions[:3], 0.0, atol=1e-9)


def test_stops_where_the_loss_is_not_finite():
    objective = flows.Objective.from_function(
        lambda w: torch.log(w).sum(), torch.ones(2, dtype=torch.float64)
    )
    flow = Central(objective, flows.GD(0.1), begin(-torch.ones(2, dtype=torch.float64)))
    with pytest.raises(ProcessStopped, match="not finite"):
        flow.observe(spectrum=True)
