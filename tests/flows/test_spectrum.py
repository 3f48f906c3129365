"""The warm block eigen-solver on matrices with known spectra."""

import numpy as np
import pytest
import torch

from flows import InvalidArgumentError
from flows.spectrum import CriticalSubspace, SpectrumError

ONE = torch.tensor(1.0, dtype=torch.float64)


class Counted:
    """Products with a symmetric matrix, counted by column."""

    def __init__(self, H):
        self.H, self.columns = H, 0

    def __call__(self, V):
        self.columns += V.shape[1]
        return self.H.to(V) @ V


def spiked(spikes, d=200, bulk=0.5, seed=0):
    """A matrix with the given large eigenvalues over a bulk in [−bulk, bulk]."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    values = np.concatenate([spikes, rng.uniform(-bulk, bulk, d - len(spikes))])
    H = Q @ np.diag(values) @ Q.T
    return torch.tensor((H + H.T) / 2), torch.tensor(Q)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
def test_residuals_meet_the_tolerance(tol):
    H, _ = spiked([2.3, 1.95, 1.75])
    spectrum = CriticalSubspace(200, tol=tol).update(Counted(H), ONE)
    near = spectrum.values > 1.7
    assert near.sum() == 3
    assert np.all(spectrum.residuals[near] <= tol * spectrum.values[near])
    np.testing.assert_allclose(spectrum.values[:3], [2.3, 1.95, 1.75], atol=max(tol**2, 1e-12) * 5)
    residual = H @ spectrum.V - spectrum.V * torch.tensor(spectrum.values)
    np.testing.assert_allclose(residual.norm(dim=0), spectrum.residuals, atol=1e-12)


@pytest.mark.parametrize("vector", [False, True])
def test_generalised_eigenvectors(vector):
    H, _ = spiked([2.2, 1.9])
    p = torch.rand(200, dtype=torch.float64) + 0.5 if vector else torch.tensor(0.5).double()
    exact = np.linalg.eigvals((H / (p[:, None] if vector else p)).numpy()).real
    spectrum = CriticalSubspace(200, tol=1e-9).update(Counted(H), p)
    k = spectrum.above(1.7)
    U, PU = spectrum.frame(k), spectrum.dual_frame(k)
    np.testing.assert_allclose(spectrum.values[:k], np.sort(exact)[::-1][:k], atol=1e-9)
    np.testing.assert_allclose((U.T @ PU).numpy(), np.eye(k), atol=1e-9)
    np.testing.assert_allclose(
        (H @ U).numpy(), (PU * torch.tensor(spectrum.values[:k])).numpy(), atol=1e-7
    )


def test_warm_update_costs_little_more_than_the_kept_vectors():
    H, _ = spiked([2.2, 2.0, 1.9])
    noise, _ = spiked([], seed=1)
    subspace, product = CriticalSubspace(200, tol=1e-3), Counted(H)
    kept = len(subspace.update(product, ONE).values)
    cold = product.columns
    moved = Counted(H + 1e-4 * noise)
    subspace.update(moved, ONE)
    assert moved.columns == kept
    assert cold > 2 * kept


def test_grows_when_an_eigenvalue_nears_and_shrinks_when_it_leaves():
    H, Q = spiked([2.0])
    subspace = CriticalSubspace(200)
    for height, tracked in [(0.6, 1), (1.2, 1), (1.6, 1), (1.8, 2), (2.1, 2), (1.5, 1), (0.6, 1)]:
        H_t = H + (height - Q[:, 5] @ H @ Q[:, 5]) * torch.outer(Q[:, 5], Q[:, 5])
        spectrum = subspace.update(Counted(H_t), ONE)
        exact = np.linalg.eigvalsh(H_t.numpy())[::-1]
        assert spectrum.above(1.7) == tracked
        assert len(spectrum.values) == tracked + 2
        np.testing.assert_allclose(spectrum.values[:tracked], exact[:tracked], atol=1e-4)


def test_many_directions_enter_one_after_the_other():
    H, Q = spiked([1.0] * 6, bulk=0.3)
    subspace = CriticalSubspace(200, guards=2)
    for t in np.linspace(0, 6, 62):
        lift = np.clip(t - np.arange(6), 0, 1.0)
        H_t = H + Q[:, :6] @ torch.diag(torch.tensor(lift)) @ Q[:, :6].T
        exact = np.linalg.eigvalsh(H_t.numpy())[::-1]
        spectrum = subspace.update(Counted(H_t), ONE)
        near = int(np.sum(exact > 1.7))
        assert spectrum.above(1.7) == near
        np.testing.assert_allclose(spectrum.values[:near], exact[:near], atol=1e-4)


@pytest.mark.parametrize("copies", [2, 4, 6])
@pytest.mark.parametrize("options", [{"tol": 1e-6}, {"tol": 1e-6, "block": 2}])
def test_multiple_eigenvalues(copies, options):
    H, _ = spiked([2.0] * copies)
    spectrum = CriticalSubspace(200, **options).update(Counted(H), ONE)
    np.testing.assert_allclose(spectrum.values[:copies], 2.0, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_a_small_block_misses_none_of_a_cluster(seed):
    spikes = np.array([2.0, 1.99, 1.98, 1.98, 1.97, 1.5])
    H, _ = spiked(spikes, d=1000, seed=seed)
    subspace = CriticalSubspace(1000, guards=1, eigenvalue_tol=2.5e-3, block=3, seed=seed)
    hvp = Counted(H)
    spectrum = subspace.update(hvp, ONE)
    np.testing.assert_allclose(spectrum.values, spikes, atol=1e-2)
    assert hvp.columns < 50


def test_float32_vectors():
    H, _ = spiked([2.3, 1.95])
    spectrum = CriticalSubspace(200).update(Counted(H), ONE.float())
    assert spectrum.V.dtype is torch.float32
    np.testing.assert_allclose(spectrum.values[:2], [2.3, 1.95], atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_tiny_dimensions(d):
    values = np.linspace(2.0, 1.0, d)
    spectrum = CriticalSubspace(d).update(Counted(torch.diag(torch.tensor(values))), ONE)
    near = int(np.sum(values > 1.7))
    np.testing.assert_allclose(spectrum.values[:near], values[:near], atol=1e-6)


def test_negative_and_zero_matrices():
    spectrum = CriticalSubspace(20, tol=1e-6).update(Counted(-torch.eye(20).double()), ONE)
    assert spectrum.values[0] == pytest.approx(-1.0)
    spectrum = CriticalSubspace(20).update(Counted(torch.zeros(20, 20).double()), ONE)
    assert spectrum.values[0] == 0.0


def test_state_round_trip():
    H, _ = spiked([2.2, 1.9])
    first = CriticalSubspace(200)
    first.update(Counted(H), ONE)
    second = CriticalSubspace(200, seed=7)
    second.load_state(first.state())
    product = Counted(H)
    second.update(product, ONE)
    assert product.columns == 4


def test_failures_are_named():
    H, _ = spiked([2.0])
    with pytest.raises(SpectrumError, match="not finite"):
        CriticalSubspace(200).update(lambda V: V * torch.nan, ONE)
    with pytest.raises(SpectrumError, match="products"):
        CriticalSubspace(200, tol=1e-13, max_products=10).update(Counted(H), ONE)
    crowded, _ = spiked(np.linspace(2, 5, 30))
    with pytest.raises(SpectrumError, match="more than 20"):
        CriticalSubspace(200, max_tracked=20).update(Counted(crowded), ONE)
    for arguments in ({"dim": 0}, {"dim": 3, "guards": 0}, {"dim": 3, "tol": 0.0}):
        with pytest.raises(InvalidArgumentError):
            CriticalSubspace(**arguments)


def test_a_new_guard_is_no_random_vector():
    """When an eigenvalue crosses the level, the next one below must be found."""
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((1500, 4)))[0]

    def hessian(second):
        return torch.as_tensor((Q * [2.0, second, 1.5, 1.4]) @ Q.T)

    subspace = CriticalSubspace(1500, guards=1, eigenvalue_tol=2.5e-3)
    for second in (1.6, 1.72):
        H = hessian(second)
        spectrum = subspace.update(lambda V, H=H: H @ V, ONE)
    assert spectrum.above(1.7) == 2
    np.testing.assert_allclose(spectrum.values[2], 1.5, atol=0.1)


def test_vectors_with_known_images_are_not_multiplied_again():
    H, Q = spiked([2.0, 1.9, 1.2])
    start = Q[:, :3] + 0.02 * torch.as_tensor(np.random.default_rng(5).standard_normal((200, 3)))
    known = start[:, :2] @ torch.tensor([[1.0, 0.3], [-0.2, 1.0]], dtype=torch.float64)
    found = []
    for options in ({}, {"known": (known, H @ known)}):
        subspace, hvp = CriticalSubspace(200, guards=1, eigenvalue_tol=1e-3), Counted(H)
        subspace.load_state({"basis": start})
        found.append((subspace.update(hvp, ONE, start=start, **options), hvp.columns))
    (plain, columns), (saved, fewer) = found
    assert fewer == columns - 2
    np.testing.assert_allclose(saved.values, plain.values, atol=1e-10)


def test_a_guard_may_rest_for_one_look():
    """It keeps its value, costs no product, and the others are as accurate as with it."""
    values = torch.tensor([2.0, 1.9, 1.2, *np.linspace(0.5, 0.0, 37)], dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64))[0]
    H, p = (Q * values) @ Q.T, torch.tensor(1.0, dtype=torch.float64)
    subspace = CriticalSubspace(40, guards=1, eigenvalue_tol=1e-6)
    before = subspace.update(lambda V: H @ V, p)
    moved = (Q * (values + torch.tensor([0.01, -0.01, 0.05] + [0.0] * 37))) @ Q.T
    asked = []

    def product(V):
        asked.append(V.shape[1])
        return moved @ V

    after = subspace.update(product, p, start=before.V[:, :2], resting=before)
    assert sum(asked) == 2
    np.testing.assert_allclose(after.values, [2.01, 1.89, 1.2], atol=1e-3)
    torch.testing.assert_close(after.V.T @ after.V, torch.eye(3, dtype=torch.float64))
    fallen = (Q * (values - torch.tensor([0.0, 0.3, 0.0] + [0.0] * 37))) @ Q.T
    kept = subspace.update(lambda V: fallen @ V, p, start=before.V[:, :2], resting=before)
    np.testing.assert_allclose(kept.values, [2.0, 1.6, 1.2], atol=1e-3)
