"""Central, stable and discrete flows of neural-network optimizers, side by side.

A network, its loss and data become an :class:`Objective` (gradients, Hessian-vector products,
third derivatives); an optimizer becomes a method such as :class:`GD`; :func:`run` follows the
optimizer and its flows from the same weights and returns a :class:`Run`.
"""

from flows._errors import (
    DerivativeCheckError,
    FlowsError,
    InvalidArgumentError,
    KinkWarning,
    UnsupportedModelError,
)
from flows.methods import GD, Method, Preconditioned, RMSProp, RMSPropNorm
from flows.objective import Objective
from flows.run import Run, load, run
from flows.torch_optimizers import from_torch

__all__ = [
    "GD",
    "DerivativeCheckError",
    "FlowsError",
    "InvalidArgumentError",
    "KinkWarning",
    "Method",
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
