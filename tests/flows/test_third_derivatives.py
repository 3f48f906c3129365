"""Third derivatives of real architectures against central differences of Hessian columns."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flows._errors import DerivativeCheckError
from flows._safe_derivatives import REPLACEMENTS, protected
from flows.objective import Objective


class Last(nn.Module):
    """A recurrent network followed by a linear layer on its last output."""

    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


def cnn(norm: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        norm(4),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 2, 2),
        norm(2),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def encoder(**options: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, **options
    )


IMAGES, SEQUENCES, VECTORS = (6, 3, 8, 8), (4, 5, 8), (12, 6)

ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)), VECTORS),
    "cnn": (lambda: cnn(lambda channels: nn.Identity()), IMAGES),
    "layer norm mlp": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2)),
        VECTORS,
    ),
    "rms norm mlp": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.GELU(), nn.Linear(8, 2)),
        VECTORS,
    ),
    "batch norm cnn": (lambda: cnn(nn.BatchNorm2d), IMAGES),
    "batch norm cnn, evaluation": (lambda: cnn(nn.BatchNorm2d).eval(), IMAGES),
    "instance norm cnn": (lambda: cnn(lambda c: nn.InstanceNorm2d(c, affine=True)), IMAGES),
    "group norm cnn": (lambda: cnn(lambda c: nn.GroupNorm(2, c)), IMAGES),
    "weight norm mlp": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.Tanh(), nn.Linear(8, 2)
        ),
        VECTORS,
    ),
    "transformer layer": (encoder, SEQUENCES),
    "transformer layer, evaluation": (lambda: encoder(norm_first=True).eval(), SEQUENCES),
    "transformer": (
        lambda: nn.TransformerEncoder(encoder(), 2, enable_nested_tensor=False),
        SEQUENCES,
    ),
    "rnn": (lambda: Last(nn.RNN(8, 5, batch_first=True)), SEQUENCES),
    "lstm": (lambda: Last(nn.LSTM(8, 5, 2, batch_first=True)), SEQUENCES),
    "gru": (lambda: Last(nn.GRU(8, 5, batch_first=True)), SEQUENCES),
}

WRONG_IN_TORCH = ["layer norm mlp", "batch norm cnn", "instance norm cnn", "weight norm mlp"]


def make(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> Objective:
    build, shape = ARCHITECTURES[name]
    torch.manual_seed(0)
    model, x = build(), torch.randn(shape)
    with torch.no_grad():
        y = torch.randn(model(x).shape)
    return Objective(model.to(dtype), nn.MSELoss(), x.to(dtype), y.to(dtype), **options)


def directions(objective: Objective, m: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    U = torch.randn(objective.dim, m, generator=generator, dtype=torch.float64)
    return (U / U.norm(dim=0)).to(objective.dtype)


def central_difference(
    function: Callable[[Tensor], Tensor], w: Tensor, v: Tensor, h: float = 1e-3
) -> Tensor:
    """Return ``D function(w)[v]`` up to O(h⁴)."""

    def slope(step: float) -> Tensor:
        return (function(w + step * v) - function(w - step * v)) / (2 * step)

    return (4 * slope(h / 2) - slope(h)) / 3


def relative_error(x: Tensor, reference: Tensor) -> float:
    return float((x - reference).norm() / reference.norm())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_third_derivative_is_the_derivative_of_the_hessian(name: str) -> None:
    objective = make(name)
    w, (u, v) = objective.w0, directions(objective, 2).split(1, dim=1)
    hessian_column = central_difference(objective.gradient, w, u[:, 0])
    assert relative_error(objective.hvp(w, u)[:, 0], hessian_column) < 1e-6
    expected = central_difference(lambda x: objective.hvp(x, u), w, v[:, 0])
    assert float(expected.norm()) > 1e-3  # there is something to compare
    assert relative_error(objective.third(w, u, v), expected) < 1e-6


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_columns_together_are_columns_one_by_one(name: str) -> None:
    objective, single = make(name), make(name)
    for portion in (single._evaluation.second, single._evaluation.third):
        assert portion.batch.limit > 1
        portion.batch.limit = 1
    w, U = objective.w0, directions(objective, 3)
    torch.testing.assert_close(objective.hvp(w, U), single.hvp(w, U))
    torch.testing.assert_close(objective.third_pairs(w, U), single.third_pairs(w, U))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_preflight_accepts(name: str, dtype: torch.dtype) -> None:
    report = make(name, dtype).check()
    assert 0 <= report.third_error <= report.tolerance


@pytest.mark.parametrize("name", WRONG_IN_TORCH)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_preflight_refuses_what_torch_differentiates_wrongly(name: str, dtype: torch.dtype) -> None:
    with pytest.raises(DerivativeCheckError, match=r"differ by .* \(relative\)"):
        make(name, dtype, protect=False).check()


@pytest.mark.parametrize("name", ["layer norm mlp", "lstm"])
def test_float32_third_derivatives(name: str) -> None:
    double, single = make(name), make(name, torch.float32)
    w, U = single.w0, directions(single, 2)
    expected = double.third_pairs(w.double(), U.double())
    assert relative_error(single.third_pairs(w, U).double(), expected) < 1e-5


class TestReplacements:
    """Replacements equal what they replace, whatever their arguments."""

    x = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = torch.linspace(0.5, 2.0, 6, dtype=torch.float64)
    shift = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)

    @pytest.mark.parametrize("affine", [False, True])
    def test_values(self, affine: bool) -> None:
        weight, bias = (self.scale, self.shift) if affine else (None, None)
        last_weight, last_bias = (self.scale[:5], self.shift[:5]) if affine else (None, None)
        mean, var = self.shift / 3, self.scale / 2
        calls: list[tuple[Callable[..., Tensor], tuple[Any, ...]]] = [
            (F.layer_norm, (self.x, (5,), last_weight, last_bias, 0.1)),
            (F.layer_norm, (self.x, (6, 5))),
            (F.rms_norm, (self.x, (5,), last_weight)),
            (F.rms_norm, (self.x, (6, 5), None, 0.1)),
            (F.batch_norm, (self.x, mean, var, weight, bias)),
            (F.batch_norm, (self.x, None, None, weight, bias, True, 0.1, 0.01)),
            (F.instance_norm, (self.x, None, None, weight, bias)),
            (F.instance_norm, (self.x, mean, var, weight, bias, False)),
            (F.group_norm, (self.x, 3, weight, bias)),
        ]
        for function, arguments in calls:
            expected = function(*arguments)
            torch.testing.assert_close(REPLACEMENTS[function](*arguments), expected)

    @pytest.mark.parametrize("dim", [-1, 0, 1, 2])
    def test_weight_norm(self, dim: int) -> None:
        g = torch.norm_except_dim(self.x, 2, dim) * 1.7
        expected = torch._weight_norm(self.x, g, dim)
        torch.testing.assert_close(REPLACEMENTS[torch._weight_norm](self.x, g, dim), expected)

    def test_running_statistics_are_left_alone(self) -> None:
        mean, var = self.shift.clone(), self.scale.clone()
        with protected():
            F.batch_norm(self.x, mean, var, training=True)
            F.instance_norm(self.x, mean, var)
        assert torch.equal(mean, self.shift)
        assert torch.equal(var, self.scale)


def test_protection_leaves_no_trace_even_after_an_error() -> None:
    def settings() -> tuple[bool, ...]:
        return (
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.mkldnn.enabled,
            torch.backends.cudnn.enabled,
        )

    before = settings()
    with pytest.raises(RuntimeError), protected():
        nn.LSTM(3, 2)(torch.zeros(2, 2, 5))
    assert settings() == before
    x = torch.zeros(1, 2, requires_grad=True)
    assert "NativeLayerNorm" in type(F.layer_norm(x, (2,)).grad_fn).__name__


def test_columns_fall_back_to_single_ones_where_torch_cannot_batch() -> None:
    class Cube(torch.autograd.Function):
        """A function without a batching rule."""

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            scale = float(grad.detach().abs().sum()) or 1.0  # data-dependent: vmap refuses it
            return 3 * x**2 * (grad / scale) * scale

    w = torch.tensor([1.0, 2.0], dtype=torch.float64)
    objective = Objective.from_function(lambda x: Cube.apply(x).sum() ** 2, w)
    direct = Objective.from_function(lambda x: (x**3).sum() ** 2, w)
    V = torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(objective.hvp(w, V), direct.hvp(w, V))
    assert objective._evaluation.second.batch.limit == 1
