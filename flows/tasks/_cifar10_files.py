"""Where CIFAR-10 comes from: the binary archive (downloaded or local), or an .npz file.

The better known python version of the archive holds pickles, which can run any code when they are
loaded; the binary version holds the same images as plain bytes.
"""

from __future__ import annotations

import logging
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from flows._errors import FlowsError, InvalidArgumentError

_logger = logging.getLogger(__name__)

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_HASH = "md5:c32a1d4ab5d03f1284b67883e8d87530"
_BATCHES = tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6))
# One record: a label, then 32×32 red, green and blue bytes, row by row.
_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS


def download() -> Path:
    """Return the path of the archive in the user's cache, fetching it if need be."""
    import pooch

    _logger.info("CIFAR-10: looking for %s in the cache, or fetching it", _URL)
    try:
        return Path(pooch.retrieve(_URL, known_hash=_HASH, path=pooch.os_cache("ccpsolve")))
    except (OSError, ValueError) as error:
        raise FlowsError(
            f"CIFAR-10 could not be fetched from {_URL} ({error}); give path= of a local copy"
        ) from error


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the training images, shape (N, 32, 32, 3), pixels in 0..255, and labels (N,)."""
    if not path.is_file():
        raise InvalidArgumentError(f"path must be an existing file, found {path}")
    try:
        images, labels = _read_npz(path) if path.suffix == ".npz" else _read_archive(path)
    except (OSError, ValueError, KeyError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError(
            "path must be cifar-10-binary.tar.gz or an .npz file with train_images and "
            f"train_labels, found {path} ({error})"
        ) from error
    _check(images, labels, path)
    return images, labels.astype(np.int64)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["train_images"], arrays["train_labels"]


def _read_archive(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with tarfile.open(path, "r:gz") as archive:
        # Members are read, never unpacked: nothing is written where the archive says.
        streams = [archive.extractfile(name) for name in _BATCHES]
        batches = [np.frombuffer(s.read(), np.uint8) for s in streams if s is not None]
    records = np.concatenate(batches).reshape(-1, _RECORD)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, records[:, 0]


def _check(images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    if images.ndim != 4 or images.shape[1:] != (32, 32, 3) or labels.shape != images.shape[:1]:
        raise InvalidArgumentError(
            "path must hold images of shape (N, 32, 32, 3) and labels of shape (N,), found "
            f"{images.shape} and {labels.shape} in {path}"
        )
    if images.dtype.kind not in "uif" or labels.dtype.kind not in "ui":
        raise InvalidArgumentError(
            f"path must hold real images and whole-number labels, found {images.dtype} and "
            f"{labels.dtype} in {path}"
        )
    if not np.isin(labels, range(10)).all():
        raise InvalidArgumentError(
            f"path must hold labels in 0..9, found {labels.min()}..{labels.max()} in {path}"
        )
    low, high = np.nanmin(images), np.nanmax(images)
    if low < 0 or high > 255:
        raise InvalidArgumentError(
            f"path must hold pixels in 0..255, found {low:g}..{high:g} in {path}"
        )
