"""svec coordinates of symmetric k×k matrices made of d-vectors; see `ccpsolve.svec`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def scales(k: int) -> np.ndarray:
    """Return the svec scaling of the pairs i ≤ j: 1 on the diagonal, √2 off it."""
    first, second = np.triu_indices(k)
    return np.where(first == second, 1.0, np.sqrt(2.0))


def weighted_gram(U: Tensor, weight: Tensor) -> Tensor:
    """Return ``svec(Uᵀ diag(weight) U)`` in float64."""
    U, weight = U.double(), weight.double()
    gram = U.T @ (U * (weight if weight.ndim == 0 else weight[:, None]))
    first, second = np.triu_indices(U.shape[1])
    return gram[first, second] * torch.as_tensor(scales(U.shape[1])).to(U)


def columns_of(columns: list[Tensor], like: Tensor) -> Tensor:
    """Return vectors as columns; zeros like ``like`` if there are none."""
    return torch.stack(columns, dim=1) if columns else torch.zeros_like(like)
