"""The decorators that compile kernels.

Compiled code is cached on disk, so only the first process pays for the compilation. Numba looks for
a writable place next to the source, then in the user's cache folder; where neither can be written
(a read-only installation without a home) it refuses. Here such a kernel is compiled in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba
from numba import config

from ccpsolve._kernel_cache import keep_by_content, source_digest
from ccpsolve._linked_only import LINKED_ONLY

__all__ = ["inline", "jit"]

_logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final[dict[str, Any]] = {
    "nogil": True,  # batches run kernels in several Python threads
    "error_model": "numpy",  # a division by zero gives inf or NaN, which the solvers test for
}

# contraction (fused multiply-add) and reassociation let sums be vectorised; NaN and inf stay
_FAST = {"contract", "reassoc"}


class _Internal(numba.core.registry.CPUDispatcher):
    """A kernel without the code for calls from Python, where one would be a call of nothing."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        name = f"{self.py_func.__module__}.{self.py_func.__qualname__}"
        raise TypeError(f"{name} is compiled for calls from kernels; wrap it in one")


def jit(
    function: F | None = None,
    *,
    fast: bool = True,
    internal: bool = False,
    named: bool = False,
    allocates: bool = False,
) -> Any:
    """Compile a function with Numba, cached on disk where that is possible.

    Parameters
    ----------
    function : callable, optional
        The function; without it a decorator is returned.
    fast : bool
        Allow sums to be reordered and products to be fused; switch off where a rounding error is
        computed.
    internal : bool
        The function is called from compiled code only, which holds a copy; calls from Python raise
        TypeError, and there is nothing to cache.
    named : bool
        The function is called from compiled code by name only (`ccpsolve._linking.exported`): it
        keeps an entry for C, and needs none for Python either.
    allocates : bool
        The function makes arrays. No other counts references, which takes as long as the
        arithmetic of a small problem: it sees memory that its caller holds. (What such a function
        returns a view of would be freed by a caller that does count.)

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
        return lambda decorated: jit(
            decorated, fast=fast, internal=internal, named=named, allocates=allocates
        )
    # With NUMBA_DISABLE_JIT=1 kernels stay plain Python functions.
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function
    options = dict(_OPTIONS, fastmath=_FAST if fast else False)
    options |= {"no_cpython_wrapper": internal or named, "no_cfunc_wrapper": internal}
    options["_nrt"] = allocates
    if internal and LINKED_ONLY is not None:
        source_digest(function)  # its callers depend on it
        helper = numba.njit(pipeline_class=LINKED_ONLY, **options)(function)
        helper.__class__ = _Internal
        return helper
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # numba: "no locator available for file"
        if "locator" not in str(error):
            raise
        _logger.info("no writable cache folder for %s: compiled in memory", function.__module__)
        return numba.njit(**options)(function)
    keep_by_content(dispatcher)
    if internal or named:
        dispatcher.__class__ = _Internal
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
    source_digest(function)  # its callers depend on it
    return compiled
