"""Run folders: atomic writes, refusal to overwrite, and loading."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from safetensors.numpy import load_file, save_file

from flows._arguments import check_instance
from flows._errors import FlowsError

RESULTS = "run.nc"
WEIGHTS = "weights.safetensors"


class StorageError(FlowsError):
    """A run folder cannot be read or written."""


def prepare(out: str | Path, *, overwrite: bool) -> Path:
    """Make a run folder and check that it can be written, before any work is done.

    Raises
    ------
    StorageError
        If the folder cannot be made or written, or holds a run and ``overwrite`` is False.
    """
    check_instance("out", out, (str, Path), "a path")
    folder = Path(out)
    try:
        if (folder / RESULTS).exists() and not overwrite:
            raise StorageError(f"out: {folder} already holds a run; choose another or overwrite")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"out: cannot write to {folder}: {reason}") from error
    return folder


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, flush it to disk and move it to ``path``."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def save(folder: Path, dataset: xr.Dataset, weights: dict[str, np.ndarray]) -> None:
    """Write the results, and the saved weights if there are any."""
    if weights:
        write_atomically(folder / WEIGHTS, lambda path: save_file(weights, path))
    else:
        (folder / WEIGHTS).unlink(missing_ok=True)
    write_atomically(folder / RESULTS, lambda path: dataset.to_netcdf(path, engine="h5netcdf"))


def read(path: str | Path) -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    """Read the results and the saved weights of a run folder."""
    folder = Path(path)
    file = folder / RESULTS
    if not file.is_file():
        raise StorageError(f"path: {folder} holds no run ({RESULTS} is missing)")
    try:
        with xr.open_dataset(file, engine="h5netcdf") as opened:
            dataset = opened.load()
    except (OSError, ValueError) as error:
        raise StorageError(f"path: {file} is not a readable run: {error}") from error
    saved = folder / WEIGHTS
    return dataset, dict(load_file(saved)) if saved.is_file() else {}
