import numpy as np
import pytest
from scipy.stats import binom

from ccpsolve import CCPError
from ccpsolve.stationary import deflated_bound, largest_eigenvalue_bound

SPECTRA = {
    "uniform": np.linspace(-1, 1, 200),
    "semicircle": np.cos(np.pi * (np.arange(200) + 0.5) / 200),
    "outlier": np.concatenate([np.linspace(0, 1, 199), [1.3]]),
}


def bound(spectrum, seed, steps, probability, **options):
    return largest_eigenvalue_bound(
        lambda v: spectrum * v,
        len(spectrum),
        failure_probability=probability,
        rng=np.random.default_rng(seed),
        max_steps=steps,
        **options,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("probability", [0.5, 0.05, 0.01])
def test_coverage_is_consistent_with_the_failure_probability(name, probability):
    # a diagonal matrix is general: the start is uniform on the sphere
    trials, spectrum = 2000, SPECTRA[name]
    failures = sum(
        bound(spectrum, seed, 6, probability).value < spectrum.max() for seed in range(trials)
    )
    assert failures <= binom.ppf(0.9999, trials, probability)


@pytest.mark.slow
def test_the_bound_is_nearly_sharp_where_one_eigenvalue_stands_out():
    # far above a point spectrum the inequality behind the bound is an equality after one step
    spectrum = np.concatenate([np.zeros(199), [1.0]])
    failures = sum(bound(spectrum, seed, 1, 0.5).value < 1 for seed in range(2000))
    assert binom.ppf(1e-4, 2000, 0.5) <= failures <= binom.ppf(0.9999, 2000, 0.5)


@pytest.mark.parametrize("name", SPECTRA)
def test_bounds_enclose_and_tighten(name):
    spectrum = SPECTRA[name]
    few, many = bound(spectrum, 0, 10, 1e-6), bound(spectrum, 0, 60, 1e-6)
    assert few.estimate <= many.estimate <= spectrum.max() <= many.value <= few.value
    assert many.value - spectrum.max() < 0.2 * (few.value - spectrum.max())


def test_smaller_failure_probability_gives_larger_bounds():
    values = [bound(SPECTRA["uniform"], 0, 8, 10.0**-k).value for k in (1, 3, 6, 12)]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_generator_is_an_argument():
    assert bound(SPECTRA["uniform"], 3, 5, 0.1).value == bound(SPECTRA["uniform"], 3, 5, 0.1).value
    assert bound(SPECTRA["uniform"], 3, 5, 0.1).value != bound(SPECTRA["uniform"], 4, 5, 0.1).value


def test_exact_when_the_whole_space_was_seen():
    spectrum = np.array([3.0, -1.0, 2.0])
    found = bound(spectrum, 0, 10, 1e-6)
    assert found.steps == 3
    assert found.value == pytest.approx(3.0, rel=1e-12)


def test_target_stops_early():
    spectrum = SPECTRA["outlier"]
    found = bound(spectrum, 0, 60, 1e-6, target=1.6)
    assert found.steps < 60
    assert 1.3 <= found.value <= 1.6


@pytest.mark.parametrize("keep", [1, 5, 12, 20])
def test_ritz_vectors_and_their_products(keep):
    spectrum = SPECTRA["outlier"]
    found = bound(spectrum, 0, 12, 1e-6, keep=keep)
    kept = min(keep, 12)
    assert found.vectors.shape == (200, kept)
    np.testing.assert_allclose(spectrum[:, None] * found.vectors, found.products, atol=1e-12)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(kept), atol=1e-12)
    ritz = np.diag(found.vectors.T @ found.products)
    assert ritz[0] == pytest.approx(found.estimate, rel=1e-12)
    assert (np.diff(ritz) < 0).all()


def test_deflation_bounds_the_complement():
    spectrum = SPECTRA["outlier"]
    top = np.eye(200)[:, -1:]
    found = bound(spectrum, 0, 60, 1e-6, deflate=top)
    assert 1.0 <= found.value < 1.1


def test_deflated_bound_holds_and_is_sharp_for_small_residuals():
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix = rng.standard_normal((8, 8))
        matrix = matrix + matrix.T
        k = int(rng.integers(1, 7))
        off = matrix[k:, :k] * 10.0 ** rng.integers(-4, 1)
        matrix[k:, :k], matrix[:k, k:] = off, off.T
        top = np.linalg.eigvalsh(matrix)[-1]
        u = np.linalg.eigvalsh(matrix[k:, k:])[-1]
        a = np.linalg.eigvalsh(matrix[:k, :k])[-1]
        classical = (a + u) / 2 + np.hypot((a - u) / 2, np.linalg.norm(off, 2))
        found = deflated_bound(matrix[:k, :k], off.T @ off, u)
        assert top - 1e-12 <= found <= classical + 1e-12


@pytest.mark.parametrize(
    "options", [{"max_steps": 0}, {"max_steps": 2.5}, {"keep": 0}, {"rng": "random"}]
)
def test_refuses_other_options_by_name(options):
    (name,) = options
    with pytest.raises(CCPError, match=f"{name} is .*allowed"):
        largest_eigenvalue_bound(lambda v: v, 5, **options)


@pytest.mark.parametrize("probability", [0.0, 1.0, -1.0, np.nan, "small"])
def test_refuses_impossible_probabilities(probability):
    with pytest.raises(CCPError, match=r"failure_probability is .*allowed"):
        bound(SPECTRA["uniform"], 0, 3, probability)


def test_a_hopeless_run_stops():
    """One eigenvalue lies above: a Ritz value shows it after a few steps."""
    diagonal = np.concatenate([[5.0], np.linspace(-1, 1, 999)])
    given_up = largest_eigenvalue_bound(
        lambda v: diagonal * v,
        1000,
        rng=np.random.default_rng(0),
        max_steps=60,
        target=2.0,
        hopeless=2.0,
    )
    assert 2.0 < given_up.estimate <= 5.0 <= given_up.value
    assert given_up.steps <= 8


def test_a_run_that_cannot_reach_its_target_stops_when_it_knows_what_there_is():
    """One eigenvalue lies between target and hopeless: the bound converges to it."""
    diagonal = np.concatenate([[1.86], np.linspace(0, 0.8, 999)])
    found = largest_eigenvalue_bound(
        lambda v: diagonal * v,
        1000,
        rng=np.random.default_rng(0),
        max_steps=60,
        target=1.7,
        hopeless=2.0,
    )
    assert 1.86 <= found.value <= 1.86 + 0.25 * 0.14 + 1e-12
    assert found.estimate == pytest.approx(1.86, rel=1e-3)
    assert found.steps <= 20


def test_both_ends_are_bounded():
    diagonal = np.linspace(-3, 1, 500)
    found = largest_eigenvalue_bound(
        lambda v: diagonal * v, 500, rng=np.random.default_rng(1), max_steps=40
    )
    assert -3.2 < found.lowest <= -3.0
    assert 1.0 <= found.value < 1.2
