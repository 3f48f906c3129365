"""Projection on tangent cones: closed forms, and what makes it a projection on a cone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccpsolve import InvalidProblemError, project_tangent_cone, smat, svec
from ccpsolve.testing import orthogonal_matrix


def draw(seed, k, d, metric):
    rng = np.random.default_rng(seed)
    J = rng.standard_normal((k * (k + 1) // 2, d))
    v = rng.standard_normal(d) * 10.0 ** rng.uniform(-6.0, 6.0)
    if metric == "diagonal":
        return v, J, 10.0 ** rng.uniform(-2.0, 2.0, d)
    if metric == "matrix":
        Q = orthogonal_matrix(rng, d)
        P = (Q * 10.0 ** rng.uniform(-1.0, 1.0, d)) @ Q.T
        return v, J, 0.5 * (P + P.T)
    return v, J, None


def as_matrix(metric, d):
    if metric is None:
        return np.eye(d)
    return np.diag(metric) if metric.ndim == 1 else metric


instances = st.builds(
    draw,
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(10, 20),
    st.sampled_from([None, "diagonal", "matrix"]),
)


@given(instances)
@settings(max_examples=40, deadline=None)
def test_it_is_the_projection_of_moreau(instance):
    """v − proj(v) is in the polar cone, orthogonal to proj(v), and proj(v) is in the cone."""
    v, J, metric = instance
    P = as_matrix(metric, v.size)
    found = project_tangent_cone(v, J, metric=metric)
    inside, outside = found.v, v - found.v
    size = np.linalg.norm(J, 2) * np.linalg.norm(v) * np.linalg.cond(P)
    assert np.linalg.eigvalsh(smat(J @ inside))[-1] <= 1e-12 * size
    assert np.linalg.eigvalsh(found.X)[0] >= -1e-13 * np.linalg.norm(found.X)
    assert np.allclose(P @ outside, 0.5 * J.T @ svec(found.X), rtol=1e-9, atol=1e-12 * size)
    assert abs(inside @ P @ outside) <= 1e-11 * (v @ P @ v) * np.linalg.cond(P)


@given(instances)
@settings(max_examples=20, deadline=None)
def test_it_is_idempotent_and_nonexpansive(instance):
    v, J, metric = instance
    P = as_matrix(metric, v.size)
    once = project_tangent_cone(v, J, metric=metric).v
    twice = project_tangent_cone(once, J, metric=metric).v
    norm = np.sqrt(v @ P @ v)
    assert np.sqrt((twice - once) @ P @ (twice - once)) <= 1e-11 * norm * np.linalg.cond(P)
    moved = v + np.linalg.norm(v) * np.random.default_rng(0).standard_normal(v.size)
    other = project_tangent_cone(moved, J, metric=metric).v
    difference, start = other - once, moved - v
    assert difference @ P @ difference <= (start @ P @ start) * (1.0 + 1e-9)


@given(instances, st.floats(-3.0, 3.0))
@settings(max_examples=20, deadline=None)
def test_it_is_positively_homogeneous(instance, exponent):
    v, J, metric = instance
    factor = 10.0**exponent
    scaled = project_tangent_cone(factor * v, J, metric=metric).v
    plain = project_tangent_cone(v, J, metric=metric).v
    assert np.allclose(scaled, factor * plain, rtol=1e-9, atol=1e-10 * factor * np.abs(v).max())


@given(instances)
@settings(max_examples=20, deadline=None)
def test_the_loss_falls_no_faster_than_without_the_constraint(instance):
    """Proposition 1: dL/dt = ⟨g, proj(−ηg)⟩ = −‖proj(−ηg)‖²/η lies in [−η‖g‖², 0] (P = I/η)."""
    g, J, _ = instance
    lr = 0.3
    velocity = project_tangent_cone(-lr * g, J, metric=np.full(g.size, 1.0 / lr)).v
    rate = g @ velocity
    assert rate == pytest.approx(-velocity @ velocity / lr, rel=1e-9, abs=1e-11 * lr * (g @ g))
    assert -lr * (g @ g) * (1.0 + 1e-12) <= rate <= 1e-11 * lr * (g @ g)


def test_one_active_direction_has_the_closed_form():
    v, normal = np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 1.0])
    P = np.array([1.0, 2.0, 4.0])
    found = project_tangent_cone(v, normal[None, :], metric=P)
    raised = normal / P
    assert np.allclose(found.v, v - (normal @ v) / (normal @ raised) * raised, rtol=1e-14)
    assert found.X[0, 0] == pytest.approx(2.0 * (normal @ v) / (normal @ raised), rel=1e-14)


def test_a_vector_in_the_cone_is_returned_unchanged():
    rng = np.random.default_rng(0)
    J = rng.standard_normal((3, 8))
    v = -np.linalg.pinv(J) @ svec(np.eye(2))
    found = project_tangent_cone(v, J)
    assert np.array_equal(found.v, v)
    assert not found.X.any()


def test_a_pair_of_callables_is_the_same_as_the_matrix():
    v, J, metric = draw(1, 3, 12, "diagonal")
    pair = (lambda u: smat(J @ u), lambda X: J.T @ svec(X))
    by_pair = project_tangent_cone(v, pair, metric=metric)
    by_matrix = project_tangent_cone(v, J, metric=metric)
    assert np.allclose(by_pair.v, by_matrix.v, rtol=1e-12, atol=1e-12 * np.abs(v).max())


def test_the_certificate_bounds_the_distance_to_the_exact_projection():
    v, J, metric = draw(2, 3, 12, "diagonal")
    found = project_tangent_cone(v, J, metric=metric)
    bound = found.certificate.error_bound_beta / np.sqrt(2.0)
    assert 0.0 < bound <= 1e-12 * np.sqrt(v @ (metric * v))


def test_more_rows_than_dimensions():
    """𝒯 is not injective (n > d): X is not unique, the projection is."""
    v, J, _ = draw(3, 3, 4, None)
    found = project_tangent_cone(v, J)
    again = project_tangent_cone(found.v, J)
    assert np.linalg.eigvalsh(smat(J @ found.v))[-1] <= 1e-9 * np.linalg.norm(v)
    assert np.allclose(again.v, found.v, atol=1e-8 * np.linalg.norm(v))


def test_no_constraint():
    v = np.array([1.0, 2.0])
    assert np.array_equal(project_tangent_cone(v, np.zeros((0, 2))).v, v)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": [[1.0]]}, r"v has shape \(1, 1\)"),
        ({"v": [1.0, np.nan]}, "v has 1 NaN"),
        ({"jacobian": [[1.0]]}, r"jacobian has shape \(1, 1\); for v of length 2"),
        ({"jacobian": np.ones((2, 2))}, "length 2 is no svec"),
        ({"jacobian": np.ones(2)}, r"jacobian has shape \(2,\)"),
        ({"metric": [1.0, 0.0]}, "metric has the entry 0"),
        ({"metric": [1.0]}, r"metric has shape \(1,\)"),
        ({"metric": np.diag([1.0, -1.0])}, "metric is not positive definite"),
        ({"metric": [[1.0, 1.0], [0.0, 1.0]]}, "metric is not symmetric"),
        (
            {"jacobian": (lambda v: np.array([[v[0]]]), lambda X: X[0, 0] * np.array([2.0, 0.0]))},
            "not the adjoint",
        ),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"v": [1.0, 2.0], "jacobian": [[1.0, 0.0]], "metric": None} | change
    with pytest.raises(InvalidProblemError, match=message):
        project_tangent_cone(arguments["v"], arguments["jacobian"], metric=arguments["metric"])
