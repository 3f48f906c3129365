"""Calls from kernel to machine code by name.

A name is registered with the code generator for an address in this process; compiled kernels store
the name only, so they can be cached. Foreign routines are reached this way (`ccpsolve._lapack`),
and so are our large kernels: Numba compiles a copy of every called function into each caller, so
that a chain of ten functions holds its first one ten times. A call by name stops that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
from numba import config, types

from ccpsolve._kernel_cache import source_digest
from ccpsolve._numba import jit

__all__ = ["exported", "link"]

_logger = logging.getLogger(__name__)


def link(name: str, address: int, signature: Any) -> Any:
    """Make the code at an address callable from compiled functions.

    Parameters
    ----------
    name : str
        Unique among all linked functions.
    address : int
        Of a C function that stays alive as long as the process.
    signature : numba signature
        Of C types only: pointers and scalars.

    Returns
    -------
    numba.types.ExternalFunction
        To be called from compiled functions; it cannot be called from Python.

    Examples
    --------
    >>> import ctypes, ctypes.util
    >>> from numba import types
    >>> from ccpsolve._numba import jit
    >>> libm = ctypes.CDLL(ctypes.util.find_library("m"))
    >>> address = ctypes.cast(libm.floor, ctypes.c_void_p).value
    >>> floor = link("floor", address, types.float64(types.float64))
    >>> jit(lambda: floor(2.5))()
    2.0
    """
    symbol = f"ccpsolve_{name}"
    llvm.add_symbol(symbol, address)
    return types.ExternalFunction(symbol, signature)


def exported(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a kernel now (or load it from the cache) and let others call it by name.

    Parameters
    ----------
    signature : numba signature
        Of C types only: pointers and scalars.

    Returns
    -------
    callable
        A decorator; the decorated function is called from compiled functions.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        kernel = jit(function, named=True)
        if config.DISABLE_JIT:  # type: ignore[attr-defined]
            return kernel
        kernel.compile(signature.args)
        try:
            compiled = kernel.get_compile_result(signature)
            address = compiled.library.get_pointer_to_function(
                compiled.fndesc.llvm_cfunc_wrapper_name
            )
        except AttributeError:
            _logger.debug(
                "this Numba hides its machine code: %s is compiled into callers", function
            )
            return kernel
        _alive.append(kernel)
        # callers hold the name: with the source and the signature in it, a caller compiled for
        # others cannot be linked to this code
        version = f"{source_digest(function)}.{signature}"
        return link(f"{function.__module__}.{function.__qualname__}.{version}", address, signature)

    return decorate


_alive: list[Any] = []  # machine code goes with the objects that own it
