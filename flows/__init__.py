"""Central, stable and discrete flows of neural-network optimizers, side by side.

A network, its loss and data become an :class:`Objective` (gradients, Hessian-vector products,
third derivatives); an optimizer becomes a method such as :class:`GD`; :func:`run` follows the
optimizer and its flows from the same weights and returns a :class:`Run`.

Names are imported when first used: ``import flows`` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows._errors import (
        DerivativeCheckError,
        FlowsError,
        InvalidArgumentError,
        KinkWarning,
        NotEnoughMemoryError,
        UnsupportedModelError,
    )
    from flows.methods import GD, Method, Preconditioned, RMSProp, RMSPropNorm
    from flows.objective import Objective
    from flows.result import Run, load
    from flows.runner import run
    from flows.torch_optimizers import from_torch

_HOME = {
    "DerivativeCheckError": "_errors",
    "FlowsError": "_errors",
    "GD": "methods",
    "InvalidArgumentError": "_errors",
    "KinkWarning": "_errors",
    "Method": "methods",
    "NotEnoughMemoryError": "_errors",
    "Objective": "objective",
    "Preconditioned": "methods",
    "RMSProp": "methods",
    "RMSPropNorm": "methods",
    "Run": "result",
    "UnsupportedModelError": "_errors",
    "from_torch": "torch_optimizers",
    "load": "result",
    "run": "runner",
}
_SUBMODULES = ("plots", "predictions", "tasks")

__all__ = [
    "GD",
    "DerivativeCheckError",
    "FlowsError",
    "InvalidArgumentError",
    "KinkWarning",
    "Method",
    "NotEnoughMemoryError",
    "Objective",
    "Preconditioned",
    "RMSProp",
    "RMSPropNorm",
    "Run",
    "UnsupportedModelError",
    "from_torch",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"flows.{_HOME[name]}"), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"flows.{name}")
    else:
        raise AttributeError(f"module 'flows' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
