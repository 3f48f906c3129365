"""Problems as files: NumPy .npz or JSON, exact to the bit, never pickle, never half-written."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ccpsolve._errors import InvalidProblemError
from ccpsolve._problem import ConeComplementarityProblem

__all__ = ["load_problem", "save_problem"]

_FORMAT = "ccpsolve.ConeComplementarityProblem/1"


def save_problem(problem: ConeComplementarityProblem, path: str | Path) -> None:
    """Write ``problem`` to ``path`` (.npz or .json), atomically.

    Parameters
    ----------
    problem : ConeComplementarityProblem
        What to write.
    path : str or Path
        Where; the ending chooses the format.

    Raises
    ------
    InvalidProblemError
        If the ending is neither ``.npz`` nor ``.json``.

    Examples
    --------
    >>> import numpy as np, tempfile, pathlib
    >>> import ccpsolve
    >>> problem = ccpsolve.ConeComplementarityProblem([[0.1]], [[2.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     problem.save(pathlib.Path(folder) / "case.json")
    ...     ccpsolve.ConeComplementarityProblem.load(pathlib.Path(folder) / "case.json").alpha
    array([[0.1]])
    """
    path = Path(path)
    if path.suffix == ".npz":
        _write_atomically(
            path,
            lambda file: np.savez(file, format=_FORMAT, alpha=problem.alpha, beta=problem.beta),
        )
    elif path.suffix == ".json":
        content = {
            "format": _FORMAT,
            "k": problem.k,
            "alpha": problem.alpha.tolist(),
            "beta": problem.beta.tolist(),
        }
        _write_atomically(path, lambda file: file.write(json.dumps(content).encode()))
    else:
        raise InvalidProblemError(f"path ends in {path.suffix!r}; '.npz' or '.json' is needed")


def load_problem(path: str | Path) -> ConeComplementarityProblem:
    """Read a problem from a .npz or .json file written by `save_problem`.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    ConeComplementarityProblem
        Validated anew, so a damaged or edited file cannot bring in NaN or wrong shapes.

    Raises
    ------
    InvalidProblemError
        If the file is no problem file.
    """
    path = Path(path)
    try:
        content = _read_npz(path) if path.suffix == ".npz" else json.loads(path.read_text())
        found, alpha, beta = content["format"], content["alpha"], content["beta"]
        k = len(alpha)
    except (KeyError, TypeError, ValueError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise InvalidProblemError(f"{path} does not hold a problem: {error}") from error
    if str(found) != _FORMAT:
        raise InvalidProblemError(f"{path} has format {str(found)!r}; {_FORMAT!r} is needed")
    n = k * (k + 1) // 2
    return ConeComplementarityProblem(_shaped(alpha, (k, k)), _shaped(beta, (n, n)))


def _shaped(value: object, shape: tuple[int, int]) -> np.ndarray:
    """Return numbers as an array; a matrix without entries lost its shape in JSON."""
    array = np.asarray(value)
    return np.zeros(shape) if array.size == 0 else array


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write through a temporary file in the same folder, synced and then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
