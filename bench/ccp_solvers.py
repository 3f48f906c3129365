"""The solvers of the CCP benchmark, each as a function of the problem that returns a timed call.

An adapter takes a `Case` and does everything that a user could do once (allocate, compile a model
of this order); the call it returns takes the problem's data from scratch to X. Warm adapters start
from the solution, or from the workspace, of a problem with α changed by 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse

import ccpsolve
from ccpsolve._certificate_kernel import FIELDS, certificate_kernel
from ccpsolve._certificate_work import certificate_work_sizes
from ccpsolve._known_problems import KnownProblem
from ccpsolve._numba import jit
from ccpsolve._solver import conic
from ccpsolve._solver.driver import allocate, solve_with_buffers
from ccpsolve._symmetric import svec_basis

__all__ = ["COMPILED", "PYTHON", "Case", "CompiledCall", "PythonCall"]

_TOLERANCE = 1e-12  # asked of SCS and Clarabel: the study found no gain below
_PUBLISHED_TOLERANCE = 1e-11  # absolute tolerance of CVXOPT in the published code
_NEIGHBOUR = 1e-3  # relative change of α in warm starts


@dataclass(frozen=True, eq=False)
class Case:
    """One problem of the benchmark, its known solution, and a neighbour to start from."""

    family: str
    known: KnownProblem
    neighbour: ccpsolve.ConeComplementarityProblem

    @classmethod
    def make(cls, family: str, known: KnownProblem, seed: int) -> Case:
        """Add a neighbour whose α differs by 1e-3, entry by entry."""
        problem = known.problem
        noise = np.random.default_rng(seed).standard_normal(problem.alpha.shape)
        alpha = problem.alpha * (1.0 + _NEIGHBOUR * (noise + noise.T))
        neighbour = ccpsolve.ConeComplementarityProblem(alpha, problem.beta)
        return cls(family, known, neighbour)


PythonCall = Callable[[], Any]
"""Returns X, or None where the solver gave up."""

CompiledCall = Callable[[int], Any]
"""Solves as many times as told in one compiled loop, and returns the last X."""


@jit
def _repeat(
    alpha: Any, beta: Any, symmetric: bool, warm: bool, start: Any, X: Any, work: Any, count: int
) -> None:
    buffer, integers = work
    for _ in range(count):
        for i in range(X.shape[0]):
            for j in range(X.shape[0]):
                X[i, j] = start[i, j]
        solve_with_buffers(alpha, beta, symmetric, warm, X, buffer, integers)


def _kernel(case: Case, warm: bool) -> CompiledCall:
    problem = case.known.problem
    start = np.zeros_like(problem.alpha)
    if warm:
        start = ccpsolve.solve_ccp(case.neighbour.alpha, problem.beta, throw=False).X
    X, work = np.zeros_like(problem.alpha), allocate(problem.k)

    def call(count: int) -> Any:
        data = (problem.alpha, problem.beta, problem.symmetric)
        _repeat(*data, warm, start, X, work, count)
        return X

    return call


@jit
def _repeat_certificate(
    alpha: Any, beta: Any, symmetric: bool, X: Any, work: Any, out: Any, count: int
) -> None:
    buffer, integers = work
    for _ in range(count):
        certificate_kernel(alpha, beta, symmetric, X, buffer, integers, out)


def _certificate(case: Case) -> CompiledCall:
    """Certify a solution, both norms and all residuals: what a solve pays for it."""
    problem, X = case.known.problem, 0.5 * (case.known.X + case.known.X.T)
    if not np.isfinite(case.known.rounding):  # nothing, or only one of many solutions, is known
        X = ccpsolve.solve_ccp(problem.alpha, problem.beta, throw=False).X
    floats, integers = certificate_work_sizes(problem.k)
    work, out = (np.empty(floats), np.empty(integers, np.int32)), np.empty(FIELDS)

    def call(count: int) -> Any:
        data = (problem.alpha, problem.beta, problem.symmetric)
        _repeat_certificate(*data, X, work, out, count)
        return X

    return call


def _solve_ccp(case: Case) -> PythonCall:
    problem = case.known.problem
    return lambda: ccpsolve.solve_ccp(problem.alpha, problem.beta, throw=False).X


def _ccp_solver(case: Case) -> PythonCall:
    problem = case.known.problem
    solver = ccpsolve.CCPSolver(problem.k)
    return lambda: solver.solve(problem.alpha, problem.beta).X


@cache
def _published_model(k: int) -> Any:
    """Return the published flow's model: ``min ½‖Lᵀvec(X)‖² − ⟨α, X⟩``, parameters L and α."""
    import cvxpy

    alpha = cvxpy.Parameter((k, k), symmetric=True, name="alpha")
    factor = cvxpy.Parameter((k * k, k * k), name="factor")
    X = cvxpy.Variable((k, k), PSD=True, name="X")
    square = cvxpy.sum_squares(factor.T @ cvxpy.vec(X, order="F"))
    linear = cvxpy.sum(cvxpy.multiply(alpha, X))
    return cvxpy.Problem(cvxpy.Minimize(0.5 * square - linear))


def _cvxpy(case: Case, solver: str, **options: float) -> PythonCall | None:
    """Do as the published flow code does: scale β to unit variance, take its root, solve."""
    import cvxpy

    problem, k = case.known.problem, case.known.problem.k
    if not problem.symmetric:  # the model has no room for the skew part
        return None
    model = _published_model(k)
    basis = svec_basis(k).reshape(problem.n, k * k)

    def call() -> Any:
        beta = basis.T @ problem.beta @ basis
        unit = np.sqrt(np.mean(beta**2))
        values, vectors = np.linalg.eigh(0.5 * (beta + beta.T) / unit)
        model.param_dict["alpha"].value = problem.alpha
        model.param_dict["factor"].value = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        try:
            model.solve(solver=solver, **options)
        except (cvxpy.error.SolverError, ValueError, ArithmeticError):
            return None
        X = model.var_dict["X"].value
        return None if X is None else X / unit

    return call


def _scs_solver(problem: ccpsolve.ConeComplementarityProblem) -> tuple[Any, float]:
    import scs

    scaled, unit = conic.normalised(problem)
    program = conic.conic_program(scaled)
    data = {
        "P": sparse.triu(program.P, format="csc"),
        "A": program.A,
        "b": program.b,
        "c": program.q,
    }
    options = {"eps_abs": _TOLERANCE, "eps_rel": _TOLERANCE, "max_iters": 20_000, "verbose": False}
    return scs.SCS(data, {"s": [problem.k] * program.cones}, **options), unit


def _scs(case: Case) -> PythonCall:
    def call() -> Any:
        solver, unit = _scs_solver(case.known.problem)
        return unit * ccpsolve.smat(solver.solve()["x"])

    return call


def _scs_warm(case: Case) -> PythonCall:
    """Reuse the factorisation and the last iterates; only α changes."""
    solver, unit = _scs_solver(case.neighbour)
    scale = np.linalg.norm(case.neighbour.alpha) or 1.0
    start = solver.solve()
    alpha = ccpsolve.svec(case.known.problem.alpha) / scale
    zeros = np.zeros(start["s"].size - alpha.size)

    def call() -> Any:
        solver.update(b=np.concatenate([np.zeros_like(alpha), -alpha[: zeros.size]]), c=-alpha)
        found = solver.solve(warm_start=True, x=start["x"], y=start["y"], s=start["s"])
        return unit * ccpsolve.smat(found["x"])

    return call


def _clarabel(case: Case) -> PythonCall:
    def call() -> Any:
        scaled, unit = conic.normalised(case.known.problem)
        X, _ = conic.BACKENDS["clarabel"](scaled, _TOLERANCE)
        return None if X is None else unit * X

    return call


def _batch(case: Case) -> CompiledCall:
    problem = case.known.problem

    def call(count: int) -> Any:
        alphas = np.broadcast_to(problem.alpha, (count, *problem.alpha.shape))
        betas = np.broadcast_to(problem.beta, (count, *problem.beta.shape))
        return ccpsolve.solve_ccp_batch(alphas, betas).X[-1]

    return call


COMPILED: dict[str, Callable[[Case], CompiledCall]] = {
    "ours, kernel, cold": lambda case: _kernel(case, warm=False),
    "ours, kernel, warm": lambda case: _kernel(case, warm=True),
    "ours, batch": _batch,
    "ours, certificate": _certificate,
}

PYTHON: dict[str, Callable[[Case], PythonCall | None]] = {
    "ours, solve_ccp": _solve_ccp,
    "ours, CCPSolver": _ccp_solver,
    "cvxpy + CVXOPT (published)": lambda case: _cvxpy(case, "CVXOPT", abstol=_PUBLISHED_TOLERANCE),
    "cvxpy + SCS": lambda case: _cvxpy(case, "SCS"),
    "cvxpy + Clarabel": lambda case: _cvxpy(case, "CLARABEL"),
    "SCS, direct": _scs,
    "SCS, workspace reused": _scs_warm,
    "Clarabel, direct": _clarabel,
}
