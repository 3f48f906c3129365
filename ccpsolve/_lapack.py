"""BLAS and LAPACK inside compiled kernels: the only module that knows how they are reached.

SciPy exports the Fortran routines of the library it was built with (``scipy.linalg.cython_blas``
and ``cython_lapack``). They are called by names of our own (`ccpsolve._linking`), which leaves
compiled kernels cacheable. Where SciPy has no such routine with 32-bit integers, the loops of
`ccpsolve._loops` get the same names.

All matrices are C-contiguous float64. LAPACK sees their transposes: a row-major lower triangle is
its upper one, and eigenvectors come back as *rows*.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from ccpsolve import _lapack_fallback, _loops
from ccpsolve._linking import link
from ccpsolve._numba import jit
from ccpsolve._view import view

__all__ = [
    "BACKEND",
    "cholesky_factor",
    "cholesky_solve",
    "eigh_rows",
    "eigh_workspace_sizes",
    "gemm",
    "gemv",
    "lapack_cholesky_factor",
    "lapack_cholesky_solve",
    "lapack_eigh_rows",
    "lu_factor",
    "lu_solve",
    "triangular_solve_rows",
]

Array = NDArray[np.float64]
Integers = NDArray[np.int32]

_logger = logging.getLogger(__name__)
_char, _int, _double = types.uint8, types.int32, types.float64
_pc, _pi, _pd = (types.CPointer(t) for t in (_char, _int, _double))

_SIGNATURES = {
    "dpotrf": (_pc, _pi, _pd, _pi, _pi),
    "dpotrs": (_pc, _pi, _pi, _pd, _pi, _pd, _pi, _pi),
    "dgetrf": (_pi, _pi, _pd, _pi, _pi, _pi),
    "dgetrs": (_pc, _pi, _pi, _pd, _pi, _pi, _pd, _pi, _pi),
    "dsyevd": (_pc, _pc, _pi, _pd, _pi, _pd, _pd, _pi, _pi, _pi, _pi),
    "dgemm": (_pc, _pc, _pi, _pi, _pi, _pd, _pd, _pi, _pd, _pi, _pd, _pd, _pi),
    "dtrsm": (_pc, _pc, _pc, _pc, _pi, _pi, _pd, _pd, _pi, _pd, _pi),
    "dgemv": (_pc, _pi, _pi, _pd, _pd, _pi, _pd, _pi, _pd, _pd, _pi),
}
_BLAS = ("dgemm", "dgemv", "dtrsm")
_L, _N, _T, _U, _V = (ord(letter) for letter in "LNTUV")


# --- how a routine is reached


def _capsule_name(capsule: Any) -> bytes:
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return bytes(name(capsule))


def _capsule_address(capsule: Any) -> int:
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(address(capsule, _capsule_name(capsule)))


def _scipy_addresses() -> dict[str, Any]:
    """Addresses of SciPy's Fortran routines; ImportError where one does not fit."""
    addresses = {}
    for routine in _SIGNATURES:
        module = "cython_blas" if routine in _BLAS else "cython_lapack"
        table = importlib.import_module(f"scipy.linalg.{module}").__pyx_capi__
        if routine not in table or b"int *" not in _capsule_name(table[routine]):
            raise ImportError(f"scipy.linalg.{module} has no {routine} with 32-bit integers")
        addresses[routine] = _capsule_address(table[routine])
    return addresses


_alive: list[Any] = []  # the fallback's machine code must outlive every kernel


def _loop_addresses() -> dict[str, Any]:
    addresses = {}
    for routine, arguments in _SIGNATURES.items():
        compiled = cfunc(types.void(*arguments))(getattr(_lapack_fallback, routine))
        _alive.append(compiled)
        addresses[routine] = compiled.address
    return addresses


def _find_routines() -> tuple[dict[str, Any], str]:
    try:
        addresses, backend = _scipy_addresses(), "scipy"
    except ImportError as error:
        _logger.warning("%s: compiled loops take its place, large problems are slower", error)
        addresses, backend = _loop_addresses(), "loops"
    routines = {
        name: link(name, address, types.void(*_SIGNATURES[name]))
        for name, address in addresses.items()
    }
    return routines, backend


_routines, BACKEND = _find_routines()
"""Where the routines come from: ``"scipy"``, or ``"loops"`` where SciPy's cannot be used."""


_dpotrf, _dpotrs = _routines["dpotrf"], _routines["dpotrs"]
_dgetrf, _dgetrs = _routines["dgetrf"], _routines["dgetrs"]
_dsyevd, _dgemm, _dgemv = _routines["dsyevd"], _routines["dgemm"], _routines["dgemv"]
_dtrsm = _routines["dtrsm"]


def _slot(element: types.Type) -> Callable[..., Any]:
    """Make the intrinsic that puts a scalar on the stack and returns its address, for Fortran."""

    @intrinsic
    def slot(_typing: Any, scalar: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = context.cast(builder, arguments[0], signature.args[0], element)
            return cgutils.alloca_once_value(builder, value)

        return types.CPointer(element)(scalar), generate

    return slot


_byte_slot, _int_slot, _double_slot = _slot(_char), _slot(_int), _slot(_double)


def _load_int(_typing: Any, pointer: Any) -> Any:
    """Read what a Fortran routine wrote to an integer slot."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(arguments[0])

    return types.int32(pointer), generate


_int_result: Any = intrinsic(_load_int)


# --- what the kernels call

# sizes up to which plain loops are faster than LAPACK
_LOOPS_CHOLESKY = 36
_LOOPS_EIGH = 24
_LOOPS_GEMM = 200  # products of the three sizes


@jit(internal=True)
def cholesky_factor(a: Array) -> bool:
    """Overwrite the lower triangle of ``a`` by L with A = L Lᵀ.

    Only the lower triangle is read; the strict upper one is left as it is. Returns False (with
    ``a`` partly overwritten) where A is not numerically positive definite or holds NaN.
    """
    if a.shape[0] <= _LOOPS_CHOLESKY:
        return _loops.cholesky_factor_loops(a)
    return lapack_cholesky_factor(a)


@jit(internal=True)
def lapack_cholesky_factor(a: Array) -> bool:
    """Do as `cholesky_factor`, by LAPACK at any size."""
    n = a.shape[0]
    info = _int_slot(0)
    size = _int_slot(n)
    _dpotrf(_byte_slot(_U), size, a.ctypes, size, info)
    return _int_result(info) == 0 and a[n - 1, n - 1] > 0.0


@jit(internal=True)
def cholesky_solve(factor: Array, b: Array) -> None:
    """Overwrite the vector ``b`` by A⁻¹ b, given the factor of :func:`cholesky_factor`."""
    if factor.shape[0] <= _LOOPS_CHOLESKY:
        _loops.cholesky_solve_loops(factor, b)
    else:
        lapack_cholesky_solve(factor, b)


@jit(internal=True)
def lapack_cholesky_solve(factor: Array, b: Array) -> None:
    """Do as `cholesky_solve`, by LAPACK at any size."""
    size = _int_slot(factor.shape[0])
    _dpotrs(_byte_slot(_U), size, _int_slot(1), factor.ctypes, size, b.ctypes, size, _int_slot(0))


@jit(internal=True)
def triangular_solve_rows(transposed: bool, factor: Array, b: Array) -> None:
    """Overwrite each row of ``b`` by L⁻¹, or L⁻ᵀ, times it; L as from :func:`cholesky_factor`."""
    size = _int_slot(factor.shape[0])
    _dtrsm(
        _byte_slot(_L), _byte_slot(_U), _byte_slot(_N if transposed else _T), _byte_slot(_N),
        size, _int_slot(b.shape[0]), _double_slot(1.0), factor.ctypes, size, b.ctypes, size,
    )  # fmt: skip


@jit(internal=True)
def lu_factor(a: Array, pivots: Integers) -> bool:
    """Overwrite ``a`` by LU factors of its transpose (n pivots); False where it is singular."""
    n = a.shape[0]
    info = _int_slot(0)
    size = _int_slot(n)
    _dgetrf(size, size, a.ctypes, size, pivots.ctypes, info)
    return _int_result(info) == 0


@jit(internal=True)
def lu_solve(factor: Array, pivots: Integers, b: Array) -> None:
    """Overwrite the vector ``b`` by A⁻¹ b, given the factors of :func:`lu_factor`."""
    size = _int_slot(factor.shape[0])
    _dgetrs(
        _byte_slot(_T),
        size,
        _int_slot(1),
        factor.ctypes,
        size,
        pivots.ctypes,
        b.ctypes,
        size,
        _int_slot(0),
    )


@jit
def eigh_workspace_sizes(k: int) -> tuple[int, int]:
    """Lengths of the two work arrays of :func:`eigh_rows`: float64 and int32."""
    return 1 + 6 * k + 2 * k * k, 3 + 5 * k


@jit(internal=True)
def eigh_rows(a: Array, values: Array, work: Array, iwork: Integers) -> bool:
    """Eigenvalues of the symmetric ``a`` in ascending order; its rows become the eigenvectors.

    Both triangles are read. Returns False where the iteration does not converge.
    """
    k = a.shape[0]
    if k <= _LOOPS_EIGH:
        rows = view(work[: k * k], (k, k))
        return _loops.eigh_rows_loops(a, values, rows, work[k * k : k * k + k])
    return lapack_eigh_rows(a, values, work, iwork)


@jit(internal=True)
def lapack_eigh_rows(a: Array, values: Array, work: Array, iwork: Integers) -> bool:
    """Do as `eigh_rows`, by LAPACK at any size."""
    info = _int_slot(0)
    size = _int_slot(a.shape[0])
    _dsyevd(
        _byte_slot(_V), _byte_slot(_U), size, a.ctypes, size, values.ctypes,
        work.ctypes, _int_slot(work.shape[0]), iwork.ctypes, _int_slot(iwork.shape[0]), info,
    )  # fmt: skip
    return _int_result(info) == 0


@jit(internal=True)
def gemm(
    transpose_a: bool, transpose_b: bool, scale: float, a: Array, b: Array, keep: float, c: Array
) -> None:
    """C ← scale·op(A)·op(B) + keep·C, op the transpose where the flag says so."""
    rows, columns = c.shape
    inner = a.shape[0] if transpose_a else a.shape[1]
    if rows * columns * inner <= _LOOPS_GEMM:
        _loops.gemm_loops(transpose_a, transpose_b, scale, a, b, keep, c)
        return
    # row-major C = A B is column-major Cᵀ = Bᵀ Aᵀ
    _dgemm(
        _byte_slot(_T if transpose_b else _N), _byte_slot(_T if transpose_a else _N),
        _int_slot(columns), _int_slot(rows), _int_slot(inner), _double_slot(scale),
        b.ctypes, _int_slot(b.shape[1]), a.ctypes, _int_slot(a.shape[1]),
        _double_slot(keep), c.ctypes, _int_slot(columns),
    )  # fmt: skip


@jit(internal=True)
def gemv(a: Array, x: Array, y: Array) -> None:
    """Product of a matrix and a vector: y ← A x."""
    one = _int_slot(1)
    inner = _int_slot(a.shape[1])
    _dgemv(
        _byte_slot(_T), inner, _int_slot(a.shape[0]), _double_slot(1.0), a.ctypes, inner,
        x.ctypes, one, _double_slot(0.0), y.ctypes, one,
    )  # fmt: skip
