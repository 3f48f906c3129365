"""The decorators that compile kernels.

Compiled code is cached on disk, so only the first process pays for the compilation. Numba looks for
a writable place next to the source, then in the user's cache folder; where neither can be written
(a read-only installation without a home) it refuses. Here such a kernel is compiled in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import numba

__all__ = ["inline", "jit"]

_logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final[dict[str, Any]] = {
    "nogil": True,  # batches run kernels in several Python threads
    "error_model": "numpy",  # a division by zero gives inf or NaN, which the solvers test for
}

# contraction (fused multiply-add) and reassociation let sums be vectorised; NaN and inf stay
_FAST = {"contract", "reassoc"}


Stamp = frozenset[tuple[str, int, int]]
_stamps: dict[str, Stamp] = {}  # by module: name, time of change and size of its kernel sources


def _stamp(function: Callable[..., Any]) -> Stamp:
    """Describe the file of a kernel and, recursively, the files of the kernels it may call."""
    path = Path(function.__code__.co_filename)
    stamp: Stamp = frozenset()
    if path.exists():  # not so for functions typed in
        state = path.stat()
        stamp = frozenset({(path.name, state.st_mtime_ns, state.st_size)})
    for value in function.__globals__.values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
        stamp |= _stamps.get(name, frozenset())
    _stamps[function.__module__] = stamp
    return stamp


def _expire_with_callees(dispatcher: Any) -> None:
    """Make a cached kernel expire when the file of a kernel that it calls changes.

    Numba compares a kernel with its own file only, although the functions it calls were compiled
    into it: an edit of one of those would silently have no effect.
    """
    cache_file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if not hasattr(cache_file, "_source_stamp"):
        _logger.debug("this Numba hides its cache: delete __pycache__ after editing a kernel")
        return
    cache_file._source_stamp = sorted(_stamp(dispatcher.py_func))


def jit(function: F | None = None, *, fast: bool = True, internal: bool = False) -> Any:
    """Compile a function with Numba, cached on disk where that is possible.

    Parameters
    ----------
    function : callable, optional
        The function; without it a decorator is returned.
    fast : bool
        Allow sums to be reordered and products to be fused; switch off where a rounding error is
        computed.
    internal : bool
        The function is called from compiled code only. That saves a fifth of its compilation.

    Returns
    -------
    callable
        The compiled function (a Numba dispatcher).

    Examples
    --------
    >>> @jit
    ... def total(values):
    ...     result = 0.0
    ...     for value in values:
    ...         result += value
    ...     return result
    >>> import numpy as np
    >>> total(np.ones(3))
    3.0
    """
    if function is None:
        return lambda decorated: jit(decorated, fast=fast, internal=internal)
    options = dict(_OPTIONS, fastmath=_FAST if fast else False)
    if internal:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # numba: "no locator available for file"
        if "locator" not in str(error):
            raise
        _logger.info("no writable cache folder for %s: compiled in memory", function.__module__)
        return numba.njit(**options)(function)
    _expire_with_callees(dispatcher)
    return dispatcher


def inline(function: F) -> Any:
    """Compile a function into each of its callers, for helpers with a single one.

    Parameters
    ----------
    function : callable
        The function; options such as ``fast`` are those of the caller.

    Returns
    -------
    callable
        The function, for use in compiled functions.

    Examples
    --------
    >>> @inline
    ... def square(x):
    ...     return x * x
    >>> jit(lambda x: square(x) + 1.0)(3.0)
    10.0
    """
    compiled = numba.njit(inline="always", **_OPTIONS)(function)
    _stamp(function)
    return compiled
