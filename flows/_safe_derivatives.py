"""Keep higher derivatives right: write some torch functions in primitive operations.

In stock torch (2.13, float64, against finite differences) `layer_norm`, training-mode `batch_norm`
and `instance_norm` have wrong third derivatives, and `weight_norm` wrong second ones, without a
warning (see also torch issues 175754 and 186256); fused attention and cuDNN's recurrent networks
refuse to be differentiated twice. Inside `protected` each of them is computed by elementary
operations, whose derivatives of every order are right.
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


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    x = _standardize(input, _last(normalized_shape), eps)
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def _rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    x = input * (input.square().mean(_last(normalized_shape), keepdim=True) + eps).rsqrt()
    return x if weight is None else x * weight


def _last(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch statistics in training, which leave the running ones alone."""
    if training or running_mean is None or running_var is None:
        x = _standardize(input, (0, *range(2, input.ndim)), eps)
    else:
        x = _frozen_statistics(input, running_mean, running_var, eps)
    return _channel_affine(x, weight, bias)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if use_input_stats or running_mean is None or running_var is None:
        x = _standardize(input, tuple(range(2, input.ndim)), eps)
    else:
        x = _frozen_statistics(input, running_mean, running_var, eps)
    return _channel_affine(x, weight, bias)


def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    grouped = input.reshape(input.shape[0], num_groups, -1)
    return _channel_affine(_standardize(grouped, (2,), eps).view_as(input), weight, bias)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """Return ``g v / ‖v‖``, the norm over all axes but `dim` (over all of them if it is -1)."""
    axes = tuple(axis for axis in range(v.ndim) if dim == -1 or axis != dim % v.ndim)
    return v * (g / v.square().sum(axes, keepdim=True).sqrt())


REPLACEMENTS: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    F.group_norm: _group_norm,
    torch._weight_norm: _weight_norm,
}
"""What is computed instead of a torch function, with the same arguments."""

RECURRENT: frozenset[Callable[..., Any]] = frozenset(
    {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
)


class _Primitive(TorchFunctionMode):
    """Send torch functions with doubtful derivatives to their replacements."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in RECURRENT:
            with _unfused_recurrence():
                return func(*args, **(kwargs or {}))
        return REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def _unfused_recurrence() -> Iterator[None]:
    """Switch off cuDNN (which has no second derivative) and oneDNN (slower at the third)."""
    onednn: Any = torch.backends.mkldnn
    enabled = onednn.enabled
    onednn.enabled = False
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        onednn.enabled = enabled


@contextmanager
def protected() -> Iterator[None]:
    """Make derivatives of every order right for whatever is evaluated inside.

    Examples
    --------
    >>> import torch
    >>> from torch.nn.functional import layer_norm
    >>> x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    >>> with protected():
    ...     y = layer_norm(x, (3,))
    >>> torch.allclose(y, layer_norm(x, (3,)))
    True
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _Primitive():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
