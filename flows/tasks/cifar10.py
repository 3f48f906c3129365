"""CIFAR-10: small colour images of ten kinds of things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flows.tasks._cifar10_files import download, read
from flows.tasks._labels import as_targets, balanced, check_loss, with_noise
from flows.tasks._task import Task

# Mean and standard deviation of the red, green and blue pixels of the 50,000 training images,
# as fractions of 255.
_MEAN = np.array([0.49139968, 0.48215827, 0.44653124])
_STD = np.array([0.24703233, 0.24348505, 0.26158768])


def cifar10(
    *,
    examples: int = 1000,
    classes: int = 10,
    label_noise: float = 0.0,
    loss: str = "mse",
    seed: int = 0,
    path: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Task:
    """Return training images of CIFAR-10 to classify, as in the paper.

    Pixels are standardised per colour by the mean and standard deviation of the training set.

    Parameters
    ----------
    examples : int
        Number of images, equally many of each class, the first ones of the training set.
    classes : int
        The first so many classes are used; 2..10 (4 in most experiments of the paper).
    label_noise : float
        Fraction of the labels replaced by a different one at random, in 0..1.
    loss : {"mse", "cross-entropy"}
        See :mod:`flows.tasks.losses`.
    seed : int
        Of the label noise.
    path : str or Path, optional
        A local copy: the binary archive ``cifar-10-binary.tar.gz``, or an ``.npz`` file with
        ``train_images`` (uint8, shape (N, 32, 32, 3)) and ``train_labels`` (N,). By default the
        archive is downloaded once (170 MB), checked and kept in the user's cache folder.
    dtype, device
        Of the tensors.

    Returns
    -------
    Task
        Inputs of shape (examples, 3, 32, 32).

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or the file is missing or not of one of the two forms.
    FlowsError
        If the download fails.

    References
    ----------
    Krizhevsky (2009), "Learning multiple layers of features from tiny images".

    Examples
    --------
    >>> from flows.tasks.cifar10 import cifar10
    >>> cifar10(examples=100, path="no_such.npz")
    Traceback (most recent call last):
      ...
    flows._errors.InvalidArgumentError: path must be an existing file, found no_such.npz
    """
    loss_function = check_loss(loss)
    images, labels = read(download() if path is None else Path(path))
    chosen = balanced(labels, examples, classes)
    pixels = (images[chosen] / 255.0 - _MEAN) / _STD
    noisy = with_noise(labels[chosen], classes, label_noise, seed)
    noise = f", {100 * label_noise:g}% label noise" if label_noise else ""
    return Task(
        name="cifar10",
        description=f"CIFAR-10: {examples} images, {classes} classes, {loss}{noise}",
        inputs=torch.as_tensor(
            np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), dtype=dtype, device=device
        ),
        targets=as_targets(noisy, classes, loss, dtype, device),
        loss=loss_function,
        outputs=classes,
        dtype=dtype,
    )
