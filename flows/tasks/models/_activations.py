"""Smooth nonlinearities by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from flows._errors import InvalidArgumentError


class BetaGELU(nn.Module):
    """The activation ``x Φ(βx)``, with Φ the standard normal distribution function.

    It is GELU for β = 1, and approaches the kinked ReLU as β grows: its curvature at 0 is
    ``β √(2/π)``.

    Parameters
    ----------
    beta : float
        Positive.
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x Φ(βx)``, of the shape of ``x``."""
        return F.gelu(self.beta * x) / self.beta

    def extra_repr(self) -> str:
        """Return what the printed form of the module shows."""
        return f"beta={self.beta}"


_PLAIN: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}
_WITH_BETA = "beta-gelu"

ACTIVATIONS = (*_PLAIN, _WITH_BETA)
"""Names of the activations."""


def activation_maker(name: str, beta: float | None) -> Callable[[], nn.Module]:
    """Return what makes an activation; ``beta`` is for ``"beta-gelu"``, and for it alone.

    Raises
    ------
    InvalidArgumentError
        If the name is unknown, or ``beta`` is missing, out of range or not wanted.
    """
    if name not in ACTIVATIONS:
        raise InvalidArgumentError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, found {name!r}"
        )
    if name != _WITH_BETA:
        if beta is not None:
            raise InvalidArgumentError(
                f"activation_beta is for activation {_WITH_BETA!r} alone, found {name!r}"
            )
        return _PLAIN[name]
    if beta is None or not (math.isfinite(beta) and beta > 0):
        raise InvalidArgumentError(
            f"activation_beta must be positive for activation {_WITH_BETA!r}, found {beta}"
        )
    return lambda: BetaGELU(beta)
