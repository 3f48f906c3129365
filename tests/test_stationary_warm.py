"""The benchmark of warm starts: what a proof takes when everything is given away."""

import numpy as np

from bench.stationary_warm import proof
from ccpsolve.stationary import stationary_preconditioner
from ccpsolve.stationary._lanczos_bound import largest_eigenvalue_bound


def test_given_eigenvectors_are_the_right_ones_where_the_largest_eigenvalue_is_multiple():
    rng = np.random.default_rng(0)
    d = 400
    spikes = np.linalg.qr(rng.standard_normal((d, 12)))[0] * np.sqrt(np.linspace(8, 4, 12))
    H = spikes @ spikes.T + np.diag(rng.uniform(0, 0.2, d))
    g = 0.01 * rng.standard_normal(d)
    solution = stationary_preconditioner(g, lambda V: H @ V, 1.0, tol=1e-4)
    exact = stationary_preconditioner(g, H, 1.0, tol=1e-9)
    root = 1 / np.sqrt(exact.p)
    values, axes = np.linalg.eigh(root[:, None] * H * root)
    assert (values > 2 - 1e-4).sum() > 1
    alone, helped = proof(solution)
    assert helped <= alone
    # by exact eigenvectors and a start of its own, for the number that is best here
    counts = [
        given
        + largest_eigenvalue_bound(
            lambda v: root * (H @ (root * v)),
            d,
            failure_probability=5e-7,
            rng=np.random.default_rng(1),
            target=2 * (1 + 1e-4),
            max_steps=100,
            deflate=np.ascontiguousarray(axes[:, -given:]),
        ).steps
        for given in (4, 6, 8, 10, 12, 14, 16, 20)
    ]
    assert abs(helped - min(counts)) <= 2
