"""The disk cache of compiled kernels: one file for each kernel, source and signature.

Numba keeps, for each function, an index of numbered data files, and compares a function with its
own source file only. Two things go wrong with that. An edit of a called kernel, which is compiled
into its callers, has no effect on them. And where processes compile at the same time, from
different states of the source or for different signatures, one may write the index and the other
the data file of the same number: machine code is then found under a name that is not its own, and
calling it ends in a segmentation fault. Here the name of a file is a digest of all that the code
depends on, and its content repeats the key: what is found is what was asked for.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

try:
    from numba.core.caching import IndexDataCacheFile
except ImportError:  # private, and may move: Numba's own cache is used then
    IndexDataCacheFile = None  # type: ignore[assignment, misc]

__all__ = ["keep_by_content", "source_digest"]

_logger = logging.getLogger(__name__)

_DIGITS = 16  # hexadecimal, of a digest in a file or symbol name


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


@cache
def _content(path: Path) -> str:
    """Return name and digest of a source file; nothing for functions typed in."""
    return f"{path.name} {_digest(path.read_bytes())}" if path.exists() else ""


Stamp = frozenset[str]
_stamps: dict[str, Stamp] = {  # by module: what the code of its kernels depends on
    f"ccpsolve.{name}": frozenset({_content(Path(__file__).with_name(f"{name}.py"))})
    for name in ("_numba", "_linking", "_view")
}


def _dependencies(function: Callable[..., Any]) -> Iterator[Any]:
    yield from function.__globals__.items()
    for cell in function.__closure__ or ():
        yield "", cell.cell_contents


def _stamp(function: Callable[..., Any]) -> Stamp:
    """Describe the file of a kernel, its global numbers and, recursively, what it may call."""
    stamp = {_content(Path(function.__code__.co_filename))}
    for name, value in _dependencies(function):
        if isinstance(value, (int, float)):
            stamp.add(f"{name}={value!r}")  # compiled in, wherever it was imported from
        module = value.__name__ if isinstance(value, ModuleType) else _home(value)
        stamp |= _stamps.get(module, frozenset())
        symbol = getattr(value, "symbol", None)  # of a kernel called by name
        if isinstance(symbol, str):
            stamp.add(symbol)
    _stamps[function.__module__] = frozenset(stamp)
    return _stamps[function.__module__]


def _home(value: Any) -> str:
    module = getattr(value, "__module__", "")
    return module if isinstance(module, str) else ""


def source_digest(function: Callable[..., Any]) -> str:
    """Return a digest of the sources that a kernel is compiled from, those it calls included.

    Parameters
    ----------
    function : callable
        A Python function, decorated after all that it calls.

    Returns
    -------
    str
        Hexadecimal digits.

    Examples
    --------
    >>> from ccpsolve._kernel_cache import source_digest
    >>> len(source_digest(lambda x: x))
    16
    """
    return _digest("\n".join(sorted(_stamp(function))).encode())


def keep_by_content(dispatcher: Any) -> None:
    """Let a dispatcher keep its code in files named by what the code depends on.

    Parameters
    ----------
    dispatcher : numba dispatcher
        Just made, with ``cache=True``.
    """
    digest = source_digest(dispatcher.py_func)
    kept: Any = getattr(dispatcher, "_cache", None)
    if IndexDataCacheFile is None or not hasattr(kept, "_cache_file"):
        _logger.debug("this Numba hides its cache: delete __pycache__ after editing a kernel")
        return
    kept._cache_file = _CacheFile(kept._cache_path, kept._impl.filename_base, digest)


if IndexDataCacheFile is not None:

    class _CacheFile(IndexDataCacheFile):
        """The files of one kernel; writing whole files under their name at once is inherited."""

        def __init__(self, folder: str, kernel: str, source: str) -> None:
            super().__init__(folder, kernel, source)
            self._kernel = kernel

        def _name(self, key: Any) -> str:
            digest = _digest(repr((numba.__version__, self._source_stamp, key)).encode())
            return f"{self._kernel}.{digest}.nbc"

        def load(self, key: Any) -> Any:
            """Return the code saved under a key, or None."""
            try:
                data = Path(self._data_path(self._name(key))).read_bytes()
            except OSError:
                return None
            found, code = pickle.loads(data)
            return code if found == key else None

        def save(self, key: Any, data: Any) -> None:
            """Write code under its key."""
            self._save_data(self._name(key), (key, data))

        def flush(self) -> None:
            """Leave the files alone: nothing in them is ever out of date."""
