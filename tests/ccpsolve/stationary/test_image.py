"""The dual point F = ½P⁻¹HE: its value is bounded from below without a product."""

import numpy as np
import pytest

from bench.stationary_problems import network
from ccpsolve.stationary import StationaryProblem, stationary_preconditioner
from ccpsolve.stationary._image import image, image_form
from tests.ccpsolve.stationary.problems import spiked


def _case(noise):
    """A problem, a span near the critical directions, and E of the minimiser on that span."""
    rng = np.random.default_rng(5)
    H = spiked(150, rng)
    c = 0.3 * np.abs(rng.standard_normal(150))
    exact = stationary_preconditioner(c, H, 1.0)
    E = exact.D * np.sqrt(2)
    V = np.hstack([E, rng.standard_normal((150, 5))])
    V += noise * rng.standard_normal(V.shape) / np.sqrt(150)
    C = np.eye(V.shape[1])[:, : E.shape[1]]
    p = np.sqrt(c**2 + 0.5 * ((H @ V @ C) ** 2).sum(1))
    return StationaryProblem(c, H, 1.0), H, p, V, C


@pytest.mark.parametrize("noise", [1e-3, 1e-2, 0.1])
def test_the_bound_is_below_the_value_by_the_square_of_the_residual(noise):
    problem, H, p, V, C = _case(noise)
    F = image(p, H @ V, C)
    assert 2 * (F * F).sum(1).max() <= 1 + 1e-12
    exact = float(np.vdot(F, H @ F))
    lowest = np.linalg.eigvalsh(H / np.sqrt(p)[:, None] / np.sqrt(p))[0]
    bound = image_form(p, V, H @ V, C, lowest)
    assert bound <= exact * (1 + 1e-12)
    residual = F - V @ np.linalg.solve(V.T @ (p[:, None] * V), V.T @ (p[:, None] * F))
    largest = np.linalg.eigvalsh(H / np.sqrt(p)[:, None] / np.sqrt(p))[-1]
    loss = (largest - lowest) * float((residual**2 * p[:, None]).sum())
    assert exact - bound <= loss
    assert problem.dual_value_from(F, bound) <= problem.dual_value(F, H @ F) * (1 + 1e-12)


def test_no_columns_no_value():
    _, H, p, V, C = _case(1e-2)
    assert image_form(p, V, H @ V, C[:, :0], -2.0) == 0.0


@pytest.mark.parametrize("seed", range(2))
def test_bounds_of_a_solve_hold_when_recomputed(seed):
    """The dual value of a solve is at most that of its D, and p is feasible, both dense."""
    hessian, g = network(seed)
    sp = stationary_preconditioner(g, hessian, 0.01, tol=1e-4)
    E = sp.D * (np.sqrt(2) / 0.01)
    assert sp.dual <= sp.problem.dual_value(E, hessian(E)) * (1 + 1e-12)
    scale = 1 / np.sqrt(sp.p)
    assert np.linalg.eigvalsh(scale[:, None] * hessian(np.diag(scale)))[-1] <= 2 * (1 + 1e-12)
    sp.verify()
