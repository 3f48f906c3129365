"""What is refused before a single derivative is taken, with the reason in one line."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from flows._derivatives import ScalarFunction
from flows._errors import FlowsError, InvalidArgumentError, KinkWarning, UnsupportedModelError
from flows._examples import leaves
from flows._memory import is_out_of_memory

KINKED = frozenset(
    {
        # activations
        "celu",
        "elu",
        "hardshrink",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "prelu",
        "relu",
        "relu6",
        "rnn_relu",
        "rrelu",
        "selu",
        "softshrink",
        "softsign",
        "threshold",
        # pools
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "fractional_max_pool2d",
        "fractional_max_pool3d",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        # selections
        "abs",
        "absolute",
        "amax",
        "amin",
        "clamp",
        "clamp_max",
        "clamp_min",
        "clip",
        "max",
        "maximum",
        "median",
        "min",
        "minimum",
        "sort",
        "topk",
        # losses
        "hinge_embedding_loss",
        "huber_loss",
        "l1_loss",
        "margin_ranking_loss",
        "multi_margin_loss",
        "smooth_l1_loss",
        "triplet_margin_loss",
    }
)
"""Torch functions that are not three times continuously differentiable."""


def require_supported(model: nn.Module, *, chunked: bool) -> None:
    """Raise `UnsupportedModelError` for a module that cannot be a smooth function of its weights.

    Parameters
    ----------
    model : nn.Module
    chunked : bool
        Whether the loss is to be summed over chunks of examples.
    """
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(f"model must be a torch.nn.Module, found {_type(model)}")
    for name, module in model.named_modules():
        if reason := _refusal(module, chunked=chunked):
            where = f"module '{name}' ({_type(module)})" if name else f"model ({_type(module)})"
            raise UnsupportedModelError(f"{where} {reason}")


def _refusal(module: nn.Module, *, chunked: bool) -> str | None:
    """Return why `module` is refused, or None."""
    if isinstance(module, torch.jit.ScriptModule):
        return "is scripted: pass the module it was made from"
    if _type(module) == "OptimizedModule":  # by name: to import the class takes seconds
        return "is compiled by torch.compile: pass the module it was made from"
    if any(nn.parameter.is_lazy(p) for p in module.parameters(recurse=False)):
        return "has uninitialized parameters: call the model once first"
    if _is_random(module):
        return "is random in training: set its probability to zero or call model.eval()"
    if chunked and _uses_batch_statistics(module):
        return (
            "mixes examples, so the loss is no mean over chunks: "
            "drop chunk= and memory=, or call model.eval()"
        )
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and _bends_gradient(module):
        return (
            "must not set padding_idx, max_norm, scale_grad_by_freq or sparse: "
            "its gradient is then not the derivative of the loss"
        )
    return None


def _is_random(module: nn.Module) -> bool:
    if not module.training:
        return False
    if isinstance(module, (nn.modules.dropout._DropoutNd, nn.RReLU)):
        return getattr(module, "p", 1.0) > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.MultiheadAttention) and module.dropout > 0


def _uses_batch_statistics(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and (
        module.training or module.running_mean is None
    )


def _bends_gradient(module: nn.Embedding | nn.EmbeddingBag) -> bool:
    changed = module.padding_idx is not None or module.max_norm is not None
    trainable = module.weight.requires_grad
    return trainable and (changed or module.scale_grad_by_freq or module.sparse)


def require_function(f: ScalarFunction, w0: Tensor) -> list[str]:
    """Raise unless ``f`` is a deterministic, finite, differentiable scalar at ``w0``.

    Returns
    -------
    list of str
        The functions with kinks that are used.

    Raises
    ------
    UnsupportedModelError
        If ``f`` fails, is no real scalar tensor, does not depend on ``w`` or is random.
    InvalidArgumentError
        If the value is NaN or infinite.
    """
    functions = _FunctionNames()
    try:
        with torch.enable_grad(), functions:
            value = f(w0.detach().requires_grad_())
        with torch.no_grad():
            again = f(w0)
    except FlowsError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines() or [_type(error)]
        raise UnsupportedModelError(f"the loss cannot be evaluated: {reason[0]}") from error
    _require_scalar(value)
    if not value.requires_grad:
        raise UnsupportedModelError("the loss does not depend on the weights in a way torch sees")
    value = value.detach()
    if not bool(torch.isfinite(value)):
        raise InvalidArgumentError(f"the loss must be finite at the first weights, found {value}")
    if abs(float(value) - float(again)) > rounding(value.dtype) * abs(float(value)):
        raise UnsupportedModelError(
            f"the loss is random: two evaluations at the same weights gave "
            f"{float(value):.9g} and {float(again):.9g}"
        )
    return sorted(functions.names & KINKED)


def _require_scalar(value: Any) -> None:
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        found = (
            f"shape {tuple(value.shape)} of {value.dtype}"
            if isinstance(value, Tensor)
            else f"a {_type(value)}"
        )
        raise UnsupportedModelError(f"the loss must be a real scalar tensor, found {found}")


def require_mean(whole: float, parts: list[float], sizes: list[int], dtype: torch.dtype) -> None:
    """Raise unless the loss of some examples is the mean of the losses of two parts of them."""
    mean = sum(p * n for p, n in zip(parts, sizes, strict=True)) / sum(sizes)
    scale = max(abs(whole), *(abs(part) for part in parts))
    if not abs(whole - mean) <= rounding(dtype) * scale:
        raise UnsupportedModelError(
            f"chunk= and memory= need a loss that is a mean over examples: {sum(sizes)} gave "
            f"{whole:.9g}, the mean over two parts of them {mean:.9g}"
        )


def rounding(dtype: torch.dtype) -> float:
    """Return the relative difference allowed between two ways to sum the same numbers."""
    return float(torch.finfo(dtype).eps ** 0.75)


def warn_of_kinks(names: list[str]) -> None:
    """Warn the caller of Objective(...) or Objective.from_function(...) of these functions."""
    if names:
        warnings.warn(
            f"the objective uses {', '.join(names)}: a flow needs curvature that varies "
            "smoothly, and third derivatives miss what happens at kinks",
            KinkWarning,
            stacklevel=4,
        )


class _FunctionNames(TorchFunctionMode):
    """Collect the names of the torch functions applied to something that depends on the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if any(leaf.requires_grad for leaf in leaves([args, kwargs])):
            self.names.add(getattr(func, "__name__", "").strip("_"))
        return func(*args, **(kwargs or {}))


def _type(value: object) -> str:
    return type(value).__name__
