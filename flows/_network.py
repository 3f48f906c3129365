"""A network as a pure function of flat weights."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from flows._errors import UnsupportedModelError
from flows._examples import Data


class Network:
    """A private, frozen copy of a module, evaluated at any flat vector of trainable weights.

    Weights are ordered as in ``model.named_parameters()``: a tied weight occurs once, a parameter
    that needs no gradient is a constant. Buffers keep the values they had at construction, in
    training mode too. The module given is neither changed nor referred to later.

    Parameters
    ----------
    model : nn.Module

    Raises
    ------
    UnsupportedModelError
        If there is no trainable parameter, if the trainable parameters do not share one device
        and one of the dtypes float32 and float64, or if the module cannot be copied.
    """

    def __init__(self, model: nn.Module) -> None:
        trainable = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        _require_uniform(trainable)
        self.w0 = torch.cat([p.reshape(-1) for p in trainable.values()])
        self._shapes = {name: p.shape for name, p in trainable.items()}
        self._sizes = [p.numel() for p in trainable.values()]
        self._constants = {
            n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad
        }
        self._module = _copy(model)
        self._buffers = dict(self._module.named_buffers())

    def unflatten(self, w: Tensor) -> dict[str, Tensor]:
        """Return the named parameters at ``w`` as views of it."""
        parts = w.split(self._sizes)
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def __call__(self, w: Tensor, inputs: Data) -> Any:
        """Return the outputs: a tuple of inputs is passed by position, a dictionary by name."""
        # A module may write to its buffers (BatchNorm counts its calls): it gets a fresh copy.
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        state = {**self._constants, **buffers, **self.unflatten(w)}
        if isinstance(inputs, dict):
            return functional_call(self._module, state, (), inputs)
        args = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        return functional_call(self._module, state, args)


def _require_uniform(trainable: dict[str, Tensor]) -> None:
    if not trainable:
        raise UnsupportedModelError("model has no parameter that requires a gradient")
    kinds = {(str(p.dtype).removeprefix("torch."), str(p.device)) for p in trainable.values()}
    if len(kinds) > 1:
        found = ", ".join(f"{dtype} on {device}" for dtype, device in sorted(kinds))
        raise UnsupportedModelError(f"model must have one dtype and one device, found {found}")
    dtype, _ = kinds.pop()
    if dtype not in ("float32", "float64"):
        raise UnsupportedModelError(f"model must be float32 or float64, found {dtype}")


def _copy(model: nn.Module) -> nn.Module:
    """Copy everything but the parameters, which every evaluation replaces anyway."""
    memo: dict[int, Any] = {id(p): p for p in model.parameters()}
    for module in model.modules():
        for value in vars(module).values():
            # Left by hooks such as the old weight_norm; deepcopy refuses tensors with a history.
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnsupportedModelError(f"model cannot be copied: {reason}") from error
