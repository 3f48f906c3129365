"""Sorting short sequences of letters, posed as prediction of the next token."""

from __future__ import annotations

import numpy as np
import torch

from flows._arguments import check_integer
from flows.tasks._labels import as_targets, check_loss
from flows.tasks._task import Task
from flows.tasks.losses import on_last_positions


def sorting(
    *,
    examples: int = 1000,
    length: int = 8,
    alphabet: int = 4,
    loss: str = "mse",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Task:
    """Return random sequences to sort.

    The network reads a sequence and then its own sorted form but for the last letter,
    ``2·length − 1`` tokens in all; its outputs at the last ``length`` positions are to be the
    sorted sequence, one letter at a time. The outputs at the other positions do not count.

    Parameters
    ----------
    examples : int
        Number of sequences.
    length : int
        Letters in a sequence, ≥ 2; 8 in the paper.
    alphabet : int
        Number of letters, ≥ 2; 4 in the paper.
    loss : {"mse", "cross-entropy"}
        See :mod:`flows.tasks.losses`; averaged over examples and positions.
    seed : int
        Of the sequences.
    dtype, device
        Of the tensors that hold real numbers.

    Returns
    -------
    Task
        Integer inputs of shape (examples, 2·length − 1).

    Raises
    ------
    InvalidArgumentError
        If an option is out of range.

    References
    ----------
    Cohen, Damian et al. (2024), appendix on experimental details; the task is that of Karpathy's
    minGPT demonstration.

    Examples
    --------
    >>> from flows.tasks.sorting import sorting
    >>> task = sorting(examples=1, length=3, alphabet=4, loss="cross-entropy")
    >>> task.inputs, task.targets
    (tensor([[3, 2, 2, 2, 2]]), tensor([[2, 2, 3]]))
    """
    check_integer("examples", examples, 1)
    check_integer("length", length, 2)
    check_integer("alphabet", alphabet, 2)
    loss_function = on_last_positions(check_loss(loss), length)
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    sequences = rng.integers(0, alphabet, size=(examples, length))
    solutions = np.sort(sequences, axis=1)
    tokens = np.concatenate([sequences, solutions[:, :-1]], axis=1)
    return Task(
        name="sorting",
        description=f"sorting: {examples} sequences, length {length}, alphabet {alphabet}, {loss}",
        inputs=torch.as_tensor(tokens, device=device),
        targets=as_targets(solutions, alphabet, loss, dtype, device),
        loss=loss_function,
        outputs=alphabet,
        dtype=dtype,
        alphabet=alphabet,
    )
