"""Values and derivatives of an Objective against closed forms and finite differences."""

import copy

import pytest
import torch
from torch import Tensor, nn

from flows._errors import InvalidArgumentError, UnsupportedModelError
from flows.objective import Objective


def quartic(w: Tensor) -> Tensor:
    """``‖w‖⁴/4``: gradient ``‖w‖²w``, Hessian ``‖w‖²I + 2wwᵀ``."""
    return w.dot(w) ** 2 / 4


def random_columns(d: int, m: int, seed: int = 0) -> Tensor:
    return torch.randn(d, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mlp() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def data(n: int = 11) -> tuple[Tensor, Tensor]:
    return random_columns(n, 4, seed=2), random_columns(n, 2, seed=3)


def mlp_objective(chunk: int | None = None) -> Objective:
    return Objective(mlp(), nn.MSELoss(), *data(), chunk=chunk)


@pytest.fixture
def quartic_objective() -> Objective:
    return Objective.from_function(quartic, random_columns(5, 1)[:, 0])


class TestClosedForm:
    def test_value_and_gradient(self, quartic_objective: Objective) -> None:
        w = quartic_objective.w0
        value, gradient = quartic_objective.value_and_gradient(w)
        assert value == pytest.approx(float(w.dot(w)) ** 2 / 4, rel=1e-14)
        assert quartic_objective.value(w) == value
        torch.testing.assert_close(gradient, w.dot(w) * w)

    def test_hessian(self, quartic_objective: Objective) -> None:
        w, V = quartic_objective.w0, random_columns(5, 3)
        expected = w.dot(w) * V + 2 * torch.outer(w, w @ V)
        torch.testing.assert_close(quartic_objective.hvp(w, V), expected)

    def test_third_derivative(self, quartic_objective: Objective) -> None:
        w, U, V = quartic_objective.w0, random_columns(5, 3, 1), random_columns(5, 3, 2)
        expected = 2 * ((U * V).sum(0) * w[:, None] + (w @ V) * U + (w @ U) * V)
        torch.testing.assert_close(quartic_objective.third(w, U, V), expected)

    def test_pairs_come_in_svec_order(self, quartic_objective: Objective) -> None:
        w, U = quartic_objective.w0, random_columns(5, 4)
        i, j = torch.triu_indices(4, 4)
        expected = quartic_objective.third(w, U[:, i], U[:, j])
        torch.testing.assert_close(quartic_objective.third_pairs(w, U), expected)

    def test_derivatives_that_vanish_identically(self) -> None:
        w, V = random_columns(3, 1)[:, 0], random_columns(3, 2)
        quadratic = Objective.from_function(lambda x: x.dot(x) / 2, w)
        torch.testing.assert_close(quadratic.hvp(w, V), V)
        assert not quadratic.third(w, V, V).any()
        assert not quadratic.third_pairs(w, V).any()
        linear = Objective.from_function(lambda x: x.sum(), w)
        assert not linear.hvp(w, V).any()
        assert not linear.third_pairs(w, V).any()


class TestSymmetry:
    def test_third_is_symmetric_and_bilinear(self) -> None:
        objective = mlp_objective()
        w, d = objective.w0, objective.dim
        U, V, W = (random_columns(d, 2, seed) for seed in (1, 2, 3))
        T = objective.third(w, U, V)
        torch.testing.assert_close(objective.third(w, V, U), T)
        torch.testing.assert_close(
            objective.third(w, 2 * U - 3 * W, V), 2 * T - 3 * objective.third(w, W, V)
        )
        # All three arguments of the trilinear form are alike.
        torch.testing.assert_close((T * W).sum(0), (objective.third(w, U, W) * V).sum(0))

    def test_hessian_is_symmetric(self) -> None:
        objective = mlp_objective()
        H = objective.hvp(objective.w0, torch.eye(objective.dim, dtype=torch.float64))
        torch.testing.assert_close(H, H.T)

    def test_a_single_column_goes_with_every_other(self) -> None:
        objective = mlp_objective()
        w, u, V = objective.w0, random_columns(objective.dim, 1), random_columns(objective.dim, 3)
        expected = objective.third(w, u.expand(-1, 3), V)
        torch.testing.assert_close(objective.third(w, u, V), expected)
        torch.testing.assert_close(objective.third(w, V, u), expected)


class TestRecord:
    """The recorded gradient is reused at the same point only."""

    def test_a_point_changed_in_place_is_a_new_point(self) -> None:
        objective, fresh = mlp_objective(), mlp_objective()
        w, V = objective.w0, random_columns(objective.dim, 2)
        before = objective.hvp(w, V)
        w.mul_(1.5)
        after = objective.hvp(w, V)
        assert not torch.allclose(before, after)
        torch.testing.assert_close(after, fresh.hvp(w, V))

    def test_results_do_not_depend_on_what_was_asked_before(self) -> None:
        objective, fresh = mlp_objective(), mlp_objective()
        w, V = objective.w0, random_columns(objective.dim, 2)
        objective.third_pairs(w, V)
        objective.value(2 * w)
        recorded = objective.value_and_gradient(w)
        expected = fresh.value_and_gradient(w)
        assert recorded[0] == pytest.approx(expected[0], rel=1e-15)
        torch.testing.assert_close(recorded[1], expected[1])

    def test_results_are_the_callers_own(self) -> None:
        objective = mlp_objective()
        w, V = objective.w0, random_columns(objective.dim, 2)
        objective.hvp(w, V)
        expected = objective.gradient(w).clone()
        objective.gradient(w).zero_()
        objective.w0.zero_()
        torch.testing.assert_close(objective.gradient(w), expected)
        torch.testing.assert_close(objective.w0, w)
        assert not any(x.requires_grad for x in (expected, objective.hvp(w, V), objective.w0))

    def test_works_where_gradients_are_off(self) -> None:
        objective = mlp_objective()
        w, V = objective.w0, random_columns(objective.dim, 2)
        expected = objective.third_pairs(w, V)
        with torch.no_grad():
            torch.testing.assert_close(mlp_objective().third_pairs(w, V), expected)


class TestCounts:
    def test_columns_are_counted(self) -> None:
        objective = mlp_objective()
        w, U = objective.w0, random_columns(objective.dim, 3)
        assert objective.counts == {"value": 0, "gradient": 0, "hvp": 0, "third": 0}
        objective.value(w)
        objective.gradient(w)
        objective.value_and_gradient(w)
        objective.hvp(w, U)
        objective.third(w, U[:, :1], U)
        objective.third_pairs(w, U)
        assert objective.counts == {"value": 1, "gradient": 2, "hvp": 3, "third": 9}

    def test_a_check_and_the_caller_leave_the_counts_alone(self) -> None:
        objective = mlp_objective()
        objective.counts["hvp"] = 7
        objective.check()
        assert set(objective.counts.values()) == {0}


@pytest.mark.parametrize("chunk", [1, 4, 11, 100])
def test_chunks_make_no_difference_but_rounding(chunk: int) -> None:
    whole, parts = mlp_objective(), mlp_objective(chunk)
    w, U = whole.w0, random_columns(whole.dim, 3)
    assert parts.value(w) == pytest.approx(whole.value(w), rel=1e-14)
    torch.testing.assert_close(parts.gradient(w), whole.gradient(w))
    torch.testing.assert_close(parts.hvp(w, U), whole.hvp(w, U))
    torch.testing.assert_close(parts.third(w, U, U), whole.third(w, U, U))
    torch.testing.assert_close(parts.third_pairs(w, U), whole.third_pairs(w, U))
    torch.testing.assert_close(parts.outputs(w), whole.outputs(w))
    assert parts.counts == whole.counts


def test_float32_agrees_with_float64() -> None:
    double = mlp_objective()
    x, y = data()
    single = Objective(mlp().float(), nn.MSELoss(), x.float(), y.float())
    w, U = single.w0, random_columns(single.dim, 2).float()
    assert single.dtype == torch.float32
    for result, expected in (
        (single.gradient(w), double.gradient(w.double())),
        (single.hvp(w, U), double.hvp(w.double(), U.double())),
        (single.third_pairs(w, U), double.third_pairs(w.double(), U.double())),
    ):
        assert result.dtype == torch.float32
        torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-5)


class Tied(nn.Module):
    """``x ↦ W tanh(Wx)``: one weight used twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class TestModels:
    def test_a_tied_weight_occurs_once(self) -> None:
        torch.manual_seed(0)
        x = random_columns(7, 4)
        objective = Objective(Tied().double(), nn.MSELoss(), x, x)
        assert objective.dim == 16
        assert list(objective.unflatten(objective.w0)) == ["first.weight"]

        def loss(w: Tensor) -> Tensor:
            W = w.view(4, 4)
            return (torch.tanh(x @ W.T) @ W.T - x).square().mean()

        w, U = objective.w0, random_columns(16, 2)
        direct = Objective.from_function(loss, w)
        torch.testing.assert_close(objective.gradient(w), direct.gradient(w))
        torch.testing.assert_close(objective.third_pairs(w, U), direct.third_pairs(w, U))

    def test_a_frozen_parameter_is_a_constant(self) -> None:
        model = mlp()
        model[0].weight.requires_grad_(False)
        full = mlp_objective()
        objective = Objective(model, nn.MSELoss(), *data())
        assert objective.dim == full.dim - 20
        torch.testing.assert_close(objective.gradient(objective.w0), full.gradient(full.w0)[20:])

    def test_weights_are_ordered_like_parameters(self) -> None:
        model = mlp()
        objective = Objective(model, nn.MSELoss(), *data())
        named = dict(model.named_parameters())
        for name, value in objective.unflatten(objective.w0).items():
            torch.testing.assert_close(value, named[name].detach())
        assert list(objective.unflatten(objective.w0)) == list(named)

    def test_the_gradient_is_that_of_backward(self) -> None:
        model = mlp()
        x, y = data()
        nn.functional.mse_loss(model(x), y).backward()
        expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
        objective = Objective(model, nn.MSELoss(), x, y)
        torch.testing.assert_close(objective.gradient(objective.w0), expected)

    def test_the_model_is_neither_changed_nor_needed_later(self) -> None:
        model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).double()
        model[0].bias.requires_grad_(False)
        before = copy.deepcopy(model.state_dict())
        objective = Objective(model, nn.MSELoss(), *data())
        w, V = objective.w0, random_columns(objective.dim, 2)
        expected = objective.hvp(1.1 * w, V)
        objective.third_pairs(1.1 * w, V)
        objective.value(w)
        assert model.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name
        with torch.no_grad():
            for p in model.parameters():
                p.zero_()
        model.eval()
        objective.value(w)  # drops the record
        torch.testing.assert_close(objective.hvp(1.1 * w, V), expected)

    def test_inputs_by_position_and_by_name(self) -> None:
        class Weighted(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(4, 2, dtype=torch.float64)

            def forward(self, x: Tensor, scale: Tensor) -> Tensor:
                return self.linear(x) * scale

        (x, y), scale = data(), random_columns(11, 1)
        model = Weighted()
        by_position = Objective(model, nn.MSELoss(), (x, scale), y, chunk=3)
        by_name = Objective(model, nn.MSELoss(), {"scale": scale, "x": x}, y)
        w = by_name.w0
        torch.testing.assert_close(by_position.gradient(w), by_name.gradient(w))
        torch.testing.assert_close(by_position.outputs(w), model(x, scale).detach())

    def test_outputs_on_other_inputs(self) -> None:
        model, objective = mlp(), mlp_objective(chunk=2)
        x = random_columns(5, 4, seed=9)
        torch.testing.assert_close(objective.outputs(objective.w0, x), model(x).detach())


class TestArguments:
    @pytest.mark.parametrize(
        ("w", "message"),
        [
            (torch.zeros(3, dtype=torch.float64), r"w must have shape \(5,\), found \(3,\)"),
            (torch.zeros(5, dtype=torch.float32), "w must be a tensor of torch.float64"),
            ([0.0] * 5, "w must be a tensor of torch.float64 on cpu, found list"),
        ],
    )
    def test_wrong_point(self, quartic_objective: Objective, w: Tensor, message: str) -> None:
        with pytest.raises(InvalidArgumentError, match=message):
            quartic_objective.gradient(w)

    def test_wrong_columns(self, quartic_objective: Objective) -> None:
        w, V = quartic_objective.w0, random_columns(5, 3)
        with pytest.raises(InvalidArgumentError, match=r"V must have shape \(5, m\), found \(3,"):
            quartic_objective.hvp(w, V[:3])
        with pytest.raises(InvalidArgumentError, match="found 3 and 2"):
            quartic_objective.third(w, V, V[:, :2])
        with pytest.raises(InvalidArgumentError, match=r"U must have shape \(5, m\), found \(5,\)"):
            quartic_objective.third_pairs(w, w)

    def test_no_columns(self, quartic_objective: Objective) -> None:
        w, none = quartic_objective.w0, torch.zeros(5, 0, dtype=torch.float64)
        assert quartic_objective.hvp(w, none).shape == (5, 0)
        assert quartic_objective.third(w, none, none).shape == (5, 0)
        assert quartic_objective.third_pairs(w, none).shape == (5, 0)

    def test_outputs_need_a_network(self, quartic_objective: Objective) -> None:
        w = quartic_objective.w0
        assert torch.equal(quartic_objective.unflatten(w)["w"], w)
        with pytest.raises(UnsupportedModelError, match="has no outputs"):
            quartic_objective.outputs(w)

    @pytest.mark.parametrize("w0", [torch.zeros(2, 2), torch.zeros(0), [1.0], torch.zeros(2).int()])
    def test_wrong_first_weights(self, w0: Tensor) -> None:
        with pytest.raises(InvalidArgumentError, match="w0 must be"):
            Objective.from_function(quartic, w0)
