"""What an Objective refuses, and in which words."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flows._errors import (
    DerivativeCheckError,
    FlowsError,
    InvalidArgumentError,
    KinkWarning,
    UnsupportedModelError,
)
from flows.objective import Objective

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def mlp(*inner: nn.Module) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), *inner, nn.Linear(5, 3)).double()


def make(
    model: nn.Module | None = None,
    loss: Callable[..., Any] = F.mse_loss,
    x: Any = X,
    y: Any = Y,
    chunk: int | None = None,
) -> Objective:
    return Objective(mlp() if model is None else model, loss, x, y, chunk=chunk)


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class First(nn.Module):
    """The first of the outputs of a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)[0]


def bad_entry(x: Tensor, value: float) -> Tensor:
    x = x.clone()
    x[1, 1] = value
    return x


class TestModels:
    @pytest.mark.parametrize(
        ("module", "found"),
        [
            (nn.Dropout(0.1), r"module '2' \(Dropout\) is random in training"),
            (nn.AlphaDropout(0.1), r"module '2' \(AlphaDropout\) is random"),
            (nn.Sequential(nn.Identity(), nn.Dropout()), r"module '2.1' \(Dropout\)"),
            (nn.RReLU(), r"\(RReLU\) is random"),
            (Apply(F.dropout), "the loss is random: two evaluations"),
            (Apply(lambda x: x + 1e-3 * torch.randn_like(x)), "the loss is random"),
        ],
    )
    def test_random(self, module: nn.Module, found: str) -> None:
        with pytest.raises(UnsupportedModelError, match=found):
            make(mlp(module))

    @pytest.mark.parametrize(
        "module",
        [
            nn.TransformerEncoderLayer(4, 2, 8),
            nn.LSTM(4, 3, num_layers=2, dropout=0.1),
            nn.MultiheadAttention(4, 2, dropout=0.1),
        ],
    )
    def test_random_inside(self, module: nn.Module) -> None:
        with pytest.raises(UnsupportedModelError, match="is random in training"):
            make(module)

    def test_inactive_dropout_is_accepted(self) -> None:
        make(mlp(nn.Dropout(0.0))).check()
        make(mlp(nn.Dropout(0.5)).eval()).check()

    def test_compiled_or_scripted(self) -> None:
        with pytest.raises(UnsupportedModelError, match=r"compiled by torch\.compile"):
            make(torch.compile(mlp(), backend="eager"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scripted = torch.jit.script(mlp())
        with pytest.raises(UnsupportedModelError, match="is scripted"):
            make(scripted)

    @pytest.mark.parametrize(
        ("model", "found"),
        [
            (nn.Identity(), "no parameter that requires a gradient"),
            (mlp().half(), "must be float32 or float64, found float16"),
            (mlp(nn.Linear(5, 5).float()).append(nn.Linear(3, 3)), "one dtype and one device"),
            (nn.LazyLinear(3), r"\(LazyLinear\) has uninitialized parameters"),
            (nn.Sequential(nn.Embedding(5, 3, padding_idx=0)), "must not set padding_idx"),
            (mlp(nn.Linear(7, 5)).double(), "the loss cannot be evaluated: mat1 and mat2"),
        ],
    )
    def test_unusable(self, model: nn.Module, found: str) -> None:
        with pytest.raises(UnsupportedModelError, match=found):
            make(model)

    def test_not_a_module(self) -> None:
        with pytest.raises(InvalidArgumentError, match=r"model must be a torch\.nn\.Module"):
            make(F.relu)  # type: ignore[arg-type]

    def test_a_model_that_cannot_be_copied(self) -> None:
        class Stubborn(nn.Linear):
            def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
                raise TypeError("no")

        with pytest.raises(UnsupportedModelError, match="model cannot be copied: no"):
            make(Stubborn(4, 3).double())


class TestData:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_not_finite(self, value: float) -> None:
        with pytest.raises(InvalidArgumentError, match="inputs must be finite, found 1 NaN"):
            make(x=bad_entry(X, value))
        with pytest.raises(InvalidArgumentError, match="targets must be finite, found 1 NaN"):
            make(y=bad_entry(Y, value))

    def test_not_tensors(self) -> None:
        with pytest.raises(InvalidArgumentError, match="inputs must hold torch tensors, found nda"):
            make(x=X.numpy())

    def test_different_numbers_of_examples(self) -> None:
        with pytest.raises(InvalidArgumentError, match=r"found \(12, 4\), \(11, 3\)"):
            make(y=Y[:-1], chunk=4)

    @pytest.mark.parametrize("chunk", [0, -3, 2.0, True])
    def test_wrong_chunk(self, chunk: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="chunk must be a positive integer or None"):
            make(chunk=chunk)


class TestLoss:
    def test_not_a_scalar(self) -> None:
        with pytest.raises(UnsupportedModelError, match=r"scalar tensor, found shape \(12, 3\)"):
            make(loss=nn.MSELoss(reduction="none"))
        with pytest.raises(UnsupportedModelError, match="scalar tensor, found a float"):
            make(loss=lambda outputs, y: 1.0)

    def test_not_finite(self) -> None:
        with pytest.raises(InvalidArgumentError, match="the loss must be finite"):
            make(loss=lambda outputs, y: outputs.abs().mean().neg().log())
        with pytest.raises(InvalidArgumentError, match="first weights must be finite"):
            Objective.from_function(torch.sum, torch.tensor([float("nan")]))

    def test_cut_off_from_the_weights(self) -> None:
        with pytest.raises(UnsupportedModelError, match="does not depend on the weights"):
            make(loss=lambda outputs, y: F.mse_loss(outputs.detach(), y))


class TestChunks:
    @pytest.mark.parametrize("chunk", [1, 5])
    def test_a_loss_that_is_no_mean(self, chunk: int) -> None:
        with pytest.raises(UnsupportedModelError, match="a loss that is a mean over examples"):
            make(loss=nn.MSELoss(reduction="sum"), chunk=chunk)

    def test_a_weighted_mean(self) -> None:
        labels = torch.arange(12) % 3
        loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]).double())
        make(loss=loss, y=labels)
        with pytest.raises(UnsupportedModelError, match="a loss that is a mean over examples"):
            make(loss=loss, y=labels, chunk=4)

    def test_a_network_that_mixes_examples(self) -> None:
        mixing = Apply(lambda x: x - x.mean(0))
        make(mlp(mixing)).check()
        with pytest.raises(UnsupportedModelError, match="a loss that is a mean over examples"):
            make(mlp(mixing), chunk=4)

    def test_batch_norm(self) -> None:
        make(mlp(nn.BatchNorm1d(5)).eval(), chunk=4).check()
        with pytest.raises(UnsupportedModelError, match=r"'2' \(BatchNorm1d\) mixes examples"):
            make(mlp(nn.BatchNorm1d(5)), chunk=4)
        with pytest.raises(UnsupportedModelError, match="mixes examples"):
            make(mlp(nn.BatchNorm1d(5, track_running_stats=False)).eval(), chunk=4)


class TestKinks:
    @pytest.mark.parametrize(
        ("module", "name"),
        [
            (nn.ReLU(), "relu"),
            (nn.LeakyReLU(), "leaky_relu"),
            (nn.PReLU(), "prelu"),
            (nn.ReLU6(), "hardtanh"),
            (Apply(torch.relu), "relu"),
            (Apply(lambda x: x.clamp(min=0)), "clamp"),
            (Apply(abs), "abs"),
            (Apply(lambda x: F.elu(input=x)), "elu"),
        ],
    )
    def test_are_warned_of(self, module: nn.Module, name: str) -> None:
        with pytest.warns(KinkWarning, match=f"uses {name}: ") as caught:
            make(mlp(module))
        assert caught[0].filename == __file__

    def test_in_pools_and_losses(self) -> None:
        images = torch.randn(5, 1, 6, 6).double()
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.MaxPool2d(4), nn.Flatten()).double()
        with pytest.warns(KinkWarning, match=r"uses l1_loss, max_pool2d: "):
            make(model, F.l1_loss, images, Y[:5])

    def test_in_recurrent_networks(self) -> None:
        with pytest.warns(KinkWarning, match=r"uses rnn_relu: "):
            make(First(nn.RNN(4, 3, nonlinearity="relu")).double())

    def test_where_they_do_not_matter_are_silent(self) -> None:
        make(loss=lambda outputs, y: F.mse_loss(outputs, y.clamp(min=0)))

    def test_a_kink_under_the_finite_difference_is_no_error(self) -> None:
        w = torch.zeros(3, dtype=torch.float64)
        with pytest.warns(KinkWarning):
            objective = Objective.from_function(lambda w: w.relu().sum() + w.dot(w), w)
        with pytest.warns(KinkWarning, match=r"differ by .*, perhaps because of kinks") as caught:
            objective.check()
        assert caught[0].filename == __file__


class WrongThird(torch.autograd.Function):
    """``Σ sin x`` with right first and second derivatives and a third that is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (x.detach().cos() - (x - x.detach()) * x.detach().sin())


class TestDerivatives:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_a_wrong_third_derivative(self, dtype: torch.dtype) -> None:
        w = torch.linspace(0.5, 1.5, 5, dtype=dtype)
        objective = Objective.from_function(lambda w: WrongThird.apply(w).prod(), w)
        with pytest.raises(DerivativeCheckError, match=r"∇³L\[u,v\] and a difference of Hessian"):
            objective.check()

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_a_wrong_second_derivative(self, dtype: torch.dtype) -> None:
        w = torch.linspace(0.5, 1.5, 5, dtype=dtype)
        objective = Objective.from_function(lambda w: (w.detach() * w).sin().sum(), w)
        with pytest.raises(DerivativeCheckError, match="∇²L v and a difference of gradients"):
            objective.check()

    def test_a_third_derivative_that_is_not_a_number(self) -> None:
        w = torch.linspace(0.5, 1.5, 5, dtype=torch.float64)
        objective = Objective.from_function(lambda w: w.square().logcumsumexp(0).sum(), w)
        with pytest.raises(DerivativeCheckError, match=r"∇³L\[u,v\] has NaN or infinite entries"):
            objective.check()

    def test_a_missing_derivative(self) -> None:
        w = torch.linspace(0.5, 1.5, 6, dtype=torch.float64)
        objective = Objective.from_function(
            lambda w: torch.cdist(w.view(3, 2), w.view(3, 2).cos()).sum(), w
        )
        with pytest.raises(
            UnsupportedModelError, match=r"cannot differentiate three times: .*cdist"
        ):
            objective.check()

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_derivatives_that_vanish_pass(self, dtype: torch.dtype) -> None:
        w = torch.linspace(0.5, 1.5, 5, dtype=dtype)
        A = torch.diag(torch.linspace(-1, 3, 5, dtype=dtype))
        for f in (
            lambda w: w @ A @ w,
            lambda w: w.sum(),
            lambda w: (w.sin() ** 2 + w.cos() ** 2 + w**2).sum(),  # vanishes up to rounding
        ):
            report = Objective.from_function(f, w).check()
            assert max(report.third_error, report.block_error) <= report.tolerance

    def test_the_point_can_be_chosen(self) -> None:
        w = torch.zeros(2, dtype=torch.float64)
        objective = Objective.from_function(lambda w: (w**4).sum() + w.dot(w), w)
        objective.check()
        assert objective.check(w + 1).third_error < 1e-6
        with pytest.raises(InvalidArgumentError, match="w must have shape"):
            objective.check(torch.zeros(3, dtype=torch.float64))


def test_checkpointed_models_are_refused() -> None:
    class Checkpointed(nn.Module):
        """Recomputes its forward pass with its own weights, not with those asked for."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp()

        def forward(self, x: Tensor) -> Tensor:
            from torch.utils.checkpoint import checkpoint

            return checkpoint(self.inner, x, use_reentrant=False)

    with pytest.raises(FlowsError):
        make(Checkpointed()).check()


def test_messages_are_one_line() -> None:
    for model in (mlp(nn.Dropout()), mlp(nn.Linear(7, 5)), mlp().half()):
        with pytest.raises(FlowsError) as caught:
            make(model)
        assert len(str(caught.value).splitlines()) == 1
