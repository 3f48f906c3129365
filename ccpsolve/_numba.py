"""The one decorator that compiles a kernel.

Compiled code is cached on disk, so only the first process pays for the compilation. Numba looks for
a writable place next to the source, then in the user's cache folder; where neither can be written
(a read-only installation without a home) it refuses. Here such a kernel is compiled in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba

__all__ = ["jit"]

_logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "nogil": True,  # batches run kernels in several Python threads
    "error_model": "numpy",  # a division by zero gives inf or NaN, which the solvers test for
}

# contraction (fused multiply-add) and reassociation let sums be vectorised; NaN and inf stay
_FAST = {"contract", "reassoc"}


def jit(function: F | None = None, *, fast: bool = True) -> Any:
    """Compile a function with Numba, cached on disk where that is possible.

    Parameters
    ----------
    function : callable, optional
        The function; without it a decorator is returned.
    fast : bool
        Allow sums to be reordered and products to be fused; switch off where a rounding error is
        computed.

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
        return lambda decorated: jit(decorated, fast=fast)
    options = dict(_OPTIONS, fastmath=_FAST) if fast else _OPTIONS
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # numba: "no locator available for file"
        if "locator" not in str(error):
            raise
        _logger.info("no writable cache folder for %s: compiled in memory", function.__module__)
        return numba.njit(**options)(function)
