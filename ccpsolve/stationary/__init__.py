"""The stationary preconditioner of RMSProp: a semidefinite program, solved and certified.

Start with :func:`stationary_preconditioner`.
"""

from ccpsolve.stationary._certificate import (
    Certificate,
    certify_exactly,
    certify_with_probability,
)
from ccpsolve.stationary._lanczos_bound import (
    EigenvalueBound,
    deflated_bound,
    largest_eigenvalue_bound,
)
from ccpsolve.stationary._problem import StationaryProblem
from ccpsolve.stationary._solution import StationaryPreconditioner
from ccpsolve.stationary._solve import stationary_preconditioner

__all__ = [
    "Certificate",
    "EigenvalueBound",
    "StationaryPreconditioner",
    "StationaryProblem",
    "certify_exactly",
    "certify_with_probability",
    "deflated_bound",
    "largest_eigenvalue_bound",
    "stationary_preconditioner",
]
