"""Keep higher derivatives right: write normalisations in primitive operations.

In stock torch the fused normalisations have third derivatives that are wrong without a warning
(first and second are right), and fused attention refuses double backward. Inside `protected`
every such call is replaced by elementary operations, whose derivatives of every order are right.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


def _standardize(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """Return ``(x - mean) / sqrt(var + eps)`` with the (biased) statistics over `dims`."""
    centered = x - x.mean(dims, keepdim=True)
    return centered * (centered.square().mean(dims, keepdim=True) + eps).rsqrt()


def _per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """View a vector over channels (axis 1) so that it broadcasts against `x`."""
    return parameter.view(1, -1, *[1] * (x.ndim - 2))


def _channel_affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * _per_channel(weight, x)
    return x if bias is None else x + _per_channel(bias, x)


def _frozen_statistics(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
) -> Tensor:
    scale = (_per_channel(running_var, x) + eps).rsqrt()
    return (x - _per_channel(running_mean, x)) * scale


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Replace `torch.nn.functional.layer_norm`."""
    x = _standardize(input, tuple(range(-len(normalized_shape), 0)), eps)
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Replace `torch.nn.functional.batch_norm`; running statistics are never updated."""
    if training or running_mean is None or running_var is None:
        x = _standardize(input, (0, *range(2, input.ndim)), eps)
    else:
        x = _frozen_statistics(input, running_mean, running_var, eps)
    return _channel_affine(x, weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Replace `torch.nn.functional.instance_norm`; running statistics are never updated."""
    if use_input_stats or running_mean is None or running_var is None:
        x = _standardize(input, tuple(range(2, input.ndim)), eps)
    else:
        x = _frozen_statistics(input, running_mean, running_var, eps)
    return _channel_affine(x, weight, bias)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Replace `torch.nn.functional.group_norm`."""
    grouped = input.reshape(input.shape[0], num_groups, -1)
    return _channel_affine(_standardize(grouped, (2,), eps).view_as(input), weight, bias)


REPLACEMENTS: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    F.layer_norm: layer_norm,
    F.batch_norm: batch_norm,
    F.instance_norm: instance_norm,
    F.group_norm: group_norm,
}


class _PrimitiveNorms(TorchFunctionMode):
    """Intercept the fused normalisations and compute them in primitive operations."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def protected() -> Iterator[None]:
    """Make derivatives of every order right for whatever is evaluated inside."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _PrimitiveNorms():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
