"""Optimizers as preconditioned descent ``w ← w − P⁻¹∇L(w)``."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from flows._errors import InvalidArgumentError


class Method(Protocol):
    """What a flow needs to know of an optimizer.

    The method is locally stable while ``H ⪯ threshold · P``, that is while the effective
    sharpness ``λ_max(P⁻¹H)`` is at most ``threshold``.
    """

    name: str
    threshold: float

    def preconditioner(self, like: Tensor) -> Tensor:
        """Return the diagonal of ``P``, shape () or (d,), in the dtype and device of ``like``."""
        ...

    def describe(self) -> dict[str, float | str]:
        """Return the name and the hyperparameters, for provenance."""
        ...


class GD:
    """Gradient descent, ``w ← w − η∇L(w)``: ``P = I/η``.

    Parameters
    ----------
    lr : float
        Learning rate η > 0.

    Examples
    --------
    >>> import flows, torch
    >>> flows.GD(0.1).preconditioner(torch.zeros(3, dtype=torch.float64)).item()
    10.0
    """

    name = "gd"
    threshold = 2.0

    def __init__(self, lr: float) -> None:
        if not (isinstance(lr, int | float) and math.isfinite(lr) and lr > 0):
            raise InvalidArgumentError(f"lr must be a positive finite number, found {lr!r}")
        self.lr = float(lr)

    def preconditioner(self, like: Tensor) -> Tensor:
        """Return ``1/η`` as a 0-dimensional tensor."""
        return torch.tensor(1.0 / self.lr, dtype=like.dtype, device=like.device)

    def describe(self) -> dict[str, float | str]:
        """Return the name and the learning rate."""
        return {"method": self.name, "lr": self.lr}

    def __repr__(self) -> str:
        return f"GD(lr={self.lr:g})"
