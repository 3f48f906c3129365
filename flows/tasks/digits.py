"""Handwritten digits, 8×8 grey pixels, embedded in scikit-learn."""

from __future__ import annotations

import torch

from flows.tasks._labels import as_targets, balanced, check_loss, with_noise
from flows.tasks._task import Task


def digits(
    *,
    examples: int = 500,
    classes: int = 10,
    label_noise: float = 0.0,
    loss: str = "mse",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Task:
    """Return handwritten digits to classify: real images that need no download.

    Pixels are standardised by the mean and standard deviation of all 1,797 images.

    Parameters
    ----------
    examples : int
        Number of images, equally many of each class, the first ones of the data set.
    classes : int
        The digits 0..``classes``−1 are used; 2..10.
    label_noise : float
        Fraction of the labels replaced by a different one at random, in 0..1. Memorising them
        sharpens the loss, so that training reaches the edge of stability sooner.
    loss : {"mse", "cross-entropy"}
        See :mod:`flows.tasks.losses`.
    seed : int
        Of the label noise.
    dtype, device
        Of the tensors.

    Returns
    -------
    Task
        Inputs of shape (examples, 1, 8, 8).

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or asks for more images than there are.

    Examples
    --------
    >>> from flows.tasks.digits import digits
    >>> digits(examples=20, classes=4, label_noise=0.1).description
    'digits: 20 examples, 4 classes, mse, 10% label noise'
    """
    from sklearn.datasets import load_digits

    loss_function = check_loss(loss)
    images, labels = load_digits(return_X_y=True)
    chosen = balanced(labels, examples, classes)
    pixels = (images[chosen] - images.mean()) / images.std()
    noisy = with_noise(labels[chosen], classes, label_noise, seed)
    noise = f", {100 * label_noise:g}% label noise" if label_noise else ""
    return Task(
        name="digits",
        description=f"digits: {examples} examples, {classes} classes, {loss}{noise}",
        inputs=torch.as_tensor(pixels, dtype=dtype, device=device).reshape(-1, 1, 8, 8),
        targets=as_targets(noisy, classes, loss, dtype, device),
        loss=loss_function,
        outputs=classes,
        dtype=dtype,
    )
