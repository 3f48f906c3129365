"""Second and third derivatives by differences of gradients."""

import numpy as np
import pytest
import torch

import flows
from flows.adaptive import AdaptiveCentral
from flows.process import Start
from tests.flows import architectures, golden
from tests.flows.test_central import smooth

W0 = torch.linspace(-0.6, 0.8, 6, dtype=torch.float64)


def by(derivatives):
    return flows.Objective.from_function(smooth, W0, derivatives=derivatives)


def relative(columns, expected):
    return float(((columns - expected).norm(dim=0) / expected.norm(dim=0)).max())


@pytest.mark.parametrize("name", ["mlp", "rnn"])
def test_agree_with_those_of_torch(name):
    task = architectures.task(name)
    exact = architectures.objective(name, task)
    cheap = architectures.objective(name, task, derivatives="differences")
    w = architectures.somewhere(exact)
    U = architectures.directions(exact.dim, 3, w)
    for _ in range(3):  # two turn towards the sharpest directions
        U[:, :2] = torch.linalg.qr(exact.hvp(w, U[:, :2]))[0]
    U = U * torch.tensor([1.0, 30.0, 1e-3]).to(w)
    assert relative(cheap.hvp(w, U), exact.hvp(w, U)) < 1e-6
    assert relative(cheap.third(w, U, U), exact.third(w, U, U)) < 1e-5
    assert relative(cheap.third(w, U[:, :1], U), exact.third(w, U[:, :1], U)) < 1e-5
    assert relative(cheap.third(w, U, U.roll(1, 1)), exact.third(w, U, U.roll(1, 1))) < 1e-5
    assert relative(cheap.third_pairs(w, U), exact.third_pairs(w, U)) < 1e-5


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e8])
def test_do_not_depend_on_the_length_of_the_directions(scale):
    objective = by("differences")
    U = scale * torch.eye(6, 2, dtype=torch.float64)
    unit = torch.eye(6, 2, dtype=torch.float64)
    torch.testing.assert_close(objective.hvp(W0, U), scale * objective.hvp(W0, unit))
    pairs = scale**2 * objective.third_pairs(W0, unit)
    torch.testing.assert_close(objective.third_pairs(W0, U), pairs)


def test_are_finite_at_zero_weights():
    zero = torch.zeros_like(W0)
    expected = by("autodiff").hvp(zero, torch.eye(6, dtype=torch.float64))
    found = by("differences").hvp(zero, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_every_gradient_is_counted_once():
    objective = by("differences")
    U = torch.eye(6, 3, dtype=torch.float64)
    expected = 0

    def costs(gradients):
        nonlocal expected
        expected += gradients
        assert objective.counts == {"value": 0, "gradient": expected, "hvp": 0, "third": 0}

    objective.hvp(W0, U)
    costs(1 + 3)
    objective.gradient(W0)
    costs(0)
    objective.third(W0, U, U)
    costs(2 * 3)
    objective.third(W0, U[:, :1], U[:, 1:])
    costs(4 * 2)
    objective.third_pairs(W0, U)
    costs(2 * 6)
    objective.gradient(2 * W0)
    costs(1)
    objective.hvp(2 * W0, U[:, :1])
    costs(1)
    objective.check()
    costs(0)


def test_what_is_kept_is_not_the_callers():
    objective = by("differences")
    w = W0.clone()
    gradient = objective.gradient(w)
    expected = gradient.clone()
    gradient.zero_()
    torch.testing.assert_close(objective.gradient(W0), expected)
    w.zero_()
    torch.testing.assert_close(objective.gradient(w), by("autodiff").gradient(w))


def test_the_check_finds_kinks_between_the_points():
    def kinked(w):
        return w.dot(w) + 1e3 * (w[0] - W0[0] - 1e-9).relu() ** 2

    with pytest.warns(flows.KinkWarning):
        objective = flows.Objective.from_function(kinked, W0, derivatives="differences")
    with pytest.warns(flows.KinkWarning, match="differ by"):
        objective.check()


def test_the_check_finds_a_scale_that_is_not_that_of_the_weights():
    objective = flows.Objective.from_function(
        lambda w: (1e4 * w).sin().sum(), W0, derivatives="differences"
    )
    with pytest.raises(flows.DerivativeCheckError, match=r"∇.L.* differ by"):
        objective.check()


def test_lower_precision_is_refused():
    with pytest.raises(flows.InvalidArgumentError, match=r"torch\.float64.*found torch\.float32"):
        flows.Objective.from_function(smooth, W0.float(), derivatives="differences")


def test_another_way_is_refused():
    with pytest.raises(flows.InvalidArgumentError, match="autodiff, differences, found 'exact'"):
        by("exact")


def follow(objective, method, start, steps):
    flow = AdaptiveCentral(objective, method, start, rtol=1e-3)
    path, held = [flow.w], 0
    for _ in range(steps):
        held += flow.observe(spectrum=True).oscillation.variance.any()
        flow.advance()
        path.append(flow.w)
    assert held > 2  # third derivatives acted
    return torch.stack(path)


@pytest.mark.parametrize("way", ["autodiff", "differences"])
def test_second_derivatives_come_with_third_ones(way):
    objective, exact = by(way), by("autodiff")
    U = torch.as_tensor(np.random.default_rng(0).standard_normal((len(W0), 2)))
    before = sum(objective.counts.values())
    second, third = objective.curvature(W0, U)
    assert sum(objective.counts.values()) - before == (5 if way == "differences" else 2)
    torch.testing.assert_close(second, exact.hvp(W0, U), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(third, exact.third(W0, U, U), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", ["autodiff", "differences"])
@pytest.mark.parametrize(("stiffness", "price"), [(0.0, 1), (1e5, 2)])
def test_third_derivatives_take_one_gradient_where_hessian_columns_are_known(way, stiffness, price):
    """And where these are not far larger."""

    def objective(derivatives):
        return flows.Objective.from_function(
            lambda w: (10 * (A @ w)).sin().sum() + stiffness * w.dot(w), W0, derivatives=derivatives
        )

    A = torch.as_tensor(np.random.default_rng(1).standard_normal((9, len(W0))))
    oracle, exact = objective(way), objective("autodiff")
    U = torch.as_tensor(np.random.default_rng(0).standard_normal((len(W0), 3)))
    HU = oracle.hvp(W0, U)
    before = oracle.counts
    squares, pairs = oracle.third_squares(W0, U, HU), oracle.third_pairs(W0, U, HU)
    spent = sum(oracle.counts.values()) - sum(before.values())
    assert spent == (3 + 6) * (price if way == "differences" else 1)
    for found, truth in ((squares, exact.third(W0, U, U)), (pairs, exact.third_pairs(W0, U))):
        assert float((found - truth).norm()) < 2e-3 * float(truth.norm())


def test_images_of_another_shape_are_refused():
    with pytest.raises(flows.InvalidArgumentError, match=r"HU must have the shape of U, \(6, 2\)"):
        by("differences").third_squares(W0, torch.eye(6)[:, :2].double(), W0[:, None])


@pytest.mark.parametrize(
    ("method", "error", "early"),
    # In rtol times the length of the path, over all and the first four units of time. With gradient
    # descent, from above the edge, steps and looks react to rounding, within the error allowed.
    [(flows.GD(0.65), 1.0, 1.0), (flows.RMSPropNorm(0.6, beta2=0.9), 1e-4, 1e-5)],
)
def test_a_central_flow_is_the_same(method, error, early):
    start = Start(W0, method.initial_state(W0))
    exact = follow(by("autodiff"), method, start, 12)
    cheap = follow(by("differences"), method, start, 12)
    length = float(exact.diff(dim=0).norm(dim=1).sum())
    assert float((exact - cheap).norm(dim=1).max()) < error * 1e-3 * length
    assert float((exact - cheap)[:4].norm(dim=1).max()) < early * 1e-3 * length


def test_a_run_says_where_its_derivatives_come_from():
    result = flows.run(by("differences"), flows.GD(0.55), steps=2)
    assert result.dataset.attrs["derivatives"] == "differences"
    assert result.counts["central"]["gradient"] > 2
    assert result.counts["central"]["hvp"] == result.counts["central"]["third"] == 0


def test_a_golden_flow_is_the_same():
    problem = golden.load("b_moons")
    cheap = golden.load("b_moons", derivatives="differences").objective
    exact = follow(problem.objective, problem.method, problem.start, 40)
    found = follow(cheap, problem.method, problem.start, 40)
    length = np.linalg.norm(np.diff(exact.numpy(), axis=0), axis=1).sum()
    # Within the tolerance, 1e-3: where a correction is small against the noise of slacks, the
    # lengths of steps react to rounding.
    assert float((exact - found).norm(dim=1).max()) < 1e-3 * length
