"""Elimination of a span: what is left on its complement decides on λ_max of the whole."""

import numpy as np
import pytest

from ccpsolve.stationary import StationaryProblem, certify_with_probability
from ccpsolve.stationary._coupling import Coupling
from ccpsolve.stationary._lanczos_bound import largest_eigenvalue_bound
from ccpsolve.stationary._operator import HessianOperator


@pytest.fixture
def case():
    """H, p, and six columns near the top eigenvectors of the pencil."""
    rng = np.random.default_rng(0)
    d = 60
    H = rng.standard_normal((d, d))
    H += H.T
    p = rng.random(d) + 0.5
    A = H / np.sqrt(p)[:, None] / np.sqrt(p)
    top = np.linalg.eigh(A)[1][:, -6:] / np.sqrt(p)[:, None]
    return H, p, A, top + 0.003 * rng.standard_normal((d, 6))


def _complement(H, coupling, x, seed=1):
    return largest_eigenvalue_bound(
        lambda v: coupling.apply(HessianOperator(H, len(H)), v, x),
        len(H),
        rng=np.random.default_rng(seed),
        max_steps=60,
        deflate=coupling.orthonormal(),
        keep=60,
    )


@pytest.mark.parametrize("part", [0.2, 0.9, 1.1, 3.0])
def test_the_schur_complement_decides(case, part):
    """Between the largest value of the span, at part 0, and λ_max, at part 1, and above."""
    H, p, A, V = case
    coupling = Coupling(p, V, H @ V)
    known = np.linalg.eigvalsh(coupling.inner)[-1]
    x = known + part * (np.linalg.eigvalsh(A)[-1] - known)
    Q = coupling.orthonormal()
    outside = np.eye(60) - Q @ Q.T
    R = outside @ A @ Q
    schur = outside @ A @ outside + R @ np.linalg.solve(x * np.eye(6) - Q.T @ A @ Q, R.T)
    values = np.linalg.eigvalsh(schur)
    found = _complement(H, coupling, x)
    assert found.value == pytest.approx(values[-1], rel=1e-8)
    assert found.lowest == pytest.approx(values[0], rel=1e-8)
    assert (found.value <= x) == (part > 1)
    assert coupling.lift(x) == pytest.approx(
        np.linalg.eigvalsh(R @ np.linalg.solve(x * np.eye(6) - Q.T @ A @ Q, R.T))[-1], rel=1e-4
    )


@pytest.mark.parametrize("part", [np.inf, 1.02])
def test_products_of_lanczos_vectors_are_those_of_H(case, part):
    H, p, A, V = case
    x = part * np.linalg.eigvalsh(A)[-1]
    coupling = Coupling(p, V, H @ V)
    bound = coupling.undeflated(_complement(H, coupling, x), x)
    assert bound.vectors.shape[1] == 54
    np.testing.assert_allclose(bound.products, H @ bound.vectors, atol=1e-9)
    np.testing.assert_allclose(V.T @ (p[:, None] * bound.vectors), 0, atol=1e-9)


def test_no_elimination_below_the_values_of_the_span(case):
    H, p, A, V = case
    coupling = Coupling(p, V, H @ V)
    assert coupling.lift(0.9 * np.linalg.eigvalsh(A)[-1]) == np.inf
    assert coupling.lift(np.inf) == np.inf


@pytest.mark.parametrize("noise", [0.003, 0.03, 0.1])
def test_certified_sharpness_is_an_upper_bound(noise):
    """With a span that is right, roughly right and poor; the tolerance decides what is tried."""
    rng = np.random.default_rng(2)
    d = 400
    spikes = np.linalg.qr(rng.standard_normal((d, 5)))[0]
    H = spikes @ np.diag([9.0, 9.0, 8.9, 8.5, 8.0]) @ spikes.T + np.diag(rng.random(d))
    p = np.full(d, 4.6)
    c = 1.0 * np.ones(d)
    problem = StationaryProblem(c, H, 1.0)
    V = spikes + noise * rng.standard_normal((d, 5)) / np.sqrt(d)
    exact = np.linalg.eigvalsh(H / 4.6)[-1]
    for tol in (1e-3, 0.3, 0.9):
        found = certify_with_probability(
            problem, p, V[:, :0], tol, basis=V, products=H @ V, rng=np.random.default_rng(3)
        )
        assert found.effective_sharpness >= exact
        scale = 1 / np.sqrt(found.p)
        assert np.linalg.eigvalsh(scale[:, None] * H * scale)[-1] <= 2 * (1 + 1e-12)
