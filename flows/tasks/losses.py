"""The two losses of the paper, and how they apply to sequences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flows._errors import InvalidArgumentError

Loss = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return ``½ Σ_c (f_c − y_c)²``, averaged over the examples.

    The factor ½ and the sum (not mean) over the outputs are the paper's; with them the Hessian of
    a linear model is the covariance of its inputs.

    Parameters
    ----------
    outputs, targets : Tensor, shape (N, C)
        Predictions ``f`` and targets ``y``, one-hot for classes.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    InvalidArgumentError
        If the shapes differ (broadcasting would average over pairs of examples).

    References
    ----------
    Cohen, Damian et al. (2024), appendix on experimental details.

    Examples
    --------
    >>> import torch
    >>> from flows.tasks.losses import mean_squared_error
    >>> mean_squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]])).item()
    2.0
    """
    if outputs.shape != targets.shape:
        raise InvalidArgumentError(
            f"outputs and targets must have the same shape, found {tuple(outputs.shape)} "
            f"and {tuple(targets.shape)}"
        )
    return 0.5 * (outputs - targets).square().sum(-1).mean()


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return ``−log softmax(f)_y``, averaged over the examples.

    Parameters
    ----------
    outputs : Tensor, shape (N, C)
        Logits ``f``.
    targets : Tensor, shape (N,), int64
        Classes ``y`` in 0..C−1.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> from flows.tasks.losses import cross_entropy
    >>> f"{cross_entropy(torch.zeros(5, 4), torch.arange(5) % 4):.6f}"  # log 4
    '1.386294'
    """
    return torch.nn.functional.cross_entropy(outputs, targets)


LOSSES: dict[str, Loss] = {"mse": mean_squared_error, "cross-entropy": cross_entropy}


def on_last_positions(loss: Loss, length: int) -> Loss:
    """Apply a loss to the last ``length`` positions of a sequence, each as an example.

    Parameters
    ----------
    loss : callable
        A loss on (M, C) outputs.
    length : int
        Number of positions that count, ≥ 1.

    Returns
    -------
    callable
        A loss on outputs (N, T, C) with T ≥ ``length`` and targets (N, ``length``, ...).

    Examples
    --------
    >>> import torch
    >>> from flows.tasks.losses import cross_entropy, on_last_positions
    >>> loss = on_last_positions(cross_entropy, 2)
    >>> f"{loss(torch.zeros(3, 5, 4), torch.zeros(3, 2, dtype=torch.int64)):.6f}"
    '1.386294'
    """

    def loss_on_last_positions(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs[:, -length:].flatten(0, 1), targets.flatten(0, 1))

    return loss_on_last_positions
