r"""The gradients of curvature that the stationary flow may follow.

With ``P̄ = diag(p)``, ``Σ* = DDᵀ`` (``HD = 2P̄D``) and ``c = |g|/η``, the stationary preconditioner
solves ``(2P − H)D = 0``, ``2‖D_i‖² = (η²/2)(1 − c_i²/p_i²)``.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from ccpsolve import smat, solve_ccp, svec
from ccpsolve.stationary import StationaryPreconditioner
from flows._errors import FlowsError
from flows.methods import RMSProp
from flows.objective import Objective

_RANK = 1e-6  # singular values of P^{1/2}D below this, relative to the largest, are rounding
_SCHEDULE_STEP = 1e-3  # of the central difference that gives the rate of a schedule
_LINEAR_TOL = 1e-6
_LINEAR_ITERATIONS = 500
_STIFFEST = 1e12  # p²/c² is cut off here: beyond, ‖D_i‖² is as good as fixed


def exact_term(objective: Objective, w: Tensor, solution: StationaryPreconditioner) -> Tensor:
    r"""Return ``½∇⟨Σ*, H⟩ = (η²/4) Σ_i (1 − g_i²/ν̄_i) ∇p̄_i``, shape (d,)."""
    D = torch.as_tensor(solution.D).to(w)
    return 0.5 * objective.third(w, D, D).sum(dim=1)


def trace_term(
    objective: Objective, w: Tensor, gradient: Tensor, solution: StationaryPreconditioner
) -> Tensor:
    r"""Return ``(η²/4)∇tr P̄(w)``, the talk's term, shape (d,).

    By the multipliers of :func:`trace_multipliers`, ``∇tr P̄`` is
    ``∇⟨(E + M)Eᵀ, H⟩ + H(μ ⊙ g/(η²p²))`` at fixed E, M, μ.
    """
    eta = solution.problem.lr
    E = solution.D * (np.sqrt(2) / eta)
    M, mu = trace_multipliers(solution)
    shift = torch.as_tensor(mu / (eta * solution.p) ** 2).to(w) * gradient
    third = objective.third(w, torch.as_tensor(E + M).to(w), torch.as_tensor(E).to(w))
    slope = third.sum(dim=1) + objective.hvp(w, shift[:, None])[:, 0]
    return 0.25 * eta**2 * slope


def trace_multipliers(solution: StationaryPreconditioner) -> tuple[np.ndarray, np.ndarray]:
    r"""Return M (d, r) and μ (d,) with which ``∇(1·p̄)`` is written (the adjoint equations).

    Differentiating ``(2P − H)E = 0`` and ``2‖E_i‖² = 1 − c_i²/p_i²`` and collecting what multiplies
    the derivatives of E and p gives, for ``Σ_i c_i²/p_i² ∇p_i``, a symmetric positive semidefinite
    system::

        (2P − H)M + 4 diag(p³/c² ⊙ diag(MEᵀ)) E = 2PE,    μ = p − 2 p³/c² ⊙ diag(MEᵀ);

    the rest of the trace, ``Σ_i (1 − c_i²/p_i²)∇p_i``, is ``∇⟨EEᵀ, H⟩``.

    Raises
    ------
    FlowsError
        If conjugate gradients do not converge.
    """
    problem, p = solution.problem, solution.p
    E = solution.D * (np.sqrt(2) / problem.lr)
    d, r = E.shape
    floor = p / np.sqrt(_STIFFEST)
    stiff = p * np.minimum((p / np.maximum(problem.c, floor)) ** 2, _STIFFEST)

    def along(X: np.ndarray) -> np.ndarray:
        products: np.ndarray = np.einsum("ij,ij->i", X, E)
        return products

    def apply(x: np.ndarray) -> np.ndarray:
        X = x.reshape(d, r)
        image = 2 * p[:, None] * X - problem.hessian.apply(X)
        return (image + 4 * (stiff * along(X))[:, None] * E).ravel()

    # row by row the inverse of 2p_i I + 4 stiff_i E_i E_iᵀ
    ratio = 2 * stiff / p
    shrink = ratio / (1 + ratio * along(E))

    def precondition(x: np.ndarray) -> np.ndarray:
        X = x.reshape(d, r)
        return ((X - (shrink * along(X))[:, None] * E) / (2 * p[:, None])).ravel()

    M, failed = cg(
        LinearOperator((d * r, d * r), matvec=apply, dtype=float),
        (2 * p[:, None] * E).ravel(),
        M=LinearOperator((d * r, d * r), matvec=precondition, dtype=float),
        rtol=_LINEAR_TOL,
        maxiter=_LINEAR_ITERATIONS,
    )
    if failed:
        raise FlowsError(
            f"the gradient of tr P̄ was not found in {_LINEAR_ITERATIONS} iterations; take the "
            "exact curvature term"
        )
    M = M.reshape(d, r)
    return M, p - 2 * stiff * along(M)


def complementarity_term(
    objective: Objective,
    method: RMSProp,
    w: Tensor,
    gradient: Tensor,
    solution: StationaryPreconditioner,
    t: float,
) -> Tensor:
    r"""Return ``½𝒯[X]``, X the solution of eq. 25 at ν = ν̄ over range(Σ*), where ``HU = 2PU``.

    ``α = 𝒯ᵀ[−P⁻¹g] + c Uᵀ(P − diag(g²)/(η²P))U + 2(η'/η)UᵀPU`` and
    ``β[X] = ½𝒯ᵀP⁻¹𝒯[X] + c(4/η²)UᵀP diag(UXUᵀ)U`` with ``c = (1−β₂)/β₂``.

    Raises
    ------
    CCPError
        If the complementarity problem was not solved.
    """
    p, lr, D = (_double(x, w) for x in (solution.p, solution.problem.lr, solution.D))
    g, root = gradient.double(), p.sqrt()
    per_root = torch.where(p > 0, 1 / root, 0.0)  # p_i = 0 only where the loss depends on nothing
    V, lengths, _ = torch.linalg.svd(root[:, None] * D, full_matrices=False)
    U = V[:, lengths > _RANK * lengths[0]] * per_root[:, None]
    i, j = np.triu_indices(U.shape[1])
    scales = _double(np.where(i == j, 1.0, np.sqrt(2.0)), w)
    third = objective.third_pairs(w, U.to(w)).double() * scales
    pairs = U[:, i] * U[:, j] * scales  # pairsᵀx = svec(Uᵀ diag(x) U)
    c = (1 - method.beta2) / method.beta2
    h = _SCHEDULE_STEP
    lr_rate = (method.lr(t + h) - method.lr(t - h)) / (2 * h)
    softening = c * (p - (g * per_root / lr).square()) + 2 * lr_rate / lr * p
    alpha = pairs.T @ softening - third.T @ (g * per_root.square())
    forced, reacting = third * per_root[:, None], pairs * root[:, None]
    beta = 0.5 * forced.T @ forced + 4 * c / lr.square() * reacting.T @ reacting
    X = solve_ccp(smat(alpha.cpu().numpy()), beta.cpu().numpy()).X
    return 0.5 * (third @ _double(svec(X), w)).to(w)


def _double(x: np.ndarray | float, like: Tensor) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64, device=like.device)
