"""Certified solutions of small cone complementarity problems.

Find X ∈ Sym_k with X ⪰ 0, S := β[X] − α ⪰ 0 and ⟨X, S⟩ = 0. Start with :func:`solve_ccp`.

Names are imported when first used: ``import ccpsolve`` loads none of the numerical libraries,
``from ccpsolve import solve_ccp`` loads them and the compiled kernels, in about half a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccpsolve._batch import BatchSolution, solve_ccp_batch
    from ccpsolve._certificate import Certificate, certify_ccp
    from ccpsolve._errors import (
        CCPError,
        InvalidProblemError,
        MissingBackendError,
        NotDifferentiableError,
        SolveError,
        VerificationError,
    )
    from ccpsolve._problem import ConeComplementarityProblem
    from ccpsolve._solution import Solution
    from ccpsolve._solve import CCPSolver, solve_ccp
    from ccpsolve._status import Status
    from ccpsolve._symmetric import smat, svec
    from ccpsolve._tangent import TangentProjection, project_tangent_cone
    from ccpsolve.stationary import stationary_preconditioner

_HOME = {
    "BatchSolution": "_batch",
    "CCPError": "_errors",
    "CCPSolver": "_solve",
    "Certificate": "_certificate",
    "ConeComplementarityProblem": "_problem",
    "InvalidProblemError": "_errors",
    "MissingBackendError": "_errors",
    "NotDifferentiableError": "_errors",
    "Solution": "_solution",
    "SolveError": "_errors",
    "Status": "_status",
    "TangentProjection": "_tangent",
    "VerificationError": "_errors",
    "certify_ccp": "_certificate",
    "project_tangent_cone": "_tangent",
    "smat": "_symmetric",
    "solve_ccp": "_solve",
    "solve_ccp_batch": "_batch",
    "stationary_preconditioner": "stationary",
    "svec": "_symmetric",
}
_SUBPACKAGES = ("dvi", "stationary", "testing")

__all__ = [
    "BatchSolution",
    "CCPError",
    "CCPSolver",
    "Certificate",
    "ConeComplementarityProblem",
    "InvalidProblemError",
    "MissingBackendError",
    "NotDifferentiableError",
    "Solution",
    "SolveError",
    "Status",
    "TangentProjection",
    "VerificationError",
    "certify_ccp",
    "project_tangent_cone",
    "smat",
    "solve_ccp",
    "solve_ccp_batch",
    "stationary_preconditioner",
    "svec",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"ccpsolve.{_HOME[name]}"), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f"ccpsolve.{name}")
    else:
        raise AttributeError(f"module 'ccpsolve' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})
