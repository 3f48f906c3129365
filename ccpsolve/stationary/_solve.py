"""The public solve: choose a method, certify what it found, say how it ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from ccpsolve._arguments import as_generator, require_count, require_fraction
from ccpsolve._errors import InvalidProblemError
from ccpsolve._status import Status
from ccpsolve.stationary._candidate import Candidate
from ccpsolve.stationary._certificate import Certificate
from ccpsolve.stationary._certifier import Certifier
from ccpsolve.stationary._coordinate_ascent import solve_coordinate_ascent
from ccpsolve.stationary._fixed_point import default_rank, solve_fixed_point
from ccpsolve.stationary._interior_point import solve_interior_point
from ccpsolve.stationary._problem import StationaryProblem
from ccpsolve.stationary._semidefinite import is_feasible
from ccpsolve.stationary._solution import StationaryPreconditioner
from ccpsolve.stationary._subspace import solve_subspace

__all__ = ["stationary_preconditioner"]

Array = NDArray[np.float64]

_METHODS = ("auto", "interior_point", "subspace", "coordinate_ascent", "fixed_point")
_LARGEST_SPARSE_AS_DENSE = 1000
_FEW = 64  # so many products are fewer than a matrix-free method spends: all entries are taken
_LARGEST_EXACT = 6000  # up to here 2P − H is factorised when the entries of H are known
_ALMOST = 1e-5  # a gap that counts as almost solved when rounding stopped the method


def stationary_preconditioner(
    gradient: Any,
    hessian: Any,
    lr: float,
    *,
    rank: int | None = None,
    tol: float = 1e-8,
    gradient_term: bool = True,
    start: StationaryPreconditioner | Any | None = None,
    method: str = "auto",
    failure_probability: float = 1e-6,
    rng: np.random.Generator | int | None = None,
    max_iterations: int | None = None,
    max_products: int | None = None,
) -> StationaryPreconditioner:
    r"""Compute RMSProp's stationary preconditioner, with a certificate.

    .. math::
        \bar P = \arg\min_P\ \mathrm{tr}\,P + \|g\|^2_{P^{-1}}/\eta^2
        \quad\text{s.t.}\quad H \preceq 2P,\ P \text{ diagonal}, P \succeq 0

    Parameters
    ----------
    gradient : array_like, shape (d,)
        g.
    hessian : ndarray, scipy.sparse matrix, LinearOperator, or callable
        H, symmetric, or a map of blocks ``(d, m) -> (d, m)``.
    lr : float
        η.
    rank : int, optional
        Columns of the fixed-point iteration (default ⌈√(2d)⌉ + 1); other methods choose their own.
    tol : float
        Certified relative gap to reach.
    gradient_term : bool
        ``False`` drops ``‖g‖²`` (the alternative preconditioner of the paper's Fig. 9).
    start : StationaryPreconditioner or array_like, shape (d, r), optional
        Solution of a nearby problem, or its D.
    method : {"auto", "interior_point", "subspace", "coordinate_ascent", "fixed_point"}
        "interior_point" is the default where the entries of H are given (it spends d products
        where they are not, which is the default up to d = 64), "subspace" where only products are
        known: it suits spectra with few critical directions, as those of networks.
        "coordinate_ascent" suits sparse H with many, and is the default for sparse H with
        d > 1000. "fixed_point" is the published iteration.
    failure_probability : float
        ε of the bound on λ_max where H is known by products only, for the whole solve.
    rng : numpy.random.Generator or int, optional
        Source of random starts, or its seed (default: 0).
    max_iterations, max_products : int, optional
        Budgets. The matrix-free methods always end with a certificate, for which up to 26
        products and one per column of D may go beyond ``max_products``.

    Returns
    -------
    StationaryPreconditioner
        With ``.p, .nu, .D, .primal, .dual, .gap, .status, .message, .products``. A solve that falls
        short does not raise: look at ``.status.ok`` and ``.gap``.

    Raises
    ------
    InvalidProblemError
        Naming the argument, what was found and what is allowed.

    References
    ----------
    Cohen, Damian et al., arXiv:2410.24206, eq. (12), Propositions 2 and 3, App. B.

    Examples
    --------
    >>> import numpy as np
    >>> H = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> sp = stationary_preconditioner([0.1, 0.1], H, 1.0)
    >>> sp.p.round(6), sp.gap < 1e-8, sp.rank
    (array([1.5, 1.5]), True, 1)
    """
    if method not in _METHODS:
        raise InvalidProblemError(f"method is {method!r}; allowed: {', '.join(_METHODS)}")
    require_fraction(tol=tol, failure_probability=failure_probability)
    require_count(rank=rank, max_iterations=max_iterations, max_products=max_products)
    problem = StationaryProblem(gradient, hessian, lr, gradient_term)
    rng = as_generator(rng, seed=0)
    method = _choose(problem) if method == "auto" else method
    known = problem.hessian.matrix is not None or method == "interior_point"
    certifier = Certifier(
        problem,
        tol,
        exact=known and problem.d <= _LARGEST_EXACT,
        failure_probability=failure_probability,
        rng=rng,
    )
    candidate = _run(
        method, problem, certifier, start, rank, rng, max_iterations, max_products or np.inf
    )
    assert certifier.best is not None
    return _solution(problem, certifier, certifier.best, candidate, method)


def _run(
    method: str,
    problem: StationaryProblem,
    certifier: Certifier,
    start: StationaryPreconditioner | Any | None,
    rank: int | None,
    rng: np.random.Generator,
    max_iterations: int | None,
    max_products: float,
) -> Candidate:
    E = None
    if method == "fixed_point" or start is not None:
        E = _starting_factor(problem, start, rank, rng)
    if method == "interior_point":
        return _solve_dense(problem, certifier, max_iterations or 100)
    if method == "fixed_point":
        assert E is not None
        return solve_fixed_point(
            problem,
            E,
            certifier,
            max_iterations=max_iterations or 10_000,
            max_products=max_products,
        )
    if method == "coordinate_ascent":
        return solve_coordinate_ascent(
            problem, certifier, start=E, rng=rng, max_sweeps=max_iterations or 3000
        )
    return solve_subspace(
        problem,
        certifier,
        start=E,
        factor=start.factor if isinstance(start, StationaryPreconditioner) else None,
        rng=rng,
        max_iterations=max_iterations or 500,
        max_products=max_products,
    )


def _choose(problem: StationaryProblem) -> str:
    matrix = problem.hessian.matrix
    if matrix is None:
        return "subspace" if problem.d > _FEW else "interior_point"
    sparse = scipy.sparse.issparse(matrix) and problem.d > _LARGEST_SPARSE_AS_DENSE
    return "coordinate_ascent" if sparse else "interior_point"


def _solve_dense(problem: StationaryProblem, certifier: Certifier, budget: int) -> Candidate:
    # Σ = 0 exactly where p = c is stable already
    stable = Candidate(problem.c, np.zeros((problem.d, 0)))
    hessian = problem.hessian.to_dense()
    if is_feasible(hessian, problem.c):
        certifier.certify(stable.p, stable.E)
        return stable
    found = solve_interior_point(hessian, problem.c, tol=certifier.tol, max_iterations=budget)
    certifier.certify(found.p, found.E)
    return found


def _starting_factor(
    problem: StationaryProblem, start: Any, rank: int | None, rng: np.random.Generator
) -> Array:
    if rank is not None and rank > max(problem.d, 1):
        raise InvalidProblemError(f"rank is {rank!r}; allowed: 1 to d = {problem.d}")
    if start is None:
        columns = default_rank(problem) if rank is None else rank
        return rng.standard_normal((problem.d, columns)) / np.sqrt(4 * max(columns, 1))
    D = start.D if isinstance(start, StationaryPreconditioner) else np.asarray(start)
    if D.dtype.kind not in "biuf":
        raise InvalidProblemError(f"start has dtype {D.dtype}; allowed: real numbers")
    if D.ndim != 2 or D.shape[0] != problem.d or not np.isfinite(D).all():
        raise InvalidProblemError(
            f"start has shape {D.shape}; allowed: a finite D of shape ({problem.d}, r), "
            "or a solution of that size"
        )
    return D * (np.sqrt(2) / problem.lr)


def _solution(
    problem: StationaryProblem,
    certifier: Certifier,
    certificate: Certificate,
    candidate: Candidate,
    method: str,
) -> StationaryPreconditioner:
    status = _status(certificate, certifier.tol, candidate)
    return StationaryPreconditioner(
        p=certificate.p,
        nu=(problem.lr * certificate.p) ** 2,
        D=certificate.E * (problem.lr / np.sqrt(2)),
        primal=certificate.primal,
        dual=certificate.dual,
        gap=certificate.gap,
        status=status,
        message=_message(status, certificate, certifier.tol, candidate),
        effective_sharpness=certificate.effective_sharpness,
        failure_probability=certifier.failure_probability,
        products=problem.hessian.products,
        iterations=candidate.iterations,
        method=method,
        problem=problem,
        factor=candidate.factor,
    )


def _status(certificate: Certificate, tol: float, candidate: Candidate) -> Status:
    if certificate.gap <= tol:
        return Status.SOLVED
    if candidate.rounding:
        return Status.ALMOST_SOLVED if certificate.gap <= _ALMOST else Status.NUMERICAL_ERROR
    return Status.ITERATION_LIMIT


def _message(status: Status, certificate: Certificate, tol: float, candidate: Candidate) -> str:
    if status is Status.SOLVED:
        return status.message
    return (
        f"Certified to a relative gap of {certificate.gap:.2g} only, {tol:.2g} was asked for: "
        f"{candidate.note} (λ_max(P⁻¹H) ≤ {certificate.effective_sharpness:.4g} before scaling, "
        "allowed 2). Take method='auto', a larger budget, or a larger tol."
    )
