"""Choosing labelled examples, and turning labels into targets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flows._arguments import check_integer
from flows._errors import InvalidArgumentError
from flows.tasks.losses import LOSSES, Loss


def check_loss(loss: str) -> Loss:
    """Return the loss of that name."""
    if loss not in LOSSES:
        raise InvalidArgumentError(f"loss must be one of {', '.join(LOSSES)}, found {loss!r}")
    return LOSSES[loss]


def balanced(labels: np.ndarray, examples: int, classes: int) -> np.ndarray:
    """Return the indices of the first examples of each of the classes 0..``classes``−1.

    The classes get equally many examples, as in the paper; a remainder goes to the first ones.
    """
    check_integer("classes", classes, 2, int(labels.max()) + 1)
    check_integer("examples", examples, classes)
    chosen = []
    for label in range(classes):
        wanted = examples // classes + (label < examples % classes)
        found = np.flatnonzero(labels == label)
        if len(found) < wanted:
            raise InvalidArgumentError(
                f"examples asks for {wanted} of class {label} ({examples} in {classes} classes), "
                f"but the data hold only {len(found)} of it"
            )
        chosen.append(found[:wanted])
    return np.concatenate(chosen)


def with_noise(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """Replace that fraction of the labels, drawn at random, by a different random label."""
    if not 0.0 <= fraction <= 1.0:
        raise InvalidArgumentError(f"label_noise must be in 0..1, found {fraction!r}")
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    noisy = labels.copy()
    hit = rng.permutation(len(labels))[: round(fraction * len(labels))]
    noisy[hit] = (noisy[hit] + rng.integers(1, classes, size=len(hit))) % classes
    return noisy


def as_targets(
    labels: np.ndarray, classes: int, loss: str, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Return the labels as ``loss`` wants them: one-hot for ``"mse"``, as they are otherwise."""
    index = torch.as_tensor(labels, dtype=torch.int64, device=device)
    return torch.nn.functional.one_hot(index, classes).to(dtype) if loss == "mse" else index
