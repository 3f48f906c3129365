"""``φ₁(hA)`` on tracked eigenvectors and Krylov vectors of a force."""

import numpy as np
import pytest
import torch

from flows._relaxation import Relaxation
from flows.spectrum import Spectrum

D, TRACKED = 60, 3


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    Q = torch.as_tensor(np.linalg.qr(rng.standard_normal((D, D)))[0])
    values = np.concatenate([[2.0, 1.9, 1.6], np.sort(rng.uniform(0, 1.4, D - TRACKED))[::-1]])
    A = Q @ torch.diag(torch.as_tensor(values)) @ Q.T
    V = Q[:, :TRACKED]
    spectrum = Spectrum(values[:TRACKED], np.zeros(TRACKED), V, A @ V, torch.tensor(1.0))
    left = {h: -np.expm1(-h * values) / (h * values) for h in (0.5, 4.0, 16.0)}
    exact = {h: Q @ torch.diag(torch.as_tensor(each)) @ Q.T for h, each in left.items()}
    force = torch.as_tensor(rng.standard_normal(D))
    return A, spectrum, exact, force / force.norm()


def test_tracked_directions_relax_and_others_do_not(problem):
    _, spectrum, exact, _ = problem
    relaxation = Relaxation(spectrum)
    torch.testing.assert_close(relaxation(spectrum.V, 4.0), exact[4.0] @ spectrum.V)
    outside = torch.linalg.qr(torch.cat([spectrum.V, torch.eye(D)[:, :2]], 1).double())[0][:, 3:]
    torch.testing.assert_close(relaxation(outside, 4.0), outside)


@pytest.mark.parametrize(("h", "error"), [(0.5, 1e-3), (4.0, 0.06), (16.0, 0.4)])
def test_a_force_relaxes_on_its_krylov_vectors(problem, h, error):
    A, spectrum, exact, force = problem
    relaxation = Relaxation(spectrum)
    truth = exact[h] @ force
    without = float((relaxation(force[:, None], h)[:, 0] - truth).norm())
    relaxation.cover(force, lambda W: A @ W)
    found = float((relaxation(force[:, None], h)[:, 0] - truth).norm())
    assert found < error * float(truth.norm())
    assert found < 0.4 * without


def test_a_force_that_is_held_costs_nothing(problem):
    A, spectrum, _, force = problem
    products = []

    def apply(W):
        products.append(W.shape[1])
        return A @ W

    relaxation = Relaxation(spectrum)
    relaxation.cover(force, apply)
    assert sum(products) == 3
    moved = Spectrum(
        spectrum.values,
        spectrum.residuals,
        torch.linalg.qr(spectrum.V + 0.01 * torch.ones_like(spectrum.V))[0],
        spectrum.AV,
        spectrum.root,
    )
    near = relaxation.near(moved)
    near.cover(force + 0.01 * torch.ones(D).double(), apply)
    assert sum(products) == 3
    other = torch.zeros(D).double()
    other[0] = 1.0
    near.cover(other, apply)
    assert sum(products) == 6
