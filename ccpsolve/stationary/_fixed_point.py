r"""The published fixed-point iteration, and what is wrong with it.

.. math:: \nu \leftarrow g^2 + (HD)^2\mathbf 1,\qquad
          D \leftarrow \tfrac{\eta}{2}\,\mathrm{diag}(\nu^{-1/2})\,H D

In the variables of this package (E = (√2/η)D, p = √ν/η) it reads ``p ← √(c² + ½‖(HE)_i‖²)``,
``E ← P⁻¹HE/2``: alternating maximisation of
``2⟨E, HF⟩ + 2Σ c_i [√(1−2‖E_i‖²) + √(1−2‖F_i‖²)]`` over E and F. It converges linearly; the rate is
the ratio of the second to the first modulus among the non-critical eigenvalues of P⁻¹H/2.

Known failures:

* An H with λ_min(P⁻¹H) ≤ −2 makes it solve the doubly constrained problem −2P ⪯ H ⪯ 2P: D flips its
  sign, or cycles, for ever.
* Rank r ≤ rank Z* can end at a fixed point that is not a solution. Primal and dual values agree at
  *every* fixed point, so their agreement proves nothing unless λ_max(P⁻¹H) ≤ 2 is checked too.
* D = 0 is always a fixed point; a zero row of H with g_i = 0 gives 0/0 (taken as 0 here).
* H_ii < 0 with g_i = 0 keeps p_i > 0 although the solution has p_i = 0.
* Close to the edge of stability with Σ = 0 the rate λ_max(C⁻¹H)/2 is arbitrarily close to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._candidate import Candidate
from ccpsolve.stationary._certifier import Certifier
from ccpsolve.stationary._problem import StationaryProblem

__all__ = ["default_rank", "solve_fixed_point"]

Array = NDArray[np.float64]

_MATRIX_FREE_RANK = 16
_AT_REST = 1e-12  # changes below this, relative, are rounding


def default_rank(problem: StationaryProblem) -> int:
    """⌈√(2d)⌉ + 1 columns, above the rank of a vertex of the dual; 16 for products of large d."""
    ample = min(problem.d, int(np.ceil(np.sqrt(2 * problem.d))) + 1)
    return ample if problem.hessian.matrix is not None else min(ample, _MATRIX_FREE_RANK)


def solve_fixed_point(
    problem: StationaryProblem,
    E: Array,
    certifier: Certifier,
    *,
    max_iterations: int = 10_000,
    max_products: float = np.inf,
) -> Candidate:
    """Iterate from E until certified, at rest, or the budget is spent.

    Parameters
    ----------
    problem : StationaryProblem
        The data.
    E : ndarray, shape (d, r)
        Start; r products an iteration.
    certifier : Certifier
        Asked first when E changes by less than √tol/10, relative (values are stationary there), and
        again at every tenth of that.
    max_iterations, max_products : float
        Budget.

    Returns
    -------
    Candidate
        The last p and E, with a note on how the iteration ended.

    References
    ----------
    Cohen, Damian et al., arXiv:2410.24206, App. B.
    """
    rest = 0.1 * np.sqrt(certifier.tol)
    p, iteration = problem.c, 0
    note = "the iterations allowed were spent"
    previous = np.full_like(E, np.inf)
    while iteration < max_iterations:
        if problem.hessian.products + E.shape[1] > max_products:
            note = "the products allowed were spent"
            break
        iteration += 1
        p, mapped = fixed_point_step(problem, E)
        # a factor smaller than `rest` is a Σ = 0 as far as the tolerance goes
        size = max(float(np.linalg.norm(mapped)), rest)
        if np.linalg.norm(mapped - previous) <= rest * size < np.linalg.norm(mapped - E):
            note = "the iteration ended in a cycle of length 2"
            break
        if np.linalg.norm(mapped - E) <= rest * size:
            certifier.certify(p, mapped)
            if certifier.done or rest < _AT_REST:
                note = "the iteration came to rest at a fixed point that is not the solution"
                return Candidate(p, mapped, iteration, note)
            rest *= 0.1
        previous, E = E, mapped
    certifier.certify(p, E)
    return Candidate(p, E, iteration, note)


def fixed_point_step(problem: StationaryProblem, E: Array) -> tuple[Array, Array]:
    """One step: p = √(c² + ½‖(HE)_i‖²) and P⁻¹HE/2, with 0/0 = 0."""
    HE = problem.hessian.apply(E)
    p = np.sqrt(problem.c**2 + 0.5 * np.einsum("ij,ij->i", HE, HE))
    divisor = np.where(p > 0, 2 * p, 1.0)
    return p, HE / divisor[:, None]
